//! The store: near if it may be believed, far if not.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    CacheGroup, CacheKey, CacheStore, Candidate, Candidates, EntryId, InvalidationFeed, Leases, Reservation,
    StoreError, StoreErrorKind, StoreWriter, StoredBody, StoredHead, Timestamp,
};

use crate::{
    coherence::{Coherence, on_invalidation},
    writer::Reserved,
};

/// A near store over a far one.
///
/// Cloning shares both.
#[derive(Debug, Clone)]
pub struct TieredStore {
    near: Arc<dyn CacheStore>,
    far: Arc<dyn CacheStore>,
    coherence: Arc<Coherence>,
}

impl TieredStore {
    /// `near` over `far`. `near` is this store's alone, and emptied when it can't be known what it missed. Within a tokio
    /// runtime, in which it hears of removals.
    pub fn new(near: Arc<dyn CacheStore>, far: Arc<dyn CacheStore>) -> Self {
        let listener = far.invalidations().map(|removals| removals.listen());
        // Who can't hear of removals has to believe that there are none but ours.
        let trust = Coherence::new(Arc::clone(&near), listener.is_none());
        if let Some(listener) = listener {
            tokio::spawn(on_invalidation(Arc::downgrade(&trust), listener));
        }
        Self { near, far, coherence: trust }
    }

    /// What is near: all variants that there are far, or nothing.
    async fn near(&self, key: &CacheKey) -> Option<Candidates> {
        let then = self.coherence.complete(key)?;
        let found = self.near.lookup(key).await.ok().filter(|found| !found.is_empty())?;
        (self.coherence.complete(key) == Some(then)).then_some(found)
    }

    /// Brings near what came whole, with all its variants. `then` is from before it was looked up far.
    async fn promote(&self, key: &CacheKey, found: &Candidates, then: u64) -> Option<Candidates> {
        let whole = |candidate: &Candidate| match &candidate.body {
            StoredBody::Whole(body) if !candidate.head.selecting.never_matches() => {
                Some((Arc::clone(&candidate.head), body.clone()))
            }
            _ => None,
        };
        // The newest is first, and has to be written last.
        let copies: Vec<_> = found.iter().rev().map(whole).collect::<Option<_>>()?;
        if copies.is_empty() || !self.coherence.is_good_since(then) {
            return None;
        }
        let mut writers = Vec::with_capacity(copies.len());
        for (head, body) in copies {
            writers.push(self.copying(key, head, body).await?);
        }
        // Once more, now that a removal that comes later reaches what is being written.
        if !self.coherence.is_good_since(then) {
            return None;
        }
        if writers.len() == 1 {
            writers.pop()?.commit().await.ok()?;
        } else {
            // On its own: who waits for it may leave in the middle.
            tokio::spawn(commit_all(Arc::clone(&self.coherence), key.clone(), writers)).await.ok()??;
        }
        self.near.lookup(key).await.ok().filter(|near| near.len() == found.len())
    }

    /// A near copy that needs only to be committed.
    async fn copying(
        &self,
        key: &CacheKey,
        head: Arc<StoredHead>,
        body: Bytes,
    ) -> Option<Box<dyn StoreWriter>> {
        let reserved = self.near.reserve(key).await.ok()?;
        let mut writer = reserved.begin(head, Some(body.len() as u64)).await.ok()?;
        if !body.is_empty() {
            writer.write(body).await.ok()?;
        }
        Some(writer)
    }

    /// The far entry that has this head.
    async fn far_id(&self, key: &CacheKey, head: &StoredHead) -> Result<Option<EntryId>, StoreError> {
        let found = self.far.lookup(key).await?;
        Ok(found.iter().find(|candidate| *candidate.head == *head).map(|candidate| candidate.id))
    }
}

/// Commits all variants of a key near, or none.
async fn commit_all(trust: Arc<Coherence>, key: CacheKey, writers: Vec<Box<dyn StoreWriter>>) -> Option<()> {
    let _incomplete = trust.completing(&key);
    for writer in writers {
        if writer.commit().await.is_err() {
            let _ = trust.invalidate(&key).await;
            return None;
        }
    }
    Some(())
}

#[async_trait]
impl CacheStore for TieredStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        if let Some(near) = self.near(key).await {
            return Ok(near);
        }
        let then = self.coherence.now();
        let found = self.far.lookup(key).await?;
        // The ids of what is handed out are those by which it is freshened: the near ones, where there are.
        let near = self.promote(key, &found, then).await;
        Ok(near.unwrap_or(found))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        // Near first: a removal that is told of from now on keeps this from being committed near, as every store promises.
        let near = if self.coherence.is_valid() { self.near.reserve(key).await.ok() } else { None };
        let far = match self.far.reserve(key).await {
            Ok(far) => Some(far),
            Err(error) if near.is_none() => return Err(error),
            // It is down: the near one alone is better than nothing.
            Err(_) => None,
        };
        Ok(Box::new(Reserved { coherence: Arc::clone(&self.coherence), key: key.clone(), near, far }))
    }

    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError> {
        let near = self.near.lookup(key).await.unwrap_or_default();
        let Some(old) = near.iter().find(|candidate: &&Candidate| candidate.id == id) else {
            return self.far.freshen(key, id, head).await;
        };
        let old = Arc::clone(&old.head);
        match self.far_id(key, &old).await {
            Ok(Some(far)) => {
                let freshened = self.far.freshen(key, far, Arc::clone(&head)).await;
                match freshened {
                    Err(error) if error.kind() == StoreErrorKind::Gone => {
                        // Removed or replaced there: so it is here.
                        let _ = self.coherence.invalidate(key).await;
                        Err(error)
                    }
                    _ => self.near.freshen(key, id, head).await,
                }
            }
            // Expired or evicted there, or not reachable: what is near is still right.
            _ => self.near.freshen(key, id, head).await,
        }
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        // Far first: what is brought near after that is not what was removed.
        let far = self.far.remove(key).await;
        self.coherence.invalidate(key).await.and(far)
    }

    async fn invalidate_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        let far = self.far.invalidate_group(group).await;
        self.coherence.removing();
        self.near.invalidate_group(group).await.and(far)
    }

    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError> {
        let far = self.far.remove_prefix(url).await;
        self.coherence.removing();
        let near = self.near.remove_prefix(url).await?;
        // What is near is far, too, but for what has expired there.
        Ok(far?.max(near))
    }

    async fn clear(&self) -> Result<(), StoreError> {
        let far = self.far.clear().await;
        self.coherence.removing();
        self.near.clear().await.and(far)
    }

    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        let far = self.far.mark_group_stale(group, at).await;
        self.coherence.removing();
        // What was near comes near again, as it is far.
        self.near.invalidate_group(group).await.and(far)
    }

    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError> {
        let far = self.far.mark_prefix_stale(url, at).await;
        self.coherence.removing();
        self.near.mark_prefix_stale(url, at).await.and(far)
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.far.leases()
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        self.far.invalidations()
    }
}
