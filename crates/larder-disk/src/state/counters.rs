//! Counts this process's events until the maintenance thread (`maintenance`) adds them to the
//! totals in the state file.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::state::Counts;

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
    repeats: Repeats,
}

/// Hashes of keys of which the next lookup repeats an earlier one, in a table of fixed size.
#[derive(Debug)]
struct Repeats([AtomicU64; 256]);

impl Default for Repeats {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 256])
    }
}

impl Counters {
    /// Adds one to a counter.
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the next lookup of the key with this hash is a repetition: after the claim of a
    /// lease.
    pub(crate) fn expect_repeat(&self, hash: u64) {
        self.repeats.0[hash as usize % self.repeats.0.len()].store(hash, Ordering::Relaxed);
    }

    /// Counts a lookup of the key with this hash, unless it repeats an earlier one.
    pub(crate) fn count_lookup(&self, hash: u64, is_hit: bool) {
        let repeat = &self.repeats.0[hash as usize % self.repeats.0.len()];
        if repeat.load(Ordering::Relaxed) == hash
            && repeat.compare_exchange(hash, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            return;
        }
        Self::add(if is_hit { &self.hits } else { &self.misses });
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
