//! The public store: reads from the near store where its copies are valid and complete, otherwise
//! from the far store, and promotes what it finds there. `coherence` decides which near copies are
//! valid.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    CacheKey, CacheStore, Candidate, Candidates, EntryId, InvalidationFeed, Leases, Purged, Removals,
    Reservation, Scope, StoreError, StoreErrorKind, StoreWriter, StoredBody, StoredHead, Timestamp,
};

use crate::{
    coherence::{Coherence, on_invalidation},
    writer::Reserved,
};

/// A near store (memory) over a far store (Redis, disk).
///
/// Clones share both stores. The far store decides what is stored: entries are read through it,
/// written through to it and removed from it first.
///
/// ```
/// use std::sync::Arc;
///
/// use larder_core::{Cache, CacheStore};
/// use larder_memory::MemoryStore;
/// use larder_tiered::TieredStore;
///
/// fn cache(far: Arc<dyn CacheStore>) -> Cache {
///     let near = Arc::new(MemoryStore::with_capacity(64 << 20)); // bytes
///     Cache::builder(Arc::new(TieredStore::new(near, far))).build()
/// }
/// ```
#[derive(Clone)]
pub struct TieredStore {
    near: Arc<dyn CacheStore>,
    far: Arc<dyn CacheStore>,
    coherence: Arc<Coherence>,
}

impl fmt::Debug for TieredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredStore")
            .field("near", &self.near)
            .field("far", &self.far)
            .finish_non_exhaustive()
    }
}

impl TieredStore {
    /// Creates a store with `near` over `far`.
    ///
    /// No other store or cache may use `near`: this store clears it whenever invalidations may have
    /// been missed. If `far` has an invalidation feed (as Redis has), a task applies its
    /// invalidations to `near` until the last clone is dropped, and near copies are not served
    /// before the feed is connected.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime if `far` has an invalidation feed.
    pub fn new(near: Arc<dyn CacheStore>, far: Arc<dyn CacheStore>) -> Self {
        let listener = far.invalidations().map(|feed| feed.listen());
        // Without a feed, this process's removals are the only ones that the near store can know.
        let coherence = Coherence::new(Arc::clone(&near), listener.is_none());
        if let Some(listener) = listener {
            tokio::spawn(on_invalidation(Arc::downgrade(&coherence), listener));
        }
        Self { near, far, coherence }
    }

    /// Returns the near copies of a key: all variants that the far store has, or `None`.
    async fn lookup_near(&self, key: &CacheKey) -> Option<Candidates> {
        let generation = self.coherence.generation(key)?;
        let found = self.near.lookup(key).await.ok().filter(|found| !found.is_empty())?;
        (self.coherence.generation(key) == Some(generation)).then_some(found)
    }

    /// Writes all variants of a key to the near store and returns the near copies. `removals` is
    /// the count from before the far lookup.
    ///
    /// Returns `None` and promotes nothing if a body has to be read from the far store in chunks, a
    /// variant matches no request (`Vary: *`), or something was removed since.
    async fn promote(&self, key: &CacheKey, found: &Candidates, removals: u64) -> Option<Candidates> {
        let copy = |candidate: &Candidate| match &candidate.body {
            StoredBody::Whole(body)
                if !candidate.head.selecting.never_matches() && !is_never_fresh(&candidate.head) =>
            {
                Some((Arc::clone(&candidate.head), body.clone()))
            }
            _ => None,
        };
        // The newest variant is first here, and the near store returns the last one written first.
        let copies: Vec<_> = found.iter().rev().map(copy).collect::<Option<_>>()?;
        if copies.is_empty() || !self.coherence.is_unchanged_since(removals) {
            return None;
        }
        let mut writers = Vec::with_capacity(copies.len());
        for (head, body) in copies {
            writers.push(self.begin_copy(key, head, body).await?);
        }
        // Checked again after the writes have begun: the near store rejects them after a later
        // removal.
        if !self.coherence.is_unchanged_since(removals) {
            return None;
        }
        if writers.len() == 1 {
            writers.pop()?.commit().await.ok()?;
        } else {
            // In a task, because the caller may be dropped after some of the commits.
            tokio::spawn(commit_all(Arc::clone(&self.coherence), key.clone(), writers)).await.ok()??;
        }
        self.near.lookup(key).await.ok().filter(|near| near.len() == found.len())
    }

    /// Writes one variant to the near store, ready to be committed.
    async fn begin_copy(
        &self,
        key: &CacheKey,
        head: Arc<StoredHead>,
        body: Bytes,
    ) -> Option<Box<dyn StoreWriter>> {
        let reserved = self.near.reserve(key).await.ok()?;
        let keep_until = head.keep_until();
        let mut writer = reserved.begin(head, Some(body.len() as u64), keep_until).await.ok()?;
        if !body.is_empty() {
            writer.write(body).await.ok()?;
        }
        Some(writer)
    }

    /// Returns the id of the far entry with this head.
    async fn far_id(&self, key: &CacheKey, head: &StoredHead) -> Result<Option<EntryId>, StoreError> {
        let found = self.far.lookup(key).await?;
        Ok(found.iter().find(|candidate| *candidate.head == *head).map(|candidate| candidate.id))
    }
}

/// Returns whether a response has to be validated for each request, from its arrival on.
///
/// A near copy of it would save little, and it would break the validation of an entry of which the
/// far store may have lost a removal: the far store has to see the id of its own lookup.
fn is_never_fresh(head: &StoredHead) -> bool {
    let freshness = &head.freshness;
    freshness.must_revalidate && freshness.lifetime.lifetime <= freshness.corrected_initial_age
}

/// Commits all variants of a key to the near store, or none.
async fn commit_all(
    coherence: Arc<Coherence>,
    key: CacheKey,
    writers: Vec<Box<dyn StoreWriter>>,
) -> Option<()> {
    let _promotion = coherence.start_promotion(&key);
    for writer in writers {
        if writer.commit().await.is_err() {
            let _ = coherence.invalidate(&key).await;
            return None;
        }
    }
    Some(())
}

#[async_trait]
impl CacheStore for TieredStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        if let Some(near) = self.lookup_near(key).await {
            return Ok(near);
        }
        let removals = self.coherence.removals();
        let found = self.far.lookup(key).await?;
        // `freshen` is called with the ids that are returned here: those of the near copies, if
        // there are any.
        let near = self.promote(key, &found, removals).await;
        Ok(near.unwrap_or(found))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        // The near store first: it rejects the commit after any removal that it receives from now
        // on.
        let near = if self.coherence.is_valid() { self.near.reserve(key).await.ok() } else { None };
        let far = match self.far.reserve(key).await {
            Ok(far) => Some(far),
            Err(error) if near.is_none() => return Err(error),
            // The far store is unavailable: store the response in the near store alone.
            Err(_) => None,
        };
        Ok(Box::new(Reserved { coherence: Arc::clone(&self.coherence), key: key.clone(), near, far }))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let near = self.near.lookup(key).await.unwrap_or_default();
        let Some(old) = near.iter().find(|candidate: &&Candidate| candidate.id == id) else {
            return self.far.freshen(key, id, head, keep_until).await;
        };
        let old = Arc::clone(&old.head);
        match self.far_id(key, &old).await {
            Ok(Some(far)) => {
                let freshened = self.far.freshen(key, far, Arc::clone(&head), keep_until).await;
                match freshened {
                    Err(error) if error.kind() == StoreErrorKind::Gone => {
                        // The far entry was removed or replaced, so the near copies are not valid.
                        let _ = self.coherence.invalidate(key).await;
                        Err(error)
                    }
                    _ => self.near.freshen(key, id, head, keep_until).await,
                }
            }
            // The far entry has expired or been evicted, or the far store is unavailable. The near
            // copy is still valid.
            _ => self.near.freshen(key, id, head, keep_until).await,
        }
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        let near = self.near.lookup(key).await.unwrap_or_default();
        let Some(copy) = near.iter().find(|candidate| candidate.id == id) else {
            return self.far.evict(key, id).await;
        };
        // The far store first: otherwise the entry could be promoted again.
        let far = match self.far_id(key, &copy.head).await? {
            Some(far) => self.far.evict(key, far).await?,
            None => false,
        };
        Ok(self.near.evict(key, id).await? || far)
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        // The far store first: otherwise the removed entry could be promoted again.
        let far = self.far.remove(scope).await;
        self.coherence.record_removal();
        let near = self.near.remove(scope).await?;
        Ok(Purged::of_tiers(near, far?))
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        let far = self.far.mark_stale(scope, at).await;
        self.coherence.record_removal();
        // After these, the next lookup promotes the stale entries from the far store.
        let is_dropped = match (scope, &far) {
            (Scope::Group(_), _) => true,
            (Scope::Key(_), Ok(far)) => far.entries.is_some_and(|entries| entries > 0),
            _ => false,
        };
        let near =
            if is_dropped { self.near.remove(scope).await? } else { self.near.mark_stale(scope, at).await? };
        Ok(Purged::of_tiers(near, far?))
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.far.leases()
    }

    fn removals(&self) -> Option<&dyn Removals> {
        self.far.removals()
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        self.far.invalidations()
    }
}
