//! Implements [`CacheStore`] for `Arc` and `Box`, so that a shared or boxed store is a store, too.
//!
//! The methods have the signatures that `#[async_trait]` generates. They return the future of the
//! inner store, so that a call through the pointer allocates nothing more.

use std::{pin::Pin, sync::Arc};

use larder_policy::{CacheKey, StoredHead, Timestamp};

use super::{
    CacheStore, Candidates, EntryId, InvalidationFeed, Leases, Purged, Removals, Reservation, Scope,
    StoreError,
};

/// The future that a method of the trait returns.
type StoreFuture<'f, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'f>>;

/// Implements [`CacheStore`] for a pointer type.
macro_rules! impl_cache_store {
    ($pointer:ident) => {
        impl<T: CacheStore + ?Sized> CacheStore for $pointer<T> {
            #[inline]
            fn lookup<'s, 'k, 'f>(&'s self, key: &'k CacheKey) -> StoreFuture<'f, Candidates>
            where
                's: 'f,
                'k: 'f,
                Self: 'f,
            {
                (**self).lookup(key)
            }

            #[inline]
            fn reserve<'s, 'k, 'f>(&'s self, key: &'k CacheKey) -> StoreFuture<'f, Box<dyn Reservation>>
            where
                's: 'f,
                'k: 'f,
                Self: 'f,
            {
                (**self).reserve(key)
            }

            #[inline]
            fn freshen<'s, 'k, 'f>(
                &'s self,
                key: &'k CacheKey,
                id: EntryId,
                head: Arc<StoredHead>,
                keep_until: Timestamp,
            ) -> StoreFuture<'f, ()>
            where
                's: 'f,
                'k: 'f,
                Self: 'f,
            {
                (**self).freshen(key, id, head, keep_until)
            }

            #[inline]
            fn evict<'s, 'k, 'f>(&'s self, key: &'k CacheKey, id: EntryId) -> StoreFuture<'f, bool>
            where
                's: 'f,
                'k: 'f,
                Self: 'f,
            {
                (**self).evict(key, id)
            }

            #[inline]
            fn remove<'s, 'k, 'f>(&'s self, scope: Scope<'k>) -> StoreFuture<'f, Purged>
            where
                's: 'f,
                'k: 'f,
                Self: 'f,
            {
                (**self).remove(scope)
            }

            #[inline]
            fn mark_stale<'s, 'k, 'f>(&'s self, scope: Scope<'k>, at: Timestamp) -> StoreFuture<'f, Purged>
            where
                's: 'f,
                'k: 'f,
                Self: 'f,
            {
                (**self).mark_stale(scope, at)
            }

            #[inline]
            fn leases(&self) -> Option<&dyn Leases> {
                (**self).leases()
            }

            #[inline]
            fn removals(&self) -> Option<&dyn Removals> {
                (**self).removals()
            }

            #[inline]
            fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
                (**self).invalidations()
            }
        }
    };
}

impl_cache_store!(Arc);
impl_cache_store!(Box);
