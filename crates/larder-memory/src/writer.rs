//! Writes one entry: collects its chunks until the commit. Clients that are slower than the origin
//! read them meanwhile. `shared` makes the entry visible, `body` joins the chunks.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use larder_core::{
    BodySource, ByteStream, EntryId, Reservation, StoreError, StoreErrorKind, StoreWriter, StoredHead,
    Ticket, Timestamp,
};
use parking_lot::Mutex;

use crate::{
    body::{self, Segments},
    shared::Shared,
};

/// The reservation of a key.
pub(crate) struct MemoryReservation {
    pub(crate) store: Arc<Shared>,
    pub(crate) ticket: Ticket,
}

impl fmt::Debug for MemoryReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReservation").field("key", self.ticket.key()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Reservation for MemoryReservation {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        _keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let max = self.store.longest(length.is_some());
        if length.is_some_and(|length| length > max) {
            return Err(StoreError::too_long("memory", max));
        }
        Ok(Box::new(MemoryWriter {
            reservation: *self,
            head,
            chunks: Vec::new(),
            followed: OnceLock::new(),
            segments: length.is_none_or(|length| length > body::MAX_JOINED).then(Segments::default),
            announced: length,
            max,
            length: 0,
        }))
    }
}

/// Writes one entry.
struct MemoryWriter {
    reservation: MemoryReservation,
    head: Arc<StoredHead>,
    /// The chunks, as long as no client follows.
    chunks: Vec<Bytes>,
    /// The chunks, once a client follows.
    followed: OnceLock<Arc<Written>>,
    /// The segments of the body, unless its chunks are joined at the commit.
    segments: Option<Segments>,
    /// Length of the body, if it was announced.
    announced: Option<u64>,
    /// Longest body that this writer accepts, in bytes.
    max: u64,
    /// Bytes written so far.
    length: u64,
}

impl fmt::Debug for MemoryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWriter")
            .field("key", self.reservation.ticket.key())
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StoreWriter for MemoryWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let length = chunk.len() as u64;
        if self.length + length > self.max {
            return Err(StoreError::too_long("memory", self.max));
        }
        self.reservation.store.reserve(length)?;
        let left = self.announced.map(|announced| announced.saturating_sub(self.length).max(length));
        self.length += length;
        let (followed, chunks) = (self.followed.get(), &mut self.chunks);
        let mut push = |chunk| match followed {
            Some(followed) => followed.push(chunk),
            None => chunks.push(chunk),
        };
        match &mut self.segments {
            Some(segments) => segments.copy(&chunk, left, push),
            None if chunk.len() < body::COPY_BELOW => push(Bytes::copy_from_slice(&chunk)),
            None => push(chunk),
        }
        Ok(())
    }

    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        let followed = self.followed.get_or_init(|| Arc::new(Written::new(self.chunks.clone())));
        Some(Arc::new(Follow(Arc::clone(followed))))
    }

    async fn commit(mut self: Box<Self>) -> Result<EntryId, StoreError> {
        let chunks = match self.followed.get() {
            Some(followed) => followed.state.lock().chunks.clone(),
            None => std::mem::take(&mut self.chunks),
        };
        let body = body::joined(chunks, self.length);
        let MemoryReservation { store, ticket } = &self.reservation;
        let id = store.commit(ticket, &self.head, body)?;
        if let Some(followed) = self.followed.get() {
            followed.end(Ending::Committed);
        }
        Ok(id)
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.reservation.store.release(self.length);
        if let Some(followed) = self.followed.get() {
            // Has no effect after a commit.
            followed.end(Ending::Abandoned);
        }
    }
}

/// The chunks of a body that is being written, shared with its followers.
#[derive(Debug)]
struct Written {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    chunks: Vec<Bytes>,
    ending: Option<Ending>,
    /// Followers that wait for more.
    waiting: Vec<Waker>,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Committed,
    Abandoned,
}

impl Written {
    /// Creates the state with the chunks that were written before.
    fn new(chunks: Vec<Bytes>) -> Self {
        Self { state: Mutex::new(State { chunks, ending: None, waiting: Vec::new() }) }
    }

    /// Appends a chunk and wakes the followers.
    fn push(&self, chunk: Bytes) {
        let waiting = {
            let mut state = self.state.lock();
            state.chunks.push(chunk);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ends the body, unless it has ended, and wakes the followers.
    fn end(&self, ending: Ending) {
        let waiting = {
            let mut state = self.state.lock();
            state.ending.get_or_insert(ending);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Reads a body while it is being written.
#[derive(Debug)]
struct Follow(Arc<Written>);

#[async_trait]
impl BodySource for Follow {
    fn content_length(&self) -> Option<u64> {
        None
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let range = range.unwrap_or(0..u64::MAX);
        Ok(Box::pin(TailStream { written: Arc::clone(&self.0), range, ready: VecDeque::new() }))
    }
}

/// A stream that waits at the end of the written chunks for more.
struct TailStream {
    written: Arc<Written>,
    /// The part of the body that has not been returned yet, including the chunks in `ready`.
    range: Range<u64>,
    /// Chunks to return next.
    ready: VecDeque<Bytes>,
}

impl Stream for TailStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ready.is_empty() {
            if this.range.is_empty() {
                return Poll::Ready(None);
            }
            let mut state = this.written.state.lock();
            this.ready = body::slices(&state.chunks, &this.range);
            if this.ready.is_empty() {
                return match state.ending {
                    Some(Ending::Committed) => Poll::Ready(None),
                    Some(Ending::Abandoned) => Poll::Ready(Some(Err(StoreError::new(
                        StoreErrorKind::Gone,
                        "memory",
                        "the writer of the body was dropped before its commit",
                    )))),
                    None => {
                        state.waiting.push(cx.waker().clone());
                        Poll::Pending
                    }
                };
            }
        }
        let chunk = this.ready.pop_front();
        if let Some(chunk) = &chunk {
            this.range.start += chunk.len() as u64;
        }
        Poll::Ready(chunk.map(Ok))
    }
}
