//! A connection of HTTP/2, which several exchanges share.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use hyper::client::conn::http2::SendRequest;
use larder_core::Body;
use tokio::time::Instant;

use super::Limits;
use crate::connect::AllowedStreams;

/// A connection of HTTP/2 in the pool.
pub(super) struct SharedConnection {
    sender: SendRequest<Body>,
    pub(super) state: Arc<SharedState>,
}

/// What the exchanges of one connection have in common.
pub(super) struct SharedState {
    opened: Instant,
    /// Number of exchanges that the origin allows at a time.
    allowed: Arc<AllowedStreams>,
    /// Number of exchanges.
    open: AtomicUsize,
    /// Whether a response has arrived.
    has_responded: AtomicBool,
    /// Whether an exchange has failed because the connection is closed or closing.
    is_broken: AtomicBool,
    /// When the last exchange has ended.
    last_use: Mutex<Instant>,
}

impl SharedConnection {
    /// Creates the entry of a new connection.
    pub(super) fn new(sender: SendRequest<Body>, allowed: Arc<AllowedStreams>) -> Self {
        let now = Instant::now();
        let state = SharedState {
            opened: now,
            allowed,
            open: AtomicUsize::new(0),
            has_responded: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            last_use: Mutex::new(now),
        };
        Self { sender, state: Arc::new(state) }
    }

    /// Starts an exchange.
    pub(super) fn join(&self) -> (SendRequest<Body>, Arc<SharedState>) {
        self.state.open.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), Arc::clone(&self.state))
    }

    /// Returns whether a new exchange may start on it.
    pub(super) fn is_usable(&self, limits: &Limits, now: Instant) -> bool {
        !self.is_closed() && now.duration_since(self.state.opened) < limits.max_age
    }

    /// Returns whether nothing uses it any more, or has used it for long.
    pub(super) fn is_expired(&self, limits: &Limits, now: Instant) -> bool {
        let is_idle = self.open() == 0;
        let last_use = *self.state.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        let was_idle_for_long = now.duration_since(last_use) >= limits.idle_timeout;
        self.is_closed() || (is_idle && (was_idle_for_long || !self.is_usable(limits, now)))
    }

    /// Returns whether the connection has ended, or is about to.
    fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.state.is_broken.load(Ordering::Relaxed)
    }

    /// Returns the number of exchanges.
    pub(super) fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// Returns the number of exchanges that the origin allows, if its settings have arrived.
    pub(super) fn allowed(&self) -> Option<usize> {
        self.state.has_responded().then(|| self.state.allowed.get())
    }

    /// Returns whether the origin allows one more exchange. `expected` is the number that it has
    /// allowed on another connection.
    pub(super) fn has_room(&self, expected: Option<usize>) -> bool {
        self.open() < self.limit(expected)
    }

    /// Returns the number of exchanges that wait for others to end.
    pub(super) fn waiting(&self, expected: Option<usize>) -> usize {
        self.open().saturating_sub(self.limit(expected))
    }

    /// Returns the number of exchanges that the origin allows, as far as is known.
    fn limit(&self, expected: Option<usize>) -> usize {
        self.allowed().or(expected).unwrap_or_else(|| self.state.allowed.get())
    }
}

impl SharedState {
    /// Returns whether a response has arrived.
    pub(super) fn has_responded(&self) -> bool {
        self.has_responded.load(Ordering::Relaxed)
    }

    /// Records that a response has arrived.
    pub(super) fn set_responded(&self) {
        if !self.has_responded.swap(true, Ordering::Relaxed) {
            self.allowed.refresh();
        }
    }

    /// Keeps new exchanges from starting on the connection.
    pub(super) fn set_broken(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }

    /// Ends an exchange.
    pub(super) fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}
