//! Removes stored responses or marks them as stale: for unsafe requests (RFC 9111 §4.4), for groups
//! (RFC 9875), and for the operator.
//!
//! Once a removal has returned, no later request gets the removed response. Flights that could
//! still deliver it are detached first, so that later requests start a new fetch. The store
//! prevents the commit of every response that was reserved before the removal. Which targets and
//! groups an unsafe request invalidates is decided in `larder-policy`; `fetch` calls it.

use std::sync::Arc;

use super::{context::Context, events::StoreStep};
use crate::timeout::within;
use crate::{CacheGroup, CacheKey, StoreError, StoreErrorKind};

/// Removes all variants stored under `key`.
pub(super) async fn key(cx: &Context, key: &CacheKey) -> Result<(), StoreError> {
    cx.flights.detach(key);
    cx.uncacheable.remove(key);
    record_removal(cx, within(cx.limits.store_timeout, cx.store.remove(key)).await)
}

/// Marks all variants stored under `key` as stale.
pub(super) async fn soft_key(cx: &Context, key: &CacheKey) -> Result<(), StoreError> {
    cx.flights.detach(key);
    let now = cx.now();
    let marking = async {
        for candidate in cx.store.lookup(key).await?.iter() {
            let Some(stale) = candidate.head.marked_stale(now) else { continue };
            match cx.store.freshen(key, candidate.id, Arc::new(stale)).await {
                // It has been removed or replaced in the meantime.
                Err(error) if error.kind() == StoreErrorKind::Gone => {}
                done => done?,
            }
        }
        Ok(())
    };
    record_removal(cx, within(cx.limits.store_timeout, marking).await)
}

/// Removes all responses of `group`.
pub(super) async fn group(cx: &Context, group: &CacheGroup) -> Result<(), StoreError> {
    // Whether a flight's response belongs to the group is not known before it has arrived.
    cx.flights.detach_all();
    let removing = cx.store.invalidate_group(group);
    record_removal(cx, within(cx.limits.store_timeout, removing).await)
}

/// Marks all responses of `group` as stale.
pub(super) async fn soft_group(cx: &Context, group: &CacheGroup) -> Result<(), StoreError> {
    cx.flights.detach_all();
    let marking = cx.store.mark_group_stale(group, cx.now());
    record_removal(cx, within(cx.limits.store_timeout, marking).await)
}

/// Marks the responses of all URLs that begin with `url` as stale.
pub(super) async fn soft_prefix(cx: &Context, url: &str) -> Result<(), StoreError> {
    cx.flights.detach_all();
    let marking = cx.store.mark_prefix_stale(url, cx.now());
    record_removal(cx, Some(marking.await))
}

/// Removes the responses of all URLs that begin with `url`.
pub(super) async fn prefix(cx: &Context, url: &str) -> Result<u64, StoreError> {
    cx.flights.detach_all();
    let removed = cx.store.remove_prefix(url).await;
    removed.inspect_err(|error| cx.store_failed(StoreStep::Remove, Some(error)))
}

/// Removes all responses.
pub(super) async fn all(cx: &Context) -> Result<(), StoreError> {
    cx.flights.detach_all();
    record_removal(cx, within(cx.limits.store_timeout, cx.store.clear()).await)
}

/// Reports a failed removal to the observer, and turns a timeout (`None`) into an error.
fn record_removal(cx: &Context, result: Option<Result<(), StoreError>>) -> Result<(), StoreError> {
    let result = result.unwrap_or_else(|| {
        let limit = cx.limits.store_timeout;
        let detail = format!("it did not confirm the removal within {limit:?}; try again");
        Err(StoreError::new(StoreErrorKind::Unavailable, "the", detail))
    });
    if let Err(error) = &result {
        cx.store_failed(StoreStep::Remove, Some(error));
    }
    result
}
