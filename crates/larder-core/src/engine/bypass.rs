//! Lets an adapter bypass the engine for keys of which the last response forbade storing.
//!
//! The engine looks up and decides; the adapter then calls the origin directly, without converting
//! the request and the response to `http` types. This is worthwhile if the origin is a handler of
//! the same program and many of its pages have `no-store`. Once a response no longer forbids
//! storing, the next request goes through the engine again.

use http::StatusCode;

use super::{context::Context, error::FetchError, events::Event, lookup::Miss};
use crate::{CacheStatus, OriginError, OriginErrorKind, RequestHeaders, timeout::within};

/// Waits for `request`, for at most the timeout of the origin.
pub(super) async fn call<T>(cx: &Context, request: impl Future<Output = T>) -> Result<T, FetchError> {
    let limit = cx.limits.origin_timeout;
    let timeout = || FetchError::Origin(OriginError::new(OriginErrorKind::Timeout(limit)));
    within(limit, request).await.ok_or_else(timeout)
}

/// Records a response that the adapter fetched directly, and returns its `Cache-Status`.
pub(super) fn record<F: RequestHeaders>(
    cx: &Context,
    miss: &Miss,
    status: StatusCode,
    fields: &F,
) -> CacheStatus {
    let mut cache_status = CacheStatus::default();
    (cache_status.fwd, cache_status.fwd_status) = (miss.bypass, Some(status));
    if let Some(why) = cx.rules.forbids_storing(fields) {
        cache_status.detail = Some(why.token());
        cx.observe(&Event::NotStored(why));
    } else {
        cx.uncacheable.allow_storing(&miss.key);
    }
    cx.observe(&Event::Answered(&cache_status));
    cache_status
}
