//! The short way to an origin whose last response refused to be stored: the engine looks up and decides, and the adapter asks
//! the origin in its own terms, with nothing converted.
//!
//! It is worth it where the origin is the rest of the same program, and many of its pages are `no-store`. When a response
//! no longer refuses, the next request goes the whole way.

use bytes::Bytes;
use http::StatusCode;

use super::{Cache, FetchError, Found, events::Event};
use crate::{
    CacheKey, CacheStatus, Candidates, Fields, OriginError, OriginErrorKind, Timestamp, bounded::within,
};

impl Found {
    /// Nothing is stored under this key, and its last response refused to be (`no-store`, say): an adapter that can ask its
    /// origin more directly than through [`Cache::resume`] may do so. It uses [`Cache::ask_directly`] and then
    /// [`Cache::asked_directly`].
    pub fn may_ask_directly(&self) -> bool {
        self.direct.is_some()
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
    pub async fn ask_directly<T>(&self, asking: impl Future<Output = T>) -> Result<T, FetchError> {
        let limit = self.inner.limits.origin_timeout;
        let timeout = || FetchError::Origin(OriginError::new(OriginErrorKind::Timeout(limit)));
        within(limit, asking).await.ok_or_else(timeout)
    }

    /// Takes note of a response that was asked for directly, and says what its `Cache-Status` is.
    pub fn asked_directly<F: Fields>(&self, found: &Found, status: StatusCode, fields: &F) -> CacheStatus {
        let mut cache_status = CacheStatus::default();
        (cache_status.fwd, cache_status.fwd_status) = (found.direct, Some(status));
        let why = self.inner.rules.refuses(fields);
        if let Some(why) = why {
            cache_status.detail = Some(why.token());
            self.observe(&Event::NotStored(why));
        } else {
            self.inner.uncollapsible.no_longer_refuses(&found.key);
        }
        self.observe(&Event::Answered(&cache_status));
        cache_status
    }

    /// Such a status as the field's value, as [`cache_status`](Self::cache_status) has it of an answer.
    pub fn status_bytes(&self, status: &CacheStatus) -> Bytes {
        status.to_bytes(&self.inner.name)
    }

    pub(super) fn direct(&self, key: &CacheKey, candidates: &Candidates, now: Timestamp) -> bool {
        candidates.is_empty() && self.inner.uncollapsible.has_refused(key, now)
    }
}
