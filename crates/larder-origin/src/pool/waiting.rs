//! Counts the requests that wait for a permit.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One of the requests that wait.
pub(super) struct Waiting<'s>(&'s AtomicUsize);

impl<'s> Waiting<'s> {
    /// Counts one more request, or returns `None` if `limit` requests wait.
    pub(super) fn enter(waiting: &'s AtomicUsize, limit: usize) -> Option<Self> {
        let this = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < limit).then_some(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
