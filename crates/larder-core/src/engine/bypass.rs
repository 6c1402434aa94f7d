//! Lets an adapter bypass the engine for keys of which the last response forbade storing.
//!
//! The engine looks up and decides; the adapter then calls the origin directly, without converting
//! the request and the response to `http` types. This is worthwhile if the origin is a handler of
//! the same program and many of its pages have `no-store`. Once a response no longer forbids
//! storing, the next request goes through the engine again.

use bytes::Bytes;
use http::StatusCode;

use super::{Cache, FetchError, Miss, events::Event};
use crate::{
    CacheKey, CacheStatus, Candidates, OriginError, OriginErrorKind, RequestHeaders, Timestamp,
    timeout::within,
};

impl Miss {
    /// Returns whether the adapter may call the origin directly instead of through
    /// [`Cache::resume`].
    ///
    /// It may if nothing is stored under the key and the last response forbade storing, such as
    /// with `no-store`. It then calls [`Cache::bypass`] followed by [`Cache::record_bypass`].
    pub fn can_bypass(&self) -> bool {
        self.bypass.is_some()
    }
}

impl Cache {
    /// Waits for the head of the origin's response, for at most
    /// [`Limits::origin_timeout`](crate::Limits::origin_timeout).
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if the time has passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `request`.
    pub async fn bypass<T>(&self, request: impl Future<Output = T>) -> Result<T, FetchError> {
        let limit = self.inner.limits.origin_timeout;
        let timeout = || FetchError::Origin(OriginError::new(OriginErrorKind::Timeout(limit)));
        within(limit, request).await.ok_or_else(timeout)
    }

    /// Records a response that the adapter fetched directly, and returns its `Cache-Status`.
    pub fn record_bypass<F: RequestHeaders>(
        &self,
        miss: &Miss,
        status: StatusCode,
        fields: &F,
    ) -> CacheStatus {
        let mut cache_status = CacheStatus::default();
        (cache_status.fwd, cache_status.fwd_status) = (miss.bypass, Some(status));
        let why = self.inner.rules.forbids_storing(fields);
        if let Some(why) = why {
            cache_status.detail = Some(why.token());
            self.observe(&Event::NotStored(why));
        } else {
            self.inner.uncacheable.allow_storing(&miss.key);
        }
        self.observe(&Event::Answered(&cache_status));
        cache_status
    }

    /// Returns the value of the `Cache-Status` header for this status, as
    /// [`cache_status`](Self::cache_status) does for a response.
    pub fn status_bytes(&self, status: &CacheStatus) -> Bytes {
        status.to_bytes(&self.inner.name)
    }

    /// Returns whether nothing is stored under `key` and its last response forbade storing.
    pub(super) fn is_bypassable(&self, key: &CacheKey, candidates: &Candidates, now: Timestamp) -> bool {
        candidates.is_empty() && self.inner.uncacheable.forbids_storing(key, now)
    }
}
