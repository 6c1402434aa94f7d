//! Removes stored responses or marks them as stale: for unsafe requests (RFC 9111 §4.4), for groups
//! (RFC 9875), and for the operator.
//!
//! Once a removal has returned, no later request gets the removed response. Flights that could
//! still deliver it are detached first, so that later requests start a new fetch. The store
//! prevents the commit of every response that was reserved before the removal. Which targets and
//! groups an unsafe request invalidates is decided in `larder-policy`; `forward` calls it.

use std::sync::Arc;

use super::{Cache, events::StoreStep};
use crate::timeout::within;
use crate::{CacheGroup, CacheKey, StoreError, StoreErrorKind, TargetUri};

impl Cache {
    /// Removes all variants stored for `target`.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    pub async fn purge(&self, target: &TargetUri) -> Result<(), StoreError> {
        self.purge_key(&CacheKey::new(target)).await
    }

    /// Removes all variants stored under `key`.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    pub async fn purge_key(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.flights.detach(key);
        self.inner.uncacheable.remove(key);
        self.record_removal(within(self.inner.limits.store_timeout, self.inner.store.remove(key)).await)
    }

    /// Marks all variants stored for `target` as stale.
    ///
    /// They are revalidated at their next request. Until then they may be served while they are
    /// revalidated, or instead of an error, as far as the response permits that for stale
    /// responses. A fetch in progress is not affected.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that they are stale.
    pub async fn soft_purge(&self, target: &TargetUri) -> Result<(), StoreError> {
        self.soft_purge_key(&CacheKey::new(target)).await
    }

    /// Marks all variants stored under `key` as stale, as [`soft_purge`](Self::soft_purge) does.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that they are stale.
    pub async fn soft_purge_key(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.flights.detach(key);
        let now = self.inner.clock.now();
        let marking = async {
            for candidate in self.inner.store.lookup(key).await?.iter() {
                let Some(stale) = candidate.head.marked_stale(now) else { continue };
                match self.inner.store.freshen(key, candidate.id, Arc::new(stale)).await {
                    // It has been removed or replaced in the meantime.
                    Err(error) if error.kind() == StoreErrorKind::Gone => {}
                    done => done?,
                }
            }
            Ok(())
        };
        self.record_removal(within(self.inner.limits.store_timeout, marking).await)
    }

    /// Removes all responses of `group` (RFC 9875).
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    pub async fn purge_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        // Whether a flight's response belongs to the group is not known before it has arrived.
        self.inner.flights.detach_all();
        let removing = self.inner.store.invalidate_group(group);
        self.record_removal(within(self.inner.limits.store_timeout, removing).await)
    }

    /// Marks all responses of `group` as stale, as [`soft_purge`](Self::soft_purge) does.
    ///
    /// This includes responses that were requested before and arrive later.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that they are stale.
    pub async fn soft_purge_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        self.inner.flights.detach_all();
        let marking = self.inner.store.mark_group_stale(group, self.inner.clock.now());
        self.record_removal(within(self.inner.limits.store_timeout, marking).await)
    }

    /// Marks the responses of all URLs that begin with `url` as stale, as
    /// [`soft_purge`](Self::soft_purge) does.
    ///
    /// An empty `url` marks all responses. The store may examine every entry; there is no timeout.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that they are stale.
    pub async fn soft_purge_prefix(&self, url: &str) -> Result<(), StoreError> {
        self.inner.flights.detach_all();
        let marking = self.inner.store.mark_prefix_stale(url, self.inner.clock.now());
        self.record_removal(Some(marking.await))
    }

    /// Removes the responses of all URLs that begin with `url`, and returns how many entries were
    /// found.
    ///
    /// The store may examine every entry; there is no timeout.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    pub async fn purge_prefix(&self, url: &str) -> Result<u64, StoreError> {
        self.inner.flights.detach_all();
        let removed = self.inner.store.remove_prefix(url).await;
        removed.inspect_err(|error| self.store_failed(StoreStep::Remove, Some(error)))
    }

    /// Removes all responses.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    pub async fn purge_all(&self) -> Result<(), StoreError> {
        self.inner.flights.detach_all();
        self.record_removal(within(self.inner.limits.store_timeout, self.inner.store.clear()).await)
    }

    /// Reports a failed removal to the observer, and turns a timeout (`None`) into an error.
    fn record_removal(&self, result: Option<Result<(), StoreError>>) -> Result<(), StoreError> {
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
