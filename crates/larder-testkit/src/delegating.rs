//! [`DelegatingStore`]: forwards each call to another store, except for those that a test
//! overrides.

use std::{ops::Deref, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheKey, CacheStore, Candidates, EntryId, InvalidationFeed, Leases, Purged, Removals,
    Reservation, Scope, StoreError, StoreWriter, StoredHead, Timestamp,
};

/// What a [`DelegatingStore`] does. Each method forwards to [`inner`](Self::inner) unless it is
/// overridden.
#[async_trait]
pub trait StoreDelegate: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the store to which calls are forwarded.
    fn inner(&self) -> &dyn CacheStore;

    /// Replaces [`CacheStore::lookup`].
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        self.inner().lookup(key).await
    }

    /// Replaces [`CacheStore::reserve`].
    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        self.inner().reserve(key).await
    }

    /// Replaces [`Reservation::begin`] of what `reserve` has returned.
    async fn begin(
        &self,
        reserved: Box<dyn Reservation>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        reserved.begin(head, length, keep_until).await
    }

    /// Replaces [`StoreWriter::write`] of what `begin` has returned.
    async fn write(&self, writer: &mut dyn StoreWriter, chunk: Bytes) -> Result<(), StoreError> {
        writer.write(chunk).await
    }

    /// Replaces [`StoreWriter::commit`] of what `begin` has returned.
    async fn commit(&self, writer: Box<dyn StoreWriter>) -> Result<EntryId, StoreError> {
        writer.commit().await
    }

    /// Replaces [`CacheStore::freshen`].
    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner().freshen(key, id, head, keep_until).await
    }

    /// Replaces [`CacheStore::evict`].
    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        self.inner().evict(key, id).await
    }

    /// Replaces [`CacheStore::remove`].
    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        self.inner().remove(scope).await
    }

    /// Replaces [`CacheStore::mark_stale`].
    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        self.inner().mark_stale(scope, at).await
    }

    /// Replaces [`CacheStore::leases`].
    fn leases(&self) -> Option<&dyn Leases> {
        self.inner().leases()
    }

    /// Replaces [`CacheStore::removals`].
    fn removals(&self) -> Option<&dyn Removals> {
        self.inner().removals()
    }

    /// Replaces [`CacheStore::invalidations`].
    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        self.inner().invalidations()
    }
}

/// A store that forwards each call to another one, except for those that its [`StoreDelegate`]
/// overrides. A test changes one method of a store, and writes no other.
///
/// It dereferences to the delegate. Clones share it.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use larder_core::{CacheKey, CacheStore, Candidates, StoreError};
/// use larder_memory::MemoryStore;
/// use larder_testkit::{DelegatingStore, StoreDelegate};
///
/// #[derive(Debug, Default)]
/// struct CountsLookups {
///     store: MemoryStore,
///     count: AtomicUsize,
/// }
///
/// #[async_trait::async_trait]
/// impl StoreDelegate for CountsLookups {
///     fn inner(&self) -> &dyn CacheStore {
///         &self.store
///     }
///
///     async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
///         self.count.fetch_add(1, Ordering::Relaxed);
///         self.store.lookup(key).await
///     }
/// }
///
/// let store = DelegatingStore::new(CountsLookups::default());
/// assert_eq!(store.count.load(Ordering::Relaxed), 0);
/// ```
#[derive(Debug)]
pub struct DelegatingStore<D>(Arc<D>);

impl<D: StoreDelegate> DelegatingStore<D> {
    /// Creates a store of a delegate.
    pub fn new(delegate: D) -> Self {
        Self(Arc::new(delegate))
    }
}

impl<D> Clone for DelegatingStore<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: StoreDelegate + Default> Default for DelegatingStore<D> {
    fn default() -> Self {
        Self::new(D::default())
    }
}

impl<D> Deref for DelegatingStore<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.0
    }
}

#[async_trait]
impl<D: StoreDelegate> CacheStore for DelegatingStore<D> {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        self.0.lookup(key).await
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let inner = self.0.reserve(key).await?;
        Ok(Box::new(DelegatingReservation { delegate: Arc::clone(&self.0), inner }))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.freshen(key, id, head, keep_until).await
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        self.0.evict(key, id).await
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        self.0.remove(scope).await
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        self.0.mark_stale(scope, at).await
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.0.leases()
    }

    fn removals(&self) -> Option<&dyn Removals> {
        self.0.removals()
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        self.0.invalidations()
    }
}

/// A reservation of which the delegate replaces `begin`.
#[derive(Debug)]
struct DelegatingReservation<D> {
    delegate: Arc<D>,
    inner: Box<dyn Reservation>,
}

#[async_trait]
impl<D: StoreDelegate> Reservation for DelegatingReservation<D> {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { delegate, inner } = *self;
        let inner = delegate.begin(inner, head, length, keep_until).await?;
        Ok(Box::new(DelegatingWriter { delegate, inner }))
    }
}

/// A writer of which the delegate replaces `write` and `commit`.
#[derive(Debug)]
struct DelegatingWriter<D> {
    delegate: Arc<D>,
    inner: Box<dyn StoreWriter>,
}

#[async_trait]
impl<D: StoreDelegate> StoreWriter for DelegatingWriter<D> {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.delegate.write(&mut *self.inner, chunk).await
    }

    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        self.inner.follow()
    }

    async fn commit(self: Box<Self>) -> Result<EntryId, StoreError> {
        self.delegate.commit(self.inner).await
    }
}
