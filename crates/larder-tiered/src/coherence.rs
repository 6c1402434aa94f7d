//! Whether near copies may be believed, and whether one that is being made is still good.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::{CacheKey, CacheStore, Invalidation, InvalidationStream, StoreError};

/// Shared by the store, and the task that hears of removals.
#[derive(Debug)]
pub(crate) struct Coherence {
    near: Arc<dyn CacheStore>,
    valid: AtomicBool,
    /// Counts removals, ours and others'.
    removals: AtomicU64,
    /// For the keys of each shard, how many times several variants are being brought near (the low half), and how many times
    /// that has begun (the high half).
    completing: [AtomicU64; SHARDS],
}

const SHARDS: usize = 64;
const LOW: u64 = u32::MAX as u64;

/// Until this is dropped, a near copy may lack variants.
#[derive(Debug)]
pub(crate) struct Completing<'a>(&'a AtomicU64);

impl Drop for Completing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Coherence {
    pub(crate) fn new(near: Arc<dyn CacheStore>, believed: bool) -> Arc<Self> {
        Arc::new(Self {
            near,
            valid: AtomicBool::new(believed),
            removals: AtomicU64::new(0),
            completing: [const { AtomicU64::new(0) }; SHARDS],
        })
    }

    fn shard(&self, key: &CacheKey) -> &AtomicU64 {
        &self.completing[(key.process_hash() >> 48) as usize % SHARDS]
    }

    /// Before variants are brought near, one after the other.
    pub(crate) fn completing(&self, key: &CacheKey) -> Completing<'_> {
        let shard = self.shard(key);
        shard.fetch_add((1 << 32) + 1, Ordering::AcqRel);
        Completing(shard)
    }

    /// To be asked before and after a near look-up: if it is the same twice, what was found had all its variants, and may be
    /// served.
    pub(crate) fn complete(&self, key: &CacheKey) -> Option<u64> {
        let now = self.shard(key).load(Ordering::Acquire);
        (self.is_valid() && now & LOW == 0).then_some(now)
    }

    /// Whether what is near may be served.
    pub(crate) fn is_valid(&self) -> bool {
        self.valid.load(Ordering::Acquire)
    }

    /// The count before something is looked up far: see [`is_good_since`](Self::is_good_since).
    pub(crate) fn now(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// Whether nothing was removed since. To be asked after a write to the near store has begun: a removal that comes after
    /// this keeps that write from being committed.
    pub(crate) fn is_good_since(&self, then: u64) -> bool {
        self.is_valid() && self.now() == then
    }

    /// Something is about to be removed near.
    pub(crate) fn removing(&self) {
        self.removals.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes away near what is not all there is far any more.
    pub(crate) async fn invalidate(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.removing();
        self.near.remove(key).await
    }

    async fn heard(&self, removed: Invalidation) {
        self.removing();
        let done = match &removed {
            Invalidation::Key(key) => self.near.remove(key).await,
            Invalidation::Group(group) => self.near.invalidate_group(group).await,
            Invalidation::Disconnected => {
                self.valid.store(false, Ordering::Release);
                return;
            }
            // What was missed meanwhile is not known.
            _ => self.near.clear().await,
        };
        match done {
            Ok(()) if removed == Invalidation::Connected => self.valid.store(true, Ordering::Release),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the near store does not remove; it is not used until it is empty");
                self.valid.store(false, Ordering::Release);
                while self.near.clear().await.is_err() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                self.valid.store(true, Ordering::Release);
            }
        }
    }
}

/// Hears of removals until the store is gone.
pub(crate) async fn on_invalidation(trust: Weak<Coherence>, mut listener: Box<dyn InvalidationStream>) {
    loop {
        let removed = listener.next().await;
        let Some(trust) = trust.upgrade() else { return };
        trust.heard(removed).await;
    }
}
