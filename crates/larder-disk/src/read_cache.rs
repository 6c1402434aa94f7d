//! Short entries that were read lately, decoded.
//!
//! A record is never changed and its place never used again, so what was read there once is right for as long as a slot of
//! the index leads there. Each look-up reads that slot first: nothing here needs to be told of removals, in this process or
//! another.

use larder_core::{CacheKey, Candidates};
use quick_cache::{Weighter, sync::Cache};

use crate::index::Slot;

/// The longest record that is kept.
const LONGEST: usize = 80 << 10;
/// Bookkeeping of one entry: the map's, the decoded head's.
const OVERHEAD: u64 = 1024;

/// One entry, ready to be handed out.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: CacheKey,
    pub(crate) candidates: Candidates,
    /// The sequence number when it was asked for.
    pub(crate) begun: u64,
    size: u64,
}

#[derive(Debug)]
pub(crate) struct ReadCache(Option<Cache<u64, Entry, Weight>>);

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<u64, Entry> for Weight {
    fn weight(&self, _: &u64, entry: &Entry) -> u64 {
        entry.size
    }
}

impl ReadCache {
    pub(crate) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / 4096).unwrap_or(usize::MAX);
        Self((bytes > 0).then(|| Cache::with_weighter(items.max(16), bytes, Weight)))
    }

    /// What was read where this slot leads.
    pub(crate) fn get(&self, slot: &Slot, key: &CacheKey) -> Option<Entry> {
        self.0.as_ref()?.get(&place(slot)).filter(|entry| entry.key == *key)
    }

    pub(crate) fn put(&self, slot: &Slot, key: &CacheKey, candidates: &Candidates, begun: u64) {
        if let Some(cache) = &self.0
            && !slot.has_file
            && slot.length() <= LONGEST
        {
            // The buffer that it was read into may be longer.
            let size = slot.length().next_power_of_two() as u64 + OVERHEAD;
            let entry = Entry { key: key.clone(), candidates: candidates.clone(), begun, size };
            cache.insert(place(slot), entry);
        }
    }
}

fn place(slot: &Slot) -> u64 {
    u64::from(slot.segment) << 32 | u64::from(slot.offset)
}
