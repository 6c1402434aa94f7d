//! Lets an adapter bypass the engine for keys of which the last response forbade storing.
//!
//! The engine looks up and decides; the adapter then calls the origin directly, without converting
//! the request and the response to `http` types. This is worthwhile if the origin is a handler of
//! the same program and many of its pages have `no-store`. Once a response no longer forbids
//! storing, the next request goes through the engine again.

use std::{fmt, sync::Arc};

use http::{Method, StatusCode};

use super::{
    context::Context,
    error::FetchError,
    events::{Event, NotStored},
    report,
    stopwatch::Stopwatch,
};
use crate::{
    CacheDetail, CacheKey, CacheStatus, ForwardReason, OriginError, OriginErrorKind, RequestHeaders,
    timeout::within,
};

/// The permission to call the origin for one request without the engine; see
/// [`Miss::into_bypass`](crate::Miss::into_bypass).
///
/// Wait for the response with [`call`](Self::call), then pass its head to
/// [`record`](Self::record).
pub struct Bypass {
    pub(super) context: Arc<Context>,
    pub(super) key: CacheKey,
    pub(super) method: Method,
    pub(super) fwd: ForwardReason,
    /// Exists if the cache has an observer.
    pub(super) stopwatch: Option<Stopwatch>,
}

impl fmt::Debug for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bypass").field("key", &self.key).field("fwd", &self.fwd).finish_non_exhaustive()
    }
}

impl Bypass {
    /// Waits for the head of the origin's response, for at most
    /// [`Limits::origin_timeout`](crate::Limits::origin_timeout).
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if the time has passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `response`.
    pub async fn call<T>(&self, response: impl Future<Output = T>) -> Result<T, FetchError> {
        let limit = self.context.limits.origin_timeout;
        let timeout = || FetchError::Origin(OriginError::new(OriginErrorKind::Timeout(limit)));
        within(limit, response).await.ok_or_else(timeout)
    }

    /// Records the head of the response, and returns its `Cache-Status`.
    ///
    /// If the response no longer forbids storing, the next request for the key goes through the
    /// engine.
    pub fn record<F: RequestHeaders>(self, status: StatusCode, fields: &F) -> CacheStatus {
        let cx = &self.context;
        let mut cache_status = CacheStatus::forwarded(self.fwd);
        cache_status.fwd_status = Some(status);
        if let Some(why) = cx.rules.forbids_storing(fields) {
            cache_status.detail = Some(CacheDetail::NotStored(why));
            cx.observe(&Event::NotStored(NotStored { key: &self.key, reason: why }));
        } else {
            cx.uncacheable.allow_storing(&self.key);
        }
        report::bypassed(cx, &self.key, &self.method, self.stopwatch, (status, cache_status));
        cache_status
    }
}
