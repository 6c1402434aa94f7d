//! A body that is still arriving: one stream from the origin, read by any number of clients and by the store.
//!
//! The last chunks are kept in a window. Clients and the store's writer each read at their own pace from it:
//!
//! ```text
//!   origin ──► [ window: the last 256 KiB ] ──► client, client, …      (from memory)
//!                     │                    ──► slow client             (what left the window: from the store)
//!                     └──────────────────────► the store's writer
//! ```
//!
//! A client that is slower than the store reads what has left the window back from the store
//! ([`StoreWriter::follow`]), so it neither slows the others nor makes the window grow. Only where the store
//! can't do that does the fetch wait for its slowest client, and for a slow store it waits as long as the limit
//! says and then goes on without it. Nobody's wait is without a limit: a client that takes nothing while the
//! others wait is cut off.
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
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::timeout::within;
use crate::{Body, BodySource};

/// What may lie in memory of one arriving body.
pub(super) const WINDOW: u64 = 256 * 1024;

/// How long each party may keep the others waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FanoutTimeouts {
    /// Between two chunks from the origin.
    pub(crate) origin: Duration,
    /// A client or the store that is behind while the window is full.
    pub(crate) slow_reader: Duration,
}

/// The shared state of one arriving body.
#[derive(Debug)]
pub(crate) struct BodyFanout {
    pub(super) length: Option<u64>,
    pub(super) state: Mutex<State>,
    /// Somebody read on, left, or the store gave up: the pump may have room.
    pub(super) progress: Notify,
    /// Something arrived, or the end: the store's writer may go on.
    arrived: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    window: VecDeque<Bytes>,
    /// Offset of the window's first byte in the body, and the one after its last.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) completion: Option<Completion>,
    /// Why it broke off, as the origin said it.
    pub(super) cause: Option<Cause>,
    pub(super) readers: Readers,
    /// Where the store's writer is, while it writes.
    storing: Option<u64>,
    /// Reads back what the writer has.
    pub(super) follow: Option<Arc<dyn BodySource>>,
}

/// How the body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// By the origin's own framing.
    Whole,
    /// Before that.
    Broken,
}

/// A failure that several readers are told.
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
    /// A body of `length` bytes if known, of which `first` are here already. The store is expected to read.
    pub(crate) fn new(length: Option<u64>, first: VecDeque<Bytes>) -> Arc<Self> {
        let end = first.iter().map(|chunk| chunk.len() as u64).sum();
        let state = State {
            window: first,
            start: 0,
            end,
            completion: None,
            cause: None,
            readers: Readers::default(),
            storing: Some(0),
            follow: None,
        };
        Arc::new(Self { length, state: Mutex::new(state), progress: Notify::new(), arrived: Notify::new() })
    }

    /// Takes the body from the origin to its end, as fast as the slowest that has to be waited for.
    pub(crate) async fn pump(&self, mut body: Body, patience: FanoutTimeouts) -> Completion {
        // Whatever ends this future early, also being dropped half-way, ends the body: nobody waits for ever.
        let ending = BreakOnDrop(self);
        loop {
            if !self.make_room(patience.slow_reader).await {
                return Completion::Broken;
            }
            match within(patience.origin, body.chunk()).await {
                Some(Some(Ok(chunk))) if self.fits(chunk.len()) => self.push(chunk),
                Some(None) if self.is_complete() => {
                    std::mem::forget(ending);
                    self.end(Completion::Whole);
                    return Completion::Whole;
                }
                Some(Some(Err(error))) => {
                    self.state.lock().cause = Some(Cause(error.into()));
                    return Completion::Broken;
                }
                // Too slow, shorter or longer than announced.
                None | Some(None | Some(Ok(_))) => return Completion::Broken,
            }
        }
    }

    fn fits(&self, more: usize) -> bool {
        self.length.is_none_or(|length| self.state.lock().end + more as u64 <= length)
    }

    fn is_complete(&self) -> bool {
        self.length.is_none_or(|length| self.state.lock().end == length)
    }

    fn push(&self, chunk: Bytes) {
        let wakers = {
            let mut state = self.state.lock();
            state.end += chunk.len() as u64;
            state.window.push_back(chunk);
            state.readers.take_wakers()
        };
        self.arrived.notify_one();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn end(&self, ending: Completion) {
        let wakers = {
            let mut state = self.state.lock();
            state.completion.get_or_insert(ending);
            state.readers.take_wakers()
        };
        self.arrived.notify_one();
        self.progress.notify_one();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns when another chunk may come; `false` when nobody is left who wants one.
    async fn make_room(&self, laggard: Duration) -> bool {
        loop {
            {
                let mut state = self.state.lock();
                if state.readers.is_empty() && state.storing.is_none() {
                    return false;
                }
                state.trim();
                if state.end - state.start <= WINDOW {
                    return true;
                }
            }
            if within(laggard, self.progress.notified()).await.is_none() {
                self.disconnect_slow_readers();
            }
        }
    }

    /// Gives up on those for whom everybody waits.
    fn disconnect_slow_readers(&self) {
        let wakers = {
            let mut state = self.state.lock();
            let start = state.start;
            let front = start + state.window.front().map_or(0, |chunk| chunk.len() as u64);
            if state.storing.is_some_and(|position| position < front) {
                state.storing = None;
                state.follow = None;
            }
            if state.follow.is_none() {
                state.readers.disconnect_before(front);
            }
            state.readers.take_wakers()
        };
        self.arrived.notify_one();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The next chunk for the store's writer, which has `position` bytes.
    ///
    /// `Ok(None)` at the proven end; an error if the body broke, or the store was given up on.
    pub(crate) async fn next_for_store(&self, position: u64) -> Result<Option<Bytes>, Broken> {
        loop {
            {
                let mut state = self.state.lock();
                let storing = state.storing.as_mut().ok_or(Broken)?;
                *storing = position;
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
            // The pump may wait for the store to have come this far.
            self.progress.notify_one();
            self.arrived.notified().await;
        }
    }

    /// From now on slow clients can read back from the store.
    pub(crate) fn set_follow(&self, follow: Option<Arc<dyn BodySource>>) {
        self.state.lock().follow = follow;
    }

    /// The store has failed; clients go on. Returns when no client needs the writer's bytes any more, so that
    /// it may be dropped.
    pub(crate) async fn store_failed(&self, patience: Duration) {
        {
            let mut state = self.state.lock();
            state.storing = None;
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
        if within(patience, caught_up).await.is_none() {
            self.state.lock().follow = None;
        }
        self.progress.notify_one();
    }
}

/// Ends the body as broken, unless forgotten.
struct BreakOnDrop<'a>(&'a BodyFanout);

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end(Completion::Broken);
    }
}

/// The body did not arrive whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken;

impl State {
    /// Drops from the window what nobody needs there. A body that fits the window stays in it whole, so that
    /// whoever comes late can still begin at its start.
    fn trim(&mut self) {
        while self.end - self.start > WINDOW {
            let Some(front) = self.window.front() else { return };
            let after = self.start + front.len() as u64;
            if self.storing.is_some_and(|position| position < after) {
                return;
            }
            if self.storing.is_none() || self.follow.is_none() {
                // Nothing can be read back: the slowest client sets the pace.
                if !self.readers.all_at_least(after) {
                    return;
                }
            }
            self.start = after;
            self.window.pop_front();
        }
    }

    /// What the window holds from `position` on, up to the end of one chunk.
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

/// The clients, each with its position. Places are used again.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pub(super) slots: Vec<Option<ReaderSlot>>,
    active: usize,
    /// Wakes whoever waits for readers to move.
    on_move: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct ReaderSlot {
    pub(super) position: u64,
    pub(super) waker: Option<Waker>,
    pub(super) disconnected: bool,
}

impl Readers {
    fn is_empty(&self) -> bool {
        self.active == 0
    }

    pub(super) fn add(&mut self, position: u64) -> usize {
        self.active += 1;
        let place = Some(ReaderSlot { position, waker: None, disconnected: false });
        match self.slots.iter().position(Option::is_none) {
            Some(free) => {
                self.slots[free] = place;
                free
            }
            None => {
                self.slots.push(place);
                self.slots.len() - 1
            }
        }
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.slots[index] = None;
        self.active -= 1;
        self.moved();
    }

    pub(super) fn moved(&mut self) {
        if let Some(waker) = self.on_move.take() {
            waker.wake();
        }
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.slots.iter_mut().flatten().filter_map(|place| place.waker.take()).collect()
    }

    fn all_at_least(&self, position: u64) -> bool {
        self.slots.iter().flatten().all(|place| place.disconnected || place.position >= position)
    }

    fn disconnect_before(&mut self, position: u64) {
        for place in self.slots.iter_mut().flatten() {
            place.disconnected |= place.position < position;
        }
        self.moved();
    }
}
