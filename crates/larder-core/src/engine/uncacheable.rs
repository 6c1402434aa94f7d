//! Remembers which keys' last response could not serve others, so that their requests are not collapsed, and which said
//! outright that it must not be stored, so that adapters need not go the whole way for the next.
//!
//! Waiting for a leader only to be told to go oneself doubles the latency. One such wait for a key is
//! unavoidable; this table spares the later ones. It has a fixed size and forgets: a key that loses its place
//! costs one more wait, and one that takes another's is fetched a few times too often.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{CacheKey, Timestamp};

/// How long a key is left uncollapsed after a response that could not be shared.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// Places; a power of two. 128 KiB.
const PLACES: usize = 1 << 14;
/// Seconds take this many bits of a place, a mark the next, the key's hash the rest.
const TIME_BITS: u32 = 24;
/// The bit beside them: it refused to be stored.
const REFUSED: u64 = 1 << TIME_BITS;
const SECONDS: u64 = REFUSED - 1;
const TAG: u64 = !(SECONDS | REFUSED);

/// The table. Each place is one atomic number: bits of the key's hash, and the second until which it counts.
pub(crate) struct UncacheableKeys(Box<[AtomicU64]>);

impl UncacheableKeys {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    /// `refused`: the response must not be stored, and said so.
    pub(crate) fn insert(&self, key: &CacheKey, refused: bool, now: Timestamp) {
        let until = now.saturating_add(REMEMBERED_FOR);
        let mark = if refused { REFUSED } else { 0 };
        self.place(key).store(tag(key) | mark | seconds(until), Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, key: &CacheKey) {
        let place = self.place(key);
        if place.load(Ordering::Relaxed) & TAG == tag(key) {
            place.store(0, Ordering::Relaxed);
        }
    }

    /// It may be stored after all.
    pub(crate) fn remove_no_store(&self, key: &CacheKey) {
        let place = self.place(key);
        let value = place.load(Ordering::Relaxed);
        if value & REFUSED != 0 && value & TAG == tag(key) {
            place.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn contains(&self, key: &CacheKey, now: Timestamp) -> bool {
        self.get(key, now).is_some()
    }

    pub(crate) fn contains_no_store(&self, key: &CacheKey, now: Timestamp) -> bool {
        self.get(key, now).is_some_and(|value| value & REFUSED != 0)
    }

    fn get(&self, key: &CacheKey, now: Timestamp) -> Option<u64> {
        let value = self.place(key).load(Ordering::Relaxed);
        // Wrapping: the seconds are a window of half a year, and a clock that jumps only ends the memory.
        let left = (value & SECONDS).wrapping_sub(seconds(now)) & SECONDS;
        let counts = value != 0 && value & TAG == tag(key) && left <= REMEMBERED_FOR.as_secs();
        counts.then_some(value)
    }

    fn place(&self, key: &CacheKey) -> &AtomicU64 {
        &self.0[key.process_hash() as usize % PLACES]
    }
}

impl fmt::Debug for UncacheableKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uncollapsible({} places)", self.0.len())
    }
}

fn seconds(time: Timestamp) -> u64 {
    (time.as_millis() / 1000) & SECONDS
}

fn tag(key: &CacheKey) -> u64 {
    key.process_hash() & TAG
}
