//! Decides whether near copies may be served, and whether a copy that is being promoted is still
//! valid. Applies the invalidations of other processes to the near store.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use larder_core::{CacheKey, CacheStore, Invalidation, InvalidationStream, Scope, StoreError};

/// The state that decides about near copies, shared by the store and the invalidation task.
#[derive(Debug)]
pub(crate) struct Coherence {
    near: Arc<dyn CacheStore>,
    /// Whether the near copies are up to date: the feed is connected, or the far store has none.
    valid: AtomicBool,
    /// Time until which the feed is known to be alive, in ns after `start`; the maximum if it does
    /// not report that.
    alive_until: AtomicU64,
    start: Instant,
    /// Number of removals by this process and by others.
    removals: AtomicU64,
    /// For the keys of each shard: the promotions of several variants that are running (low half),
    /// and that have been started (high half).
    promotions: [AtomicU64; SHARDS],
}

const SHARDS: usize = 64;
/// The low half of a promotion counter.
const RUNNING: u64 = u32::MAX as u64;

/// Returns the time of the monotonic clock, in tokio's time, which tests control.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A running promotion of several variants. Until it is dropped, the near store may lack some of
/// them.
#[derive(Debug)]
pub(crate) struct Promotion<'a>(&'a AtomicU64);

impl Drop for Promotion<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Coherence {
    /// Creates the state for an empty near store. `valid` is `false` if the far store has a feed,
    /// which is not connected yet.
    pub(crate) fn new(near: Arc<dyn CacheStore>, valid: bool) -> Arc<Self> {
        Arc::new(Self {
            near,
            valid: AtomicBool::new(valid),
            alive_until: AtomicU64::new(u64::MAX),
            start: now(),
            removals: AtomicU64::new(0),
            promotions: [const { AtomicU64::new(0) }; SHARDS],
        })
    }

    /// Returns the promotion counter for a key.
    fn shard(&self, key: &CacheKey) -> &AtomicU64 {
        &self.promotions[(key.process_hash() >> 48) as usize % SHARDS]
    }

    /// Starts a promotion of several variants, which are committed one after the other.
    pub(crate) fn start_promotion(&self, key: &CacheKey) -> Promotion<'_> {
        let shard = self.shard(key);
        shard.fetch_add((1 << 32) + 1, Ordering::AcqRel);
        Promotion(shard)
    }

    /// Returns the promotion counter of a key, or `None` while its variants may be incomplete or
    /// near copies may not be served.
    ///
    /// If it is the same before and after a near lookup, the lookup has found all variants, and
    /// they may be served.
    pub(crate) fn generation(&self, key: &CacheKey) -> Option<u64> {
        let counter = self.shard(key).load(Ordering::Acquire);
        (self.is_valid() && counter & RUNNING == 0).then_some(counter)
    }

    /// Returns whether near copies may be served: the near store has missed no invalidation, and
    /// the feed is alive. (A task that ends that by a timer would be late after a suspension.)
    pub(crate) fn is_valid(&self) -> bool {
        let until = self.alive_until.load(Ordering::Acquire);
        self.valid.load(Ordering::Acquire) && (until == u64::MAX || self.nanos(now()) < until)
    }

    /// Returns the nanoseconds from the start to a time.
    fn nanos(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the number of removals, to be read before a far lookup and passed to
    /// [`is_unchanged_since`](Self::is_unchanged_since).
    pub(crate) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// Returns whether there was no removal since the count was read and near copies may be served.
    ///
    /// To be called once the write to the near store has begun: the near store then rejects the
    /// commit after any later removal.
    pub(crate) fn is_unchanged_since(&self, removals: u64) -> bool {
        self.is_valid() && self.removals() == removals
    }

    /// Counts a removal. To be called before the near store removes.
    pub(crate) fn record_removal(&self) {
        self.removals.fetch_add(1, Ordering::AcqRel);
    }

    /// Removes the near copies of a key, which are no longer all variants that the far store has.
    pub(crate) async fn invalidate(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.record_removal();
        self.near.remove(Scope::Key(key)).await.map(drop)
    }

    /// Applies an invalidation by another process. Clears the near store if invalidations were
    /// missed, or if the near store fails to remove.
    async fn apply(&self, invalidation: Invalidation) {
        if let Invalidation::AliveUntil(time) = invalidation {
            self.alive_until.store(self.nanos(time), Ordering::Release);
            return;
        }
        self.record_removal();
        let result = match &invalidation {
            Invalidation::Key(key) => self.near.remove(Scope::Key(key)).await,
            Invalidation::Group(group) => self.near.remove(Scope::Group(group)).await,
            Invalidation::Disconnected => {
                self.valid.store(false, Ordering::Release);
                return;
            }
            // Everything was removed, or it is unknown which invalidations were missed.
            _ => self.near.remove(Scope::All).await,
        };
        match result {
            Ok(_) if invalidation == Invalidation::Connected => self.valid.store(true, Ordering::Release),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the near store failed to remove entries, clearing it");
                self.valid.store(false, Ordering::Release);
                while self.near.remove(Scope::All).await.is_err() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                self.valid.store(true, Ordering::Release);
            }
        }
    }
}

/// Applies each invalidation of the feed until the store is dropped.
pub(crate) async fn on_invalidation(coherence: Weak<Coherence>, mut listener: Box<dyn InvalidationStream>) {
    loop {
        let invalidation = listener.next().await;
        let Some(coherence) = coherence.upgrade() else { return };
        coherence.apply(invalidation).await;
    }
}
