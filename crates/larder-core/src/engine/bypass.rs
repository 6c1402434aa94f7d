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
/// [`record`](Self::record). What the engine does with a response is left to the adapter:
///
/// - It adds `Cache-Status`, with the value that [`Cache::status_bytes`](crate::Cache::status_bytes)
///   returns for the result of `record`.
/// - Nothing removes hop-by-hop fields. A handler receives the fields of the client's request, and
///   its HTTP server handles those of the response. An adapter that forwards over HTTP uses
///   [`Miss::fetch`](crate::Miss::fetch) instead.
/// - The HTTP server adds a missing `Date`, and leaves out the body of a response to HEAD.
///
/// ```
/// use std::sync::Arc;
///
/// use http::{HeaderValue, Request, Response};
/// use larder_core::{
///     Body, Cache, FetchError, FetchOptions, Miss, Origin, policy::header_names::CACHE_STATUS,
/// };
///
/// /// A handler of the program, which is the origin too.
/// async fn handler(request: Request<Body>) -> Response<Body> {
///     Response::new(request.into_body())
/// }
///
/// async fn on_miss(
///     cache: &Cache,
///     miss: Miss,
///     request: Request<Body>,
///     origin: Arc<dyn Origin>,
/// ) -> Result<Response<Body>, FetchError> {
///     let bypass = match miss.into_bypass() {
///         Ok(bypass) => bypass,
///         Err(miss) => {
///             let response = miss.fetch(request, origin, &FetchOptions::default()).await?;
///             return Ok(cache.into_http(response));
///         }
///     };
///     let mut response = bypass.call(handler(request)).await?;
///     let status = bypass.record(response.status(), response.headers());
///     if let Ok(value) = HeaderValue::from_maybe_shared(cache.status_bytes(&status)) {
///         response.headers_mut().append(CACHE_STATUS, value);
///     }
///     Ok(response)
/// }
/// # let _ = on_miss;
/// ```
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
