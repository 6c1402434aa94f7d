//! Removing what is stored: by unsafe requests (RFC 9111 §4.4), by groups (RFC 9875), by the owner.
//!
//! A removal that has returned is never followed by the removed response. The flights that would still bring it
//! are taken off the map first, so that a request from now on begins a fetch of its own; the store keeps what was
//! reserved before from being committed.

use std::sync::Arc;

use super::{Cache, events::StoreStep};
use crate::timeout::within;
use crate::{CacheGroup, CacheKey, StoreError, StoreErrorKind, TargetUri};

impl Cache {
    /// Removes what is stored for `target`, in all its variants.
    ///
    /// # Errors
    ///
    /// If the store can't tell that it is gone.
    pub async fn purge(&self, target: &TargetUri) -> Result<(), StoreError> {
        self.purge_key(&CacheKey::new(target)).await
    }

    /// Removes what is stored under `key`, in all its variants.
    ///
    /// # Errors
    ///
    /// If the store can't tell that it is gone.
    pub async fn purge_key(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.flights.detach(key);
        self.inner.uncacheable.remove(key);
        self.removed(within(self.inner.limits.store_timeout, self.inner.store.remove(key)).await)
    }

    /// Makes what is stored for `target` stale, in all its variants: it is asked for again, and may be served meanwhile or in the
    /// place of an error, as far as the response allows that for stale ones. What is being fetched just now is not touched.
    ///
    /// # Errors
    ///
    /// If the store can't tell that it is stale.
    pub async fn soft_purge(&self, target: &TargetUri) -> Result<(), StoreError> {
        self.soft_purge_key(&CacheKey::new(target)).await
    }

    /// The same for what is stored under `key`.
    ///
    /// # Errors
    ///
    /// If the store can't tell that it is stale.
    pub async fn soft_purge_key(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.flights.detach(key);
        let now = self.inner.clock.now();
        let softening = async {
            for candidate in self.inner.store.lookup(key).await?.iter() {
                let Some(stale) = candidate.head.marked_stale(now) else { continue };
                match self.inner.store.freshen(key, candidate.id, Arc::new(stale)).await {
                    // Somebody else has removed or replaced it.
                    Err(error) if error.kind() == StoreErrorKind::Gone => {}
                    done => done?,
                }
            }
            Ok(())
        };
        self.removed(within(self.inner.limits.store_timeout, softening).await)
    }

    /// Removes the responses of a group (RFC 9875).
    ///
    /// # Errors
    ///
    /// If the store can't tell that they are gone.
    pub async fn purge_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        // Which flights will bring a response of the group is known only when they have.
        self.inner.flights.detach_all();
        let removing = self.inner.store.invalidate_group(group);
        self.removed(within(self.inner.limits.store_timeout, removing).await)
    }

    /// Makes the responses of a group stale, as [`soft_purge`](Self::soft_purge) does for a URL.
    ///
    /// # Errors
    ///
    /// If the store can't tell that they are stale.
    pub async fn soft_purge_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        self.inner.flights.detach_all();
        let softening = self.inner.store.mark_group_stale(group, self.inner.clock.now());
        self.removed(within(self.inner.limits.store_timeout, softening).await)
    }

    /// Makes the responses of all URLs that begin so stale; of all, if nothing is said. It may look at every entry, for as long
    /// as that takes.
    ///
    /// # Errors
    ///
    /// If the store can't tell that they are stale.
    pub async fn soft_purge_prefix(&self, url: &str) -> Result<(), StoreError> {
        self.inner.flights.detach_all();
        let softening = self.inner.store.mark_prefix_stale(url, self.inner.clock.now());
        self.removed(Some(softening.await))
    }

    /// Removes the responses of all URLs that begin so, and says how many entries there were. It may look at every entry, for as
    /// long as that takes.
    ///
    /// # Errors
    ///
    /// If the store can't tell that they are gone.
    pub async fn purge_prefix(&self, url: &str) -> Result<u64, StoreError> {
        self.inner.flights.detach_all();
        let removed = self.inner.store.remove_prefix(url).await;
        removed.inspect_err(|error| self.store_failed(StoreStep::Remove, Some(error)))
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// If the store can't tell that it is gone.
    pub async fn purge_all(&self) -> Result<(), StoreError> {
        self.inner.flights.detach_all();
        self.removed(within(self.inner.limits.store_timeout, self.inner.store.clear()).await)
    }

    fn removed(&self, result: Option<Result<(), StoreError>>) -> Result<(), StoreError> {
        let result = result.unwrap_or_else(|| {
            let limit = self.inner.limits.store_timeout;
            let detail = format!("it did not confirm the removal within {limit:?}; try again");
            Err(StoreError::new(StoreErrorKind::Unavailable, "the", detail))
        });
        if let Err(error) = &result {
            self.store_failed(StoreStep::Remove, Some(error));
        }
        result
    }
}
