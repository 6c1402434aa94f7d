//! [`FaultyStore`]: wraps a store and injects faults.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheKey, CacheStore, Candidates, EntryId, InvalidationFeed, Leases, Purged, Removals,
    Reservation, Scope, StoreError, StoreErrorKind, StoreWriter, StoredBody, StoredHead, Timestamp,
};
use parking_lot::Mutex;

use crate::reads::{ReadFailure, Reads};

/// A fault that a [`FaultyStore`] injects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fault {
    /// No fault.
    #[default]
    None,
    /// Every call fails at once with [`StoreErrorKind::Unavailable`].
    Down,
    /// Every call succeeds after this delay.
    Slow(Duration),
    /// No call ever returns.
    Hangs,
    /// A writer fails with [`StoreErrorKind::Full`] after this many bytes. Other calls succeed.
    FullAfter(u64),
    /// Commits fail with [`StoreErrorKind::Unavailable`]. Other calls succeed.
    FailsAtCommit,
    /// Removals and soft purges fail with [`StoreErrorKind::Unavailable`]. Other calls succeed.
    FailsAtRemoval,
}

/// A store that delegates to another one and injects the [`Fault`] that the test has set.
///
/// Clones share the fault and the number of calls.
///
/// ```
/// use std::sync::Arc;
///
/// use larder_memory::MemoryStore;
/// use larder_testkit::{Fault, FaultyStore};
///
/// let store = FaultyStore::new(Arc::new(MemoryStore::default()));
/// store.set(Fault::Down);
/// assert_eq!(store.calls(), 0);
/// ```
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn CacheStore>,
    fault: Arc<Mutex<Fault>>,
    calls: Arc<AtomicUsize>,
    reads: Reads,
}

impl FaultyStore {
    /// Creates a wrapper of `inner` without a fault.
    pub fn new(inner: Arc<dyn CacheStore>) -> Self {
        Self { inner, fault: Arc::default(), calls: Arc::default(), reads: Reads::default() }
    }

    /// Sets the fault for all calls from now on.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }

    /// Makes the bodies that are opened next fail while they are read: the first of them as the
    /// first failure states, and so on. Those after that do not fail.
    ///
    /// Bodies in memory are streamed from now on, in chunks of four bytes.
    pub fn fail_reads(&self, failures: &[ReadFailure]) {
        self.reads.set(failures);
    }

    /// Returns the number of calls so far, including those of writers and those that failed.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Counts a call, and injects the fault into it.
    async fn on_call(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock();
        match fault {
            Fault::Down => Err(fault_error(StoreErrorKind::Unavailable)),
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Fault::Hangs => std::future::pending().await,
            _ => Ok(()),
        }
    }

    /// Counts a removal, and injects the fault into it.
    async fn on_removal(&self) -> Result<(), StoreError> {
        self.on_call().await?;
        match *self.fault.lock() {
            Fault::FailsAtRemoval => Err(fault_error(StoreErrorKind::Unavailable)),
            _ => Ok(()),
        }
    }
}

/// Creates the error of an injected fault.
fn fault_error(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "faulty", "fault injected by the test")
}

#[async_trait]
impl CacheStore for FaultyStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        self.on_call().await?;
        Ok(self.reads.apply(self.inner.lookup(key).await?))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        self.on_call().await?;
        let inner = self.inner.reserve(key).await?;
        Ok(Box::new(FaultyReservation { store: self.clone(), inner }))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        self.on_call().await?;
        self.inner.freshen(key, id, head, keep_until).await
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        self.on_call().await?;
        self.inner.evict(key, id).await
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        self.on_removal().await?;
        self.inner.remove(scope).await
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        self.on_removal().await?;
        self.inner.mark_stale(scope, at).await
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.inner.leases()
    }

    fn removals(&self) -> Option<&dyn Removals> {
        self.inner.removals()
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        self.inner.invalidations()
    }
}

#[derive(Debug)]
struct FaultyReservation {
    store: FaultyStore,
    inner: Box<dyn Reservation>,
}

#[async_trait]
impl Reservation for FaultyReservation {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        self.store.on_call().await?;
        let inner = self.inner.begin(head, length, keep_until).await?;
        Ok(Box::new(FaultyWriter { store: self.store, inner, written: 0 }))
    }
}

#[derive(Debug)]
struct FaultyWriter {
    store: FaultyStore,
    inner: Box<dyn StoreWriter>,
    written: u64,
}

#[async_trait]
impl StoreWriter for FaultyWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.store.on_call().await?;
        self.written += chunk.len() as u64;
        let fault = *self.store.fault.lock();
        match fault {
            Fault::FullAfter(most) if self.written > most => Err(fault_error(StoreErrorKind::Full)),
            _ => self.inner.write(chunk).await,
        }
    }

    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        Some(self.store.reads.source(StoredBody::Source(self.inner.follow()?)))
    }

    async fn commit(self: Box<Self>) -> Result<EntryId, StoreError> {
        self.store.on_call().await?;
        if *self.store.fault.lock() == Fault::FailsAtCommit {
            return Err(fault_error(StoreErrorKind::Unavailable));
        }
        self.inner.commit().await
    }
}
