//! Records keys of which the last response could not be shared. Requests for them are not
//! collapsed. A flag marks keys of which the response forbade storing, such as with `no-store`:
//! adapters may forward requests for them without the engine.
//!
//! Waiting for a response that then cannot be shared doubles the latency. The first such wait
//! for a key cannot be avoided; this table avoids the later ones. Its size is fixed, and a key
//! replaces another key of the same slot. A replaced key costs one more wait. A key that is
//! mistaken for another is fetched a few times more often than necessary.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{CacheKey, Timestamp};

/// How long a key stays uncollapsed after a response that could not be shared.
const TTL: Duration = Duration::from_secs(60);
/// Number of slots; a power of two. The table has 128 KiB.
const SLOTS: usize = 1 << 14;
/// Bits of a slot that hold the expiry in seconds. The next bit is the flag; the key's hash has the
/// rest.
const TIME_BITS: u32 = 24;
/// The flag of a response that forbade storing.
const FORBIDS_STORING: u64 = 1 << TIME_BITS;
const SECONDS: u64 = FORBIDS_STORING - 1;
const TAG: u64 = !(SECONDS | FORBIDS_STORING);

/// A table of atomic numbers. Each has bits of the key's hash, the flag, and the second in which it
/// expires.
pub(crate) struct UncacheableKeys(Box<[AtomicU64]>);

impl UncacheableKeys {
    /// Creates an empty table.
    pub(crate) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Records that the last response of `key` could not be shared.
    ///
    /// `forbids_storing` states whether its header fields forbid storing.
    pub(crate) fn insert(&self, key: &CacheKey, forbids_storing: bool, now: Timestamp) {
        let until = now.saturating_add(TTL);
        let flag = if forbids_storing { FORBIDS_STORING } else { 0 };
        self.slot(key).store(tag(key) | flag | seconds(until), Ordering::Relaxed);
    }

    /// Removes `key`.
    pub(crate) fn remove(&self, key: &CacheKey) {
        let slot = self.slot(key);
        if slot.load(Ordering::Relaxed) & TAG == tag(key) {
            slot.store(0, Ordering::Relaxed);
        }
    }

    /// Removes `key` if its last response forbade storing.
    pub(crate) fn allow_storing(&self, key: &CacheKey) {
        let slot = self.slot(key);
        let value = slot.load(Ordering::Relaxed);
        if value & FORBIDS_STORING != 0 && value & TAG == tag(key) {
            slot.store(0, Ordering::Relaxed);
        }
    }

    /// Returns whether the last response of `key` could not be shared.
    pub(crate) fn contains(&self, key: &CacheKey, now: Timestamp) -> bool {
        self.get(key, now).is_some()
    }

    /// Returns whether the last response of `key` forbade storing.
    pub(crate) fn forbids_storing(&self, key: &CacheKey, now: Timestamp) -> bool {
        self.get(key, now).is_some_and(|value| value & FORBIDS_STORING != 0)
    }

    /// Returns the value of the slot of `key`, if it belongs to `key` and has not expired.
    fn get(&self, key: &CacheKey, now: Timestamp) -> Option<u64> {
        let value = self.slot(key).load(Ordering::Relaxed);
        // Wrapping: the seconds cover half a year. A clock that jumps only expires the record.
        let left = (value & SECONDS).wrapping_sub(seconds(now)) & SECONDS;
        let matches = value != 0 && value & TAG == tag(key) && left <= TTL.as_secs();
        matches.then_some(value)
    }

    /// Returns the slot of `key`.
    fn slot(&self, key: &CacheKey) -> &AtomicU64 {
        &self.0[key.process_hash() as usize % SLOTS]
    }
}

impl fmt::Debug for UncacheableKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UncacheableKeys({} slots)", self.0.len())
    }
}

/// Returns the time in seconds, as many bits as a slot has.
fn seconds(time: Timestamp) -> u64 {
    (time.as_millis() / 1000) & SECONDS
}

/// Returns the bits of the key's hash that a slot stores.
fn tag(key: &CacheKey) -> u64 {
    key.process_hash() & TAG
}
