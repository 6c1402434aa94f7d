//! Counts this process's events until the maintenance thread (`maintenance`) adds them to the
//! totals in the state file.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::state::state_file::Counts;

/// Counters of this process. They are incremented without a lock and moved to the state file about
/// once a second.
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
    /// Adds one to a counter.
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether all counters are zero.
    pub(crate) fn is_empty(&self) -> bool {
        self.plus(Counts::default()) == Counts::default()
    }

    /// Adds the counters to the shared totals and resets them to zero.
    pub(crate) fn drain(&self, into: &mut Counts) {
        *into = self.plus(*into);
        for counter in [&self.hits, &self.misses, &self.stored, &self.evicted, &self.corrupt, &self.failed] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the shared totals plus these counters, without resetting them.
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
