//! Remembers the origins that were just out of reach, so that a stale response is served at once
//! instead of after the same wait as before (RFC 5861 §4).
//!
//! `fetch/on_error` records a failure, and `miss/stored` reads it. The table has a fixed size: if
//! two origins share a slot, the earlier failure is forgotten.

use std::{hash::BuildHasher as _, hash::RandomState, time::Duration};

use super::recent::RecentTable;
use crate::{TargetUri, Timestamp};

/// Number of origins of which the last failure is known. The table has 8 KiB.
const SLOTS: usize = 1 << 10;
/// Time after a failure in which an origin counts as failing.
const WINDOW: Duration = Duration::from_secs(10);

/// The origins that have just failed.
#[derive(Debug)]
pub(super) struct FailingOrigins {
    failures: RecentTable,
    hasher: RandomState,
}

impl FailingOrigins {
    /// Creates an empty table.
    pub(super) fn new() -> Self {
        Self { failures: RecentTable::new(SLOTS), hasher: RandomState::new() }
    }

    /// Records that the origin of `target` has failed.
    pub(super) fn record(&self, target: &TargetUri, now: Timestamp) {
        self.failures.record(self.hash(target), true, now, WINDOW);
    }

    /// Returns whether the origin of `target` has just failed.
    pub(super) fn contains(&self, target: &TargetUri, now: Timestamp) -> bool {
        self.failures.get(self.hash(target), now, WINDOW).is_some()
    }

    /// Returns the hash of an origin.
    fn hash(&self, target: &TargetUri) -> u64 {
        self.hasher.hash_one(target.origin())
    }
}
