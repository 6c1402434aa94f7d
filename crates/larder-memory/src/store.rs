//! The public store: reserves, freshens, evicts, removes and marks entries stale.
//!
//! `shared` has the map, lookups, commits and removals. Bodies are written in `writer`.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use larder_core::{
    CacheKey, CacheStore, Candidate, Candidates, EntryId, InvalidationFeed, Leases, Purged, Removals,
    Reservation, Scope, StoreError, StoredHead, Timestamp,
};

use crate::{
    MemoryOptions,
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
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
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
        Ok(self.shared.look_up(key))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let ticket = self.shared.epochs.reserve(key);
        Ok(Box::new(MemoryReservation { store: Arc::clone(&self.shared), ticket }))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        _keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let freshened = |one: &Candidate| {
            if one.id == id { Candidate::new(id, Arc::clone(&head), one.body.clone()) } else { one.clone() }
        };
        self.shared.epochs.update(key, || {
            let before = self.shared.get(key);
            let Some(before) = before.filter(|stored| stored.candidates.iter().any(|one| one.id == id))
            else {
                return Err(gone("the entry was removed, replaced or evicted"));
            };
            let candidates: Arc<[Candidate]> = before.candidates.iter().map(freshened).collect();
            let reserved_at: Vec<_> = before.iter().map(|(_, reserved_at)| reserved_at).collect();
            self.shared.put(key, candidates, &reserved_at, before.clears);
            Ok(())
        })
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        Ok(self.shared.evict(key, id))
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        Ok(match scope {
            Scope::Key(key) => Purged::from(self.shared.remove(key)),
            Scope::Group(_) => {
                self.shared.epochs.remove(scope);
                Purged::UNKNOWN
            }
            Scope::Prefix(url) => Purged::from(self.shared.remove_prefix(url)),
            Scope::All => {
                self.shared.remove_all();
                Purged::UNKNOWN
            }
        })
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        Ok(match scope {
            Scope::Key(key) => Purged::from(self.shared.mark_stale(key, at)),
            Scope::Group(group) => {
                self.shared.epochs.mark_group_stale(group, at);
                Purged::UNKNOWN
            }
            Scope::Prefix(url) => Purged::from(self.shared.mark_prefix_stale(url, at)),
            Scope::All => Purged::from(self.shared.mark_prefix_stale("", at)),
        })
    }

    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    fn removals(&self) -> Option<&dyn Removals> {
        None
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        None
    }
}
