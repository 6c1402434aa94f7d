//! Caches recently read short entries in decoded form.
//!
//! A record is never changed and its location never reused, so a decoded entry is valid for as long
//! as a slot of the index points to that location. Each lookup reads the slot first. Removals, in
//! this process or another, therefore need no invalidation here.

use larder_core::{CacheKey, Candidates};
use quick_cache::{Weighter, sync::Cache};

use crate::format::bucket::Slot;

/// Longest record that is cached.
const MAX_RECORD: usize = 80 << 10;
/// Estimated bytes of bookkeeping for one entry, in the map and in the decoded head.
const OVERHEAD: u64 = 1024;

/// A cached lookup result.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: CacheKey,
    pub(crate) candidates: Candidates,
    /// Sequence number when the entry was reserved.
    pub(crate) reserved_at: u64,
    /// Weight in the cache, in bytes.
    size: u64,
}

/// The cache, keyed by record location. `None` if `read_cache_bytes` is 0.
#[derive(Debug)]
pub(crate) struct ReadCache(Option<Cache<u64, Entry, Weight>>);

/// Weighs entries by their size in bytes.
#[derive(Debug, Clone)]
struct Weight;

impl Weighter<u64, Entry> for Weight {
    fn weight(&self, _: &u64, entry: &Entry) -> u64 {
        entry.size
    }
}

impl ReadCache {
    /// Creates a cache of at most `bytes` bytes. Zero disables it.
    pub(crate) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / 4096).unwrap_or(usize::MAX);
        Self((bytes > 0).then(|| Cache::with_weighter(items.max(16), bytes, Weight)))
    }

    /// Returns the cached entry of `key` for the record that `slot` points to.
    pub(crate) fn get(&self, slot: &Slot, key: &CacheKey) -> Option<Entry> {
        self.0.as_ref()?.get(&location_key(slot)).filter(|entry| entry.key == *key)
    }

    /// Caches the only entry of `key`. Ignores long records, and entries with a body in a file.
    pub(crate) fn put(&self, slot: &Slot, key: &CacheKey, candidates: &Candidates, reserved_at: u64) {
        if let Some(cache) = &self.0
            && !slot.has_file
            && slot.length() <= MAX_RECORD
        {
            // The entry keeps its pooled read buffer alive, which may be longer than the record.
            let size = slot.length().next_power_of_two() as u64 + OVERHEAD;
            let entry = Entry { key: key.clone(), candidates: candidates.clone(), reserved_at, size };
            cache.insert(location_key(slot), entry);
        }
    }
}

/// Returns the location of a slot's record as a map key.
fn location_key(slot: &Slot) -> u64 {
    u64::from(slot.segment) << 32 | u64::from(slot.offset)
}
