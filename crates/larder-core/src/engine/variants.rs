//! Knows which variants are in use, and which one of a key was used longest ago.
//!
//! The time of each use is in a table of fixed size ([`RecentTable`]). A variant that was never
//! seen before cannot displace one that is in use, so that a client with a new value in each
//! request costs the others nothing. `excess` applies the limit.

use std::{
    cmp::Reverse,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::recent::{RecentTable, variant_hash};
use crate::{CacheKey, Candidate, Candidates, StoredHead, Timestamp, policy::Selected};

/// A variant is in use for this time after it was served. A new variant that is requested twice in
/// this time counts as in use, too.
const IN_USE: Duration = Duration::from_secs(60);
/// The precision with which the time of a use is known.
const RESOLUTION: Duration = Duration::from_secs(1);
/// How long the time of a use is known.
const KNOWN: Duration = Duration::from_secs(24 * 3600);
/// Time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Number of variants of which the last use is known. The table has 128 KiB.
const SLOTS: usize = 1 << 14;

/// The uses of variants, and the last warning.
#[derive(Debug)]
pub(super) struct Variants {
    /// The flag is set for variants that are in use, not for those that were requested once.
    uses: RecentTable,
    warned: RecentTable,
    /// Variants that were evicted or not stored since the last warning.
    dropped: AtomicU64,
}

impl Variants {
    /// Creates the state of a cache.
    pub(super) fn new() -> Self {
        Self { uses: RecentTable::new(SLOTS), warned: RecentTable::new(1), dropped: AtomicU64::new(0) }
    }

    /// Records that a variant was served from the store. Does nothing if the key has no other, as
    /// most keys: its uses are all older than those of a variant that is stored later.
    #[inline]
    pub(super) fn served(&self, key: &CacheKey, candidates: &Candidates, selected: Selected) {
        if candidates.len() > 1 {
            self.record_use(key, &candidates[selected.index].head, selected.age);
        }
    }

    /// Records that a variant of this age is in use.
    #[inline(never)]
    fn record_use(&self, key: &CacheKey, head: &StoredHead, age: Duration) {
        // The time of the decision, without another look at the clock.
        let resident = age.saturating_sub(head.freshness.corrected_initial_age);
        let now = head.freshness.response_time.saturating_add(resident);
        let hash = variant_hash(key, head);
        // Not at each hit: many threads would write to the slot of a popular page.
        if !self.uses.get(hash, now, RESOLUTION).is_some_and(|seen| seen.flag) {
            self.uses.record(hash, true, now, IN_USE);
        }
    }

    /// Records a new variant that exceeds the limit, and returns whether it is stored: if one of
    /// the others is not in use, or if this one has been requested before.
    pub(super) fn admit(
        &self,
        key: &CacheKey,
        candidates: &Candidates,
        head: &StoredHead,
        now: Timestamp,
    ) -> bool {
        let hash = variant_hash(key, head);
        let again = self.uses.get(hash, now, IN_USE).is_some();
        self.uses.record(hash, again, now, IN_USE);
        again || candidates.iter().any(|candidate| !self.use_of(key, candidate, now).0)
    }

    /// Returns whether a variant is in use, and the time at which it was last stored, validated or
    /// served.
    fn use_of(&self, key: &CacheKey, candidate: &Candidate, now: Timestamp) -> (bool, Reverse<Duration>) {
        let stored_ago = now.since(candidate.head.freshness.response_time);
        match self.uses.get(variant_hash(key, &candidate.head), now, KNOWN) {
            Some(seen) => (seen.flag && seen.ago < IN_USE, Reverse(seen.ago.min(stored_ago))),
            None => (false, Reverse(stored_ago)),
        }
    }

    /// Returns the variants to evict, least recently used first: `count` of those that are not the
    /// variant of `stored`.
    pub(super) fn least_used<'c>(
        &self,
        key: &CacheKey,
        candidates: &'c Candidates,
        stored: &StoredHead,
        count: usize,
        now: Timestamp,
    ) -> Vec<&'c Candidate> {
        // The oldest first, for those that were stored in the same millisecond.
        let others = candidates.iter().rev().filter(|candidate| candidate.head.selecting != stored.selecting);
        let mut others: Vec<_> =
            others.map(|candidate| (self.use_of(key, candidate, now), candidate)).collect();
        others.sort_by_key(|(last_use, _)| *last_use);
        others.into_iter().map(|(_, candidate)| candidate).take(count).collect()
    }

    /// Counts variants that were evicted or not stored. Returns how many there were since the last
    /// warning, if it is time for the next one.
    pub(super) fn count_dropped(&self, dropped: u64, now: Timestamp) -> Option<u64> {
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.warned.claim(0, now, WARN_EVERY).then(|| self.dropped.swap(0, Ordering::Relaxed))
    }
}
