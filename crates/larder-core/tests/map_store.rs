//! A store in the memory of the process, and the tests of its contract.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use larder_core::{
    BodySource, CacheKey, CacheStore, Candidate, Candidates, EntryId, Epochs, InvalidationFeed, Leases,
    Purged, Removals, Reservation, Scope, StoreError, StoreErrorKind, StoreWriter, StoredBody, StoredHead,
    Ticket, Timestamp, mark_key_stale,
};

/// A store in the memory of this process, without a limit.
#[derive(Debug, Clone, Default)]
struct MapStore {
    entries: Arc<Mutex<HashMap<CacheKey, Vec<Entry>>>>,
    epochs: Epochs,
    last_id: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
struct Entry {
    candidate: Candidate,
    /// The epoch of the entry's reservation, with which removals of groups are compared.
    epoch: u64,
}

impl MapStore {
    /// Returns the entries of a key, newest first, without those that were removed with a group.
    fn visible(&self, key: &CacheKey) -> Vec<Entry> {
        let entries = self.entries.lock().expect("no panic").get(key).cloned();
        let mut entries = entries.unwrap_or_default();
        entries.retain(|entry| !self.epochs.removed_since(&entry.candidate.head.groups, entry.epoch));
        entries
    }

    fn replace(&self, key: &CacheKey, entries: Vec<Entry>) {
        self.entries.lock().expect("no panic").insert(key.clone(), entries);
    }

    fn delete(&self, key: &CacheKey) -> u64 {
        self.epochs.update(key, || {
            let count = self.visible(key).len();
            self.entries.lock().expect("no panic").remove(key);
            count as u64
        })
    }

    fn keys(&self, prefix: &str) -> Vec<CacheKey> {
        let entries = self.entries.lock().expect("no panic");
        entries.keys().filter(|key| key.target().starts_with(prefix)).cloned().collect()
    }
}

#[async_trait]
impl CacheStore for MapStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        let found: Arc<[_]> = self.visible(key).into_iter().map(|entry| entry.candidate).collect();
        Ok(Candidates::from(found).marked_stale(|head| self.epochs.stale_at(&head.groups)))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let ticket = self.epochs.reserve(key);
        Ok(Box::new(MapReservation { store: self.clone(), ticket }))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        _keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        self.epochs.update(key, || {
            // Without the entries of removed groups, by their old heads.
            let mut entries = self.visible(key);
            let old = entries.iter_mut().find(|entry| entry.candidate.id == id).ok_or_else(gone)?;
            old.candidate = Candidate::new(id, head, old.candidate.body.clone());
            self.replace(key, entries);
            Ok(())
        })
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        Ok(self.epochs.update(key, || {
            let mut entries = self.visible(key);
            let before = entries.len();
            entries.retain(|entry| entry.candidate.id != id);
            let was_stored = entries.len() < before;
            self.replace(key, entries);
            was_stored
        }))
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        // First the writes in progress, then what is stored.
        self.epochs.remove(scope);
        let prefix = match scope {
            Scope::Key(key) => return Ok(Purged::from(self.delete(key))),
            Scope::Group(_) => return Ok(Purged::UNKNOWN),
            Scope::Prefix(prefix) => prefix,
            Scope::All => "",
        };
        let removed: u64 = self.keys(prefix).iter().map(|key| self.delete(key)).sum();
        Ok(Purged::from(removed))
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        let prefix = match scope {
            Scope::Key(key) => return mark_key_stale(self, key, at).await.map(Purged::from),
            Scope::Group(group) => {
                self.epochs.mark_group_stale(group, at);
                return Ok(Purged::UNKNOWN);
            }
            Scope::Prefix(prefix) => prefix,
            Scope::All => "",
        };
        let mut marked = 0;
        for key in self.keys(prefix) {
            marked += mark_key_stale(self, &key, at).await?;
        }
        Ok(Purged::from(marked))
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

#[derive(Debug)]
struct MapReservation {
    store: MapStore,
    ticket: Ticket,
}

#[async_trait]
impl Reservation for MapReservation {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        _length: Option<u64>,
        _keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { store, ticket } = *self;
        Ok(Box::new(MapWriter { store, ticket, head, body: BytesMut::new() }))
    }
}

#[derive(Debug)]
struct MapWriter {
    store: MapStore,
    ticket: Ticket,
    head: Arc<StoredHead>,
    body: BytesMut,
}

#[async_trait]
impl StoreWriter for MapWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.body.extend_from_slice(&chunk);
        Ok(())
    }

    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        None
    }

    async fn commit(self: Box<Self>) -> Result<EntryId, StoreError> {
        let Self { store, ticket, head, body } = *self;
        let id = EntryId(store.last_id.fetch_add(1, Ordering::Relaxed));
        let make_visible = || {
            let mut entries = store.visible(ticket.key());
            entries.retain(|old| old.candidate.head.selecting != head.selecting);
            let body = StoredBody::Whole(body.freeze());
            let candidate = Candidate::new(id, Arc::clone(&head), body);
            entries.insert(0, Entry { candidate, epoch: ticket.epoch() });
            store.replace(ticket.key(), entries);
            id
        };
        ticket.commit(&head.groups, make_visible).ok_or_else(gone)
    }
}

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::Gone, "map", "the entry was removed or replaced")
}

larder_testkit::store_suite!(map_store, async { MapStore::default() });
