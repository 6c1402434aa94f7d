//! The public store: reserves, freshens, removes and marks entries stale.
//!
//! `shared` has the map, lookups and commits. Bodies are written in `writer`.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use larder_core::{
    CacheGroup, CacheKey, CacheStore, Candidate, Candidates, EntryId, InvalidationFeed, Leases, Reservation,
    StoreError, StoredHead, Timestamp,
};

use crate::{
    MemoryOptions,
    inflight::InFlight,
    shared::{Shared, gone},
    writer::MemoryReservation,
};

/// Stores responses in the memory of this process.
///
/// Cloning is cheap and shares the store. Its [`capacity`](MemoryOptions::capacity) is a limit in
/// bytes; at the limit, entries are evicted by the TinyLFU policy of [moka](https://docs.rs/moka).
///
/// # Examples
///
/// ```
/// use larder_memory::MemoryStore;
///
/// let store = MemoryStore::with_capacity(64 * 1024 * 1024); // 64 MiB
/// assert_eq!(store.bytes_in_use(), 0);
/// ```
///
/// # Cancel safety
///
/// All operations complete at their first poll. A writer or reservation that is dropped before its
/// commit leaves nothing in the store.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl MemoryStore {
    /// Creates an empty store with these limits.
    pub fn new(options: MemoryOptions) -> Self {
        Self { shared: Arc::new(Shared::new(options)) }
    }

    /// Creates an empty store of at most `capacity` bytes. The other limits follow from the
    /// capacity; see [`MemoryOptions`].
    pub fn with_capacity(capacity: u64) -> Self {
        Self::new(MemoryOptions::default().with_capacity(capacity))
    }

    /// Returns the approximate number of keys that have stored responses. Applies pending evictions
    /// first.
    pub fn key_count(&self) -> u64 {
        self.shared.entries.run_pending_tasks();
        self.shared.entries.entry_count()
    }

    /// Returns the bytes in use, by stored entries and by bodies that are being written.
    pub fn bytes_in_use(&self) -> u64 {
        self.shared.stored_bytes.load(Ordering::Relaxed) + self.shared.writing.load(Ordering::Relaxed)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

#[async_trait]
impl CacheStore for MemoryStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        Ok(self.shared.entries.get(key).map_or_else(Candidates::none, |stored| self.shared.visible(stored)))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let registration = self.shared.register(key);
        Ok(Box::new(MemoryReservation { store: Arc::clone(&self.shared), registration }))
    }

    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError> {
        let _shard = self.shared.writers.lock(key);
        let before = self.shared.get(key);
        let Some(before) = before.filter(|stored| stored.candidates.iter().any(|one| one.id == id)) else {
            return Err(gone("the entry was removed, replaced or evicted"));
        };
        let freshened = |(one, reserved_at): (&Candidate, u64)| {
            let one = if one.id == id {
                Candidate::new(id, Arc::clone(&head), one.body.clone())
            } else {
                one.clone()
            };
            (one, reserved_at)
        };
        let (candidates, reserved_at) = before.iter().map(freshened).unzip();
        self.shared.put(key, candidates, reserved_at, before.clears);
        Ok(())
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        let mut writers = self.shared.writers.lock(key);
        InFlight::remove(&mut writers, key);
        self.shared.entries.invalidate(key);
        Ok(())
    }

    async fn invalidate_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        let now = self.shared.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.groups.remove(group, now);
        Ok(())
    }

    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError> {
        let matches = |key: &CacheKey| key.target().starts_with(url);
        self.shared.writers.remove_where(matches);
        let mut count = 0;
        for (key, _) in self.shared.entries.iter().filter(|(key, _)| matches(key)) {
            // Under the shard's lock, because freshening or storing another variant writes back
            // what it has read.
            let _shard = self.shared.writers.lock(&key);
            count += self.shared.get(&key).map_or(0, |stored| stored.candidates.len()) as u64;
            self.shared.entries.invalidate(&*key);
        }
        Ok(count)
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.shared.writers.remove_all();
        // After the writers: none that was reserved before commits with the new value.
        self.shared.clears.fetch_add(1, Ordering::AcqRel);
        self.shared.entries.invalidate_all();
        Ok(())
    }

    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        self.shared.stale_groups.remove(group, at.as_millis());
        Ok(())
    }

    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError> {
        for (key, _) in self.shared.entries.iter().filter(|(key, _)| key.target().starts_with(url)) {
            let _shard = self.shared.writers.lock(&key);
            let Some(stored) = self.shared.get(&key) else { continue };
            let reserved_at = stored.iter().map(|(_, reserved_at)| reserved_at).collect();
            let candidates = stored.candidates.clone().marked_stale(|_| Some(at));
            self.shared.put(&key, candidates.to_vec(), reserved_at, stored.clears);
        }
        Ok(())
    }

    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        None
    }
}
