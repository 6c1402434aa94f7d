//! Writing one entry: the chunks wait here until the commit, and slow clients read them back meanwhile.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use larder_core::{
    BodySource, ByteStream, CacheKey, EntryId, Reservation, StoreError, StoreErrorKind, StoreWriter,
    StoredHead,
};
use parking_lot::Mutex;

use crate::{body, store::Shared};

/// A chunk shorter than this is copied: it may be a slice of a read buffer that it would keep alive.
const COPIED: usize = 16 * 1024;

/// A place among those in progress, where removals reach it.
pub(crate) struct MemoryReservation {
    pub(crate) store: Arc<Shared>,
    pub(crate) key: CacheKey,
    pub(crate) removed: Arc<AtomicBool>,
    /// The store's count of events when it was taken.
    pub(crate) begun: u64,
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.store.writers.leave(&self.key, &self.removed);
    }
}

impl fmt::Debug for MemoryReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("key", &self.key).finish_non_exhaustive()
    }
}

#[async_trait]
impl Reservation for MemoryReservation {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let most = self.store.longest(length.is_some());
        if length.is_some_and(|length| length > most) {
            return Err(StoreError::too_long("memory", most));
        }
        Ok(Box::new(MemoryWriter { place: *self, head, written: Arc::default(), most, length: 0 }))
    }
}

/// Receives one body.
pub(crate) struct MemoryWriter {
    pub(crate) place: MemoryReservation,
    pub(crate) head: Arc<StoredHead>,
    written: Arc<Written>,
    /// The longest body this may become.
    most: u64,
    length: u64,
}

impl fmt::Debug for MemoryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWriter")
            .field("key", &self.place.key)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StoreWriter for MemoryWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let length = chunk.len() as u64;
        if self.length + length > self.most {
            return Err(StoreError::too_long("memory", self.most));
        }
        self.place.store.reserve(length)?;
        self.length += length;
        self.written.push(if chunk.len() < COPIED { Bytes::copy_from_slice(&chunk) } else { chunk });
        Ok(())
    }

    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        Some(Arc::new(Follow(Arc::clone(&self.written))))
    }

    async fn commit(self: Box<Self>) -> Result<EntryId, StoreError> {
        let body = body::stored(&self.written.state.lock().chunks, self.length);
        let id = self.place.store.commit(&self, body)?;
        self.written.end(Ending::Committed);
        Ok(id)
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.place.store.release(self.length);
        // No effect after a commit.
        self.written.end(Ending::Abandoned);
    }
}

impl MemoryWriter {
    pub(crate) fn is_removed(&self) -> bool {
        self.place.removed.load(Ordering::Acquire)
    }
}

/// What has been written of one body.
#[derive(Debug, Default)]
pub(crate) struct Written {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chunks: Vec<Bytes>,
    ending: Option<Ending>,
    waiting: Vec<Waker>,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Committed,
    Abandoned,
}

impl Written {
    fn push(&self, chunk: Bytes) {
        let waiting = {
            let mut state = self.state.lock();
            state.chunks.push(chunk);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn end(&self, ending: Ending) {
        let waiting = {
            let mut state = self.state.lock();
            state.ending.get_or_insert(ending);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Reads back what has been written.
#[derive(Debug)]
struct Follow(Arc<Written>);

#[async_trait]
impl BodySource for Follow {
    fn content_length(&self) -> Option<u64> {
        None
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let range = range.unwrap_or(0..u64::MAX);
        Ok(Box::pin(TailStream { written: Arc::clone(&self.0), range, taken: VecDeque::new() }))
    }
}

struct TailStream {
    written: Arc<Written>,
    /// What is still to come.
    range: Range<u64>,
    taken: VecDeque<Bytes>,
}

impl Stream for TailStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.taken.is_empty() {
            if this.range.is_empty() {
                return Poll::Ready(None);
            }
            let mut state = this.written.state.lock();
            this.taken = body::slices(&state.chunks, &this.range);
            if this.taken.is_empty() {
                return match state.ending {
                    Some(Ending::Committed) => Poll::Ready(None),
                    Some(Ending::Abandoned) => Poll::Ready(Some(Err(StoreError::new(
                        StoreErrorKind::Gone,
                        "memory",
                        "the body that was being written was given up",
                    )))),
                    None => {
                        state.waiting.push(cx.waker().clone());
                        Poll::Pending
                    }
                };
            }
        }
        let chunk = this.taken.pop_front();
        if let Some(chunk) = &chunk {
            this.range.start += chunk.len() as u64;
        }
        Poll::Ready(chunk.map(Ok))
    }
}
