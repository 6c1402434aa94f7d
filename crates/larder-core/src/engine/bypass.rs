//! The short way to an origin whose last response refused to be stored: the engine looks up and decides, and the adapter asks
//! the origin in its own terms, with nothing converted.
//!
//! It is worth it where the origin is the rest of the same program, and many of its pages are `no-store`. When a response
//! no longer refuses, the next request goes the whole way.

use bytes::Bytes;
use http::StatusCode;

use super::{Cache, FetchError, Miss, events::Event};
use crate::{
    CacheKey, CacheStatus, Candidates, OriginError, OriginErrorKind, RequestHeaders, Timestamp,
    timeout::within,
};

impl Miss {
    /// Nothing is stored under this key, and its last response refused to be (`no-store`, say): an adapter that can ask its
    /// origin more directly than through [`Cache::resume`] may do so. It uses [`Cache::bypass`] and then
    /// [`Cache::record_bypass`].
    pub fn can_bypass(&self) -> bool {
        self.bypass.is_some()
    }
}

impl Cache {
    /// Waits for the head of the origin's response, for as long as [`Limits`](crate::Limits) allow.
    ///
    /// # Errors
    ///
    /// If that has passed.
    ///
    /// # Cancel safety
    ///
    /// As that of what is awaited.
    pub async fn bypass<T>(&self, asking: impl Future<Output = T>) -> Result<T, FetchError> {
        let limit = self.inner.limits.origin_timeout;
        let timeout = || FetchError::Origin(OriginError::new(OriginErrorKind::Timeout(limit)));
        within(limit, asking).await.ok_or_else(timeout)
    }

    /// Takes note of a response that was asked for directly, and says what its `Cache-Status` is.
    pub fn record_bypass<F: RequestHeaders>(
        &self,
        found: &Miss,
        status: StatusCode,
        fields: &F,
    ) -> CacheStatus {
        let mut cache_status = CacheStatus::default();
        (cache_status.fwd, cache_status.fwd_status) = (found.bypass, Some(status));
        let why = self.inner.rules.refuses(fields);
        if let Some(why) = why {
            cache_status.detail = Some(why.token());
            self.observe(&Event::NotStored(why));
        } else {
            self.inner.uncacheable.remove_no_store(&found.key);
        }
        self.observe(&Event::Answered(&cache_status));
        cache_status
    }

    /// Such a status as the field's value, as [`cache_status`](Self::cache_status) has it of an answer.
    pub fn status_bytes(&self, status: &CacheStatus) -> Bytes {
        status.to_bytes(&self.inner.name)
    }

    pub(super) fn is_bypassable(&self, key: &CacheKey, candidates: &Candidates, now: Timestamp) -> bool {
        candidates.is_empty() && self.inner.uncacheable.contains_no_store(key, now)
    }
}
