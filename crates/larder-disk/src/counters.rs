//! What this process has seen, until it is added to what all have.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::state_file::Counts;

/// Counted without a lock, and written down about once a second.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.plus(Counts::default()) == Counts::default()
    }

    /// Moves them to the shared ones.
    pub(crate) fn drain(&self, into: &mut Counts) {
        *into = self.plus(*into);
        for counter in [&self.hits, &self.misses, &self.stored, &self.evicted, &self.corrupt, &self.failed] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// The same without moving them.
    pub(crate) fn plus(&self, mut shared: Counts) -> Counts {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        shared.hits += now(&self.hits);
        shared.misses += now(&self.misses);
        shared.stored += now(&self.stored);
        shared.evicted += now(&self.evicted);
        shared.corrupt += now(&self.corrupt);
        shared.failed += now(&self.failed);
        shared
    }
}
