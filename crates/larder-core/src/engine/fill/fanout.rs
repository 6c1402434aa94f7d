//! Distributes a body that is still arriving: one stream from the origin, read by any number of
//! clients and by the store's writer.
//!
//! The last chunks stay in a window. The clients and the store's writer read from it, each at its
//! own pace:
//!
//! ```text
//!   origin ──► [ window: the last 256 KiB ] ──► client, client, …      (from memory)
//!                     │                    ──► slow client             (older chunks: from the store)
//!                     └──────────────────────► the store's writer
//! ```
//!
//! A client that reads more slowly than the store writes gets the chunks that have left the window
//! from the store ([`StoreWriter::follow`], `backfill`). It therefore neither delays the others nor
//! makes the window grow. Only where the store does not support this does the fetch wait for its
//! slowest client. It waits for a slow store up to the timeout, and then continues without the
//! store. Every wait has a limit: a client that does not read while the others wait is
//! disconnected.
//!
//! [`StoreWriter::follow`]: crate::StoreWriter::follow

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{super::outcome::Arrived, read_ahead::next_frame, readers::Readers};
use crate::timeout::within;
use crate::{Body, BodySource};

/// Size of the window in bytes. Another chunk is read from the origin only while the window holds
/// no more than this.
pub(super) const WINDOW: u64 = 256 * 1024;

/// How long each party may delay the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FanoutTimeouts {
    /// Longest time between two chunks from the origin.
    pub(crate) origin: Duration,
    /// Longest time that a slow client or the store may delay the body while the window is full.
    pub(crate) slow_reader: Duration,
}

/// The shared state of one arriving body.
#[derive(Debug)]
pub(crate) struct BodyFanout {
    /// The body's length in bytes, if it is known.
    pub(super) length: Option<u64>,
    pub(super) state: Mutex<State>,
    /// Number of bytes that have arrived, for requests that have not joined.
    pub(super) arrived: Arrived,
    /// Notified when a client or the writer has read further or has stopped: the pump may have
    /// room.
    pub(super) progress: Notify,
    /// Notified when a chunk or the end of the body has arrived: the store's writer may continue.
    data_ready: Notify,
}

/// The window and the positions of its readers.
#[derive(Debug)]
pub(super) struct State {
    window: VecDeque<Bytes>,
    /// Offset in the body of the window's first byte.
    pub(super) start: u64,
    /// Offset in the body of the byte after the window's last one.
    pub(super) end: u64,
    /// How the body ended, once it has.
    pub(super) completion: Option<Completion>,
    /// The trailers, once they have arrived. Only the client of the fetch gets them.
    trailers: Option<Box<HeaderMap>>,
    /// The origin's error, if it ended the body.
    pub(super) cause: Option<Cause>,
    pub(super) readers: Readers,
    /// The position of the store's writer, while it writes.
    writer_position: Option<u64>,
    /// Reads the bytes that the store's writer has received.
    pub(super) follow: Option<Arc<dyn BodySource>>,
}

/// How the body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// Complete according to the origin's own framing.
    Whole,
    /// Incomplete.
    Broken,
}

/// An error that several readers receive.
#[derive(Debug, Clone)]
pub(super) struct Cause(Arc<dyn Error + Send + Sync>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl BodyFanout {
    /// Creates the state of a body of `length` bytes, if known, of which the chunks `first` have
    /// arrived.
    ///
    /// The store's writer counts as a reader from the start.
    pub(crate) fn new(length: Option<u64>, first: VecDeque<Bytes>) -> Arc<Self> {
        let end = first.iter().map(|chunk| chunk.len() as u64).sum();
        let state = State {
            window: first,
            start: 0,
            end,
            completion: None,
            trailers: None,
            cause: None,
            readers: Readers::default(),
            writer_position: Some(0),
            follow: None,
        };
        let arrived = Arrived::default();
        arrived.set(end);
        Arc::new(Self {
            length,
            arrived,
            state: Mutex::new(state),
            progress: Notify::new(),
            data_ready: Notify::new(),
        })
    }

    /// Reads the origin's body to its end, at the speed of the slowest reader that it must wait
    /// for.
    ///
    /// Returns [`Completion::Broken`] if the origin fails, takes longer than `timeouts.origin` for
    /// a chunk, or sends another length than it announced, and also if no reader is left.
    pub(crate) async fn pump(&self, mut body: Body, timeouts: FanoutTimeouts) -> Completion {
        // However this future ends early, also by being dropped, the body ends too: no reader waits
        // forever.
        let mut guard = CompleteOnDrop { fanout: self, completion: Completion::Broken };
        loop {
            if !self.make_room(timeouts.slow_reader).await {
                return Completion::Broken;
            }
            match within(timeouts.origin, next_frame(&mut body)).await {
                Some(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) if chunk.is_empty() => {}
                    Ok(chunk) if self.fits(chunk.len()) => self.push(chunk),
                    // Longer than announced.
                    Ok(_) => return Completion::Broken,
                    Err(frame) => {
                        self.state.lock().trailers = frame.into_trailers().ok().map(Box::new);
                    }
                },
                Some(None) if self.is_complete() => {
                    guard.completion = Completion::Whole;
                    return Completion::Whole;
                }
                Some(Some(Err(error))) => {
                    self.state.lock().cause = Some(Cause(error.into()));
                    return Completion::Broken;
                }
                // Too slow, or shorter than announced.
                None | Some(None) => return Completion::Broken,
            }
        }
    }

    /// Takes the trailers, if there are any.
    pub(super) fn take_trailers(&self) -> Option<HeaderMap> {
        self.state.lock().trailers.take().map(|trailers| *trailers)
    }

    /// Returns whether `more` bytes are within the announced length.
    fn fits(&self, more: usize) -> bool {
        self.length.is_none_or(|length| self.state.lock().end + more as u64 <= length)
    }

    /// Returns whether all announced bytes have arrived.
    fn is_complete(&self) -> bool {
        self.length.is_none_or(|length| self.state.lock().end == length)
    }

    /// Appends a chunk to the window and wakes the readers.
    fn push(&self, chunk: Bytes) {
        let wakers = {
            let mut state = self.state.lock();
            state.end += chunk.len() as u64;
            self.arrived.set(state.end);
            state.window.push_back(chunk);
            state.readers.take_wakers()
        };
        self.data_ready.notify_one();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends the body, unless it has ended already, and wakes the readers.
    fn complete(&self, completion: Completion) {
        let wakers = {
            let mut state = self.state.lock();
            state.completion.get_or_insert(completion);
            state.readers.take_wakers()
        };
        self.data_ready.notify_one();
        self.progress.notify_one();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until the window has room for another chunk, and returns `false` if no reader is left.
    async fn make_room(&self, timeout: Duration) -> bool {
        loop {
            {
                let mut state = self.state.lock();
                if state.readers.is_empty() && state.writer_position.is_none() {
                    return false;
                }
                state.trim();
                if state.end - state.start <= WINDOW {
                    return true;
                }
            }
            if within(timeout, self.progress.notified()).await.is_none() {
                self.disconnect_slow_readers();
            }
        }
    }

    /// Disconnects the readers that still need the front of the window.
    ///
    /// Those are the store's writer and, if the store cannot supply old chunks, the clients.
    fn disconnect_slow_readers(&self) {
        let wakers = {
            let mut state = self.state.lock();
            let start = state.start;
            let front = start + state.window.front().map_or(0, |chunk| chunk.len() as u64);
            if state.writer_position.is_some_and(|position| position < front) {
                state.writer_position = None;
                state.follow = None;
            }
            if state.follow.is_none() {
                state.readers.disconnect_before(front);
            }
            state.readers.take_wakers()
        };
        self.data_ready.notify_one();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns the next chunk for the store's writer, which has received `position` bytes.
    ///
    /// Returns `Ok(None)` once the body is known to be complete.
    ///
    /// # Errors
    ///
    /// Returns [`Broken`] if the body failed, or if the writer was disconnected for being too slow.
    pub(crate) async fn next_for_store(&self, position: u64) -> Result<Option<Bytes>, Broken> {
        loop {
            {
                let mut state = self.state.lock();
                let writer_position = state.writer_position.as_mut().ok_or(Broken)?;
                *writer_position = position;
                if position < state.end {
                    let chunk = state.chunk_at(position).ok_or(Broken)?;
                    drop(state);
                    self.progress.notify_one();
                    return Ok(Some(chunk));
                }
                match state.completion {
                    Some(Completion::Whole) => return Ok(None),
                    Some(Completion::Broken) => return Err(Broken),
                    None => {}
                }
            }
            // The pump may be waiting for the store to reach this position.
            self.progress.notify_one();
            self.data_ready.notified().await;
        }
    }

    /// Sets the source from which slow clients read the chunks that have left the window.
    pub(crate) fn set_follow(&self, follow: Option<Arc<dyn BodySource>>) {
        self.state.lock().follow = follow;
    }

    /// Removes the store as a reader after it has failed; the clients continue.
    ///
    /// Returns once no client needs the bytes that the writer received, or after `timeout`, so that
    /// the writer may be dropped.
    pub(crate) async fn store_failed(&self, timeout: Duration) {
        {
            let mut state = self.state.lock();
            state.writer_position = None;
        }
        self.progress.notify_one();
        let caught_up = poll_fn(|cx| {
            let mut state = self.state.lock();
            let start = state.start;
            if state.follow.is_none() || state.readers.all_at_least(start) {
                state.follow = None;
                return Poll::Ready(());
            }
            state.readers.on_move = Some(cx.waker().clone());
            Poll::Pending
        });
        if within(timeout, caught_up).await.is_none() {
            self.state.lock().follow = None;
        }
        self.progress.notify_one();
    }
}

/// Ends the body when dropped, as `completion` states.
struct CompleteOnDrop<'a> {
    fanout: &'a BodyFanout,
    completion: Completion,
}

impl Drop for CompleteOnDrop<'_> {
    fn drop(&mut self) {
        self.fanout.complete(self.completion);
    }
}

/// The body did not arrive completely.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken;

impl State {
    /// Removes chunks that no reader needs from the front of the window.
    ///
    /// A body that fits the window stays in it as a whole, so that a client that joins late can
    /// still start at its beginning.
    fn trim(&mut self) {
        while self.end - self.start > WINDOW {
            let Some(front) = self.window.front() else { return };
            let after = self.start + front.len() as u64;
            if self.writer_position.is_some_and(|position| position < after) {
                return;
            }
            if self.writer_position.is_none() || self.follow.is_none() {
                // The store cannot supply old chunks: the slowest client sets the pace.
                if !self.readers.all_at_least(after) {
                    return;
                }
            }
            self.start = after;
            self.window.pop_front();
        }
    }

    /// Returns the rest of the chunk that contains `position`, if the window has it.
    pub(super) fn chunk_at(&self, position: u64) -> Option<Bytes> {
        let mut offset = self.start;
        for chunk in &self.window {
            let after = offset + chunk.len() as u64;
            if position < after {
                let skip = usize::try_from(position.checked_sub(offset)?).ok()?;
                return Some(chunk.slice(skip..));
            }
            offset = after;
        }
        None
    }
}
