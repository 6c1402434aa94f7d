//! A table of fixed size that remembers when something was last seen, by its hash.
//!
//! Each slot is one atomic number. A hash replaces another one of the same slot, and one hash in 8
//! million is mistaken for another: both may only cost the user of the table some efficiency.
//! `variants` remembers which variants are in use, `miss/reloads` which responses clients have had
//! reloaded.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{CacheKey, StoredHead, Timestamp};

/// Bits of a slot that hold the time in milliseconds: enough for 34 years. The next bit is the
/// flag; the hash has the rest.
const TIME_BITS: u32 = 40;
const TIME: u64 = (1 << TIME_BITS) - 1;
const FLAG: u64 = 1 << TIME_BITS;
const TAG: u64 = !(TIME | FLAG);

/// What a slot has about a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// How long ago it was seen.
    pub(super) ago: Duration,
    /// The flag with which it was seen.
    pub(super) flag: bool,
}

/// The table.
pub(super) struct RecentTable(Box<[AtomicU64]>);

impl RecentTable {
    /// Creates an empty table. `slots` is a power of two.
    pub(super) fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// Returns what is known about a hash that was seen within the last `window`.
    pub(super) fn get(&self, hash: u64, now: Timestamp, window: Duration) -> Option<Seen> {
        let value = self.slot(hash).load(Ordering::Relaxed);
        (value & TAG == hash & TAG).then(|| seen(value, now, window)).flatten()
    }

    /// Records that a hash has been seen. A record with the flag is not replaced by one without it,
    /// unless it is older than `window`, so that a flood of new hashes replaces none that count.
    pub(super) fn record(&self, hash: u64, flag: bool, now: Timestamp, window: Duration) {
        let slot = self.slot(hash);
        let stays = |value| !flag && seen(value, now, window).is_some_and(|seen| seen.flag);
        if !stays(slot.load(Ordering::Relaxed)) {
            slot.store(value_of(hash, flag, now), Ordering::Relaxed);
        }
    }

    /// Records a hash and returns `true`, unless it has been seen within the last `window`. Of
    /// several callers at the same time, one gets `true`.
    pub(super) fn claim(&self, hash: u64, now: Timestamp, window: Duration) -> bool {
        let claimed = |value: u64| {
            let is_free = value & TAG != hash & TAG || seen(value, now, window).is_none();
            is_free.then(|| value_of(hash, true, now))
        };
        self.slot(hash).fetch_update(Ordering::Relaxed, Ordering::Relaxed, claimed).is_ok()
    }

    /// Returns the slot of a hash.
    fn slot(&self, hash: u64) -> &AtomicU64 {
        &self.0[hash as usize & (self.0.len() - 1)]
    }
}

impl fmt::Debug for RecentTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecentTable({} slots)", self.0.len())
    }
}

/// Returns what a slot has, if its time is within the last `window`.
fn seen(value: u64, now: Timestamp, window: Duration) -> Option<Seen> {
    // Wrapping: a clock that is set back makes the record one of a long time ago.
    let ago = Duration::from_millis(now.as_millis().wrapping_sub(value) & TIME);
    (value != 0 && ago < window).then_some(Seen { ago, flag: value & FLAG != 0 })
}

/// Returns the value of a slot.
fn value_of(hash: u64, flag: bool, now: Timestamp) -> u64 {
    (hash & TAG) | if flag { FLAG } else { 0 } | (now.as_millis() & TIME)
}

/// Returns the hash of a variant of a key, for these tables. It is different in each process.
pub(super) fn variant_hash(key: &CacheKey, head: &StoredHead) -> u64 {
    key.process_hash() ^ head.selecting.short_fingerprint()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    /// Another hash of the same slot.
    const OTHER: u64 = 1 << 60;

    #[test]
    fn records_last_for_the_window() {
        let table = RecentTable::new(16);
        let now = Timestamp::from_secs(1_700_000_000);
        let later = |secs| now.saturating_add(Duration::from_secs(secs));
        assert_eq!(table.get(5, now, MINUTE), None);
        table.record(5, true, now, MINUTE);
        assert_eq!(table.get(5, later(59), MINUTE), Some(Seen { ago: Duration::from_secs(59), flag: true }));
        assert_eq!(table.get(5, later(60), MINUTE), None);
        assert_eq!(table.get(5 ^ OTHER, now, MINUTE), None, "another hash");
        let before = Timestamp::from_secs(1_600_000_000);
        assert_eq!(table.get(5, before, MINUTE), None, "the clock was set back");
    }

    /// A flood of hashes without the flag must not replace those in use.
    #[test]
    fn a_flag_protects_a_record() {
        let table = RecentTable::new(16);
        let now = Timestamp::from_secs(1_700_000_000);
        table.record(5, true, now, MINUTE);
        table.record(5 ^ OTHER, false, now, MINUTE);
        assert!(table.get(5, now, MINUTE).is_some() && table.get(5 ^ OTHER, now, MINUTE).is_none());
        table.record(5 ^ OTHER, true, now, MINUTE);
        assert!(table.get(5, now, MINUTE).is_none() && table.get(5 ^ OTHER, now, MINUTE).is_some());
        let later = now.saturating_add(MINUTE);
        table.record(5, false, later, MINUTE);
        assert_eq!(table.get(5, later, MINUTE), Some(Seen { ago: Duration::ZERO, flag: false }));
    }

    #[test]
    fn a_claim_is_granted_once() {
        let table = RecentTable::new(16);
        let now = Timestamp::from_secs(1_700_000_000);
        let window = Duration::from_secs(1);
        let claims: Vec<bool> = (0..3).map(|_| table.claim(5, now, window)).collect();
        assert_eq!(claims, [true, false, false]);
        assert!(table.claim(6, now, window), "another hash");
        assert!(!table.claim(5, now.saturating_add(Duration::from_millis(999)), window));
        assert!(table.claim(5, now.saturating_add(window), window));
    }
}
