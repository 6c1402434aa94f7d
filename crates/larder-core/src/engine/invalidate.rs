//! Removes stored responses or marks them as stale: for unsafe requests (RFC 9111 §4.4), for groups
//! (RFC 9875), and for the operator.
//!
//! Once a removal has returned, no later request gets the removed response. Flights that could
//! still deliver it are detached first, so that later requests start a new fetch. The store
//! prevents the commit of every response that was reserved before the removal. Which targets and
//! groups an unsafe request invalidates is decided in `larder-policy`; `fetch` calls it.

use super::{context::Context, events::StoreStep};
use crate::timeout::within;
use crate::{Purged, Scope, StoreError, StoreErrorKind};

/// Removes all responses of `scope`, and returns how many entries that were.
pub(super) async fn remove(cx: &Context, scope: Scope<'_>) -> Result<Purged, StoreError> {
    detach_flights(cx, scope);
    if let Scope::Key(key) = scope {
        cx.uncacheable.remove(key);
    }
    let removing = cx.store.remove(scope);
    let removed = match scope {
        Scope::Prefix(_) => Some(removing.await),
        Scope::Key(_) | Scope::Group(_) | Scope::All => within(cx.limits.store_timeout, removing).await,
    };
    record_removal(cx, removed)
}

/// Marks all responses of `scope` as stale, and returns how many entries that were.
pub(super) async fn mark_stale(cx: &Context, scope: Scope<'_>) -> Result<Purged, StoreError> {
    detach_flights(cx, scope);
    let marking = cx.store.mark_stale(scope, cx.now());
    let marked = match scope {
        // The store may examine every entry.
        Scope::Prefix(_) | Scope::All => Some(marking.await),
        Scope::Key(_) | Scope::Group(_) => within(cx.limits.store_timeout, marking).await,
    };
    record_removal(cx, marked)
}

/// Detaches the flights that could still deliver a response of `scope`.
fn detach_flights(cx: &Context, scope: Scope<'_>) {
    match scope {
        Scope::Key(key) => cx.flights.detach(key),
        // Whether a flight's response belongs to a group is not known before it has arrived.
        Scope::Group(_) | Scope::Prefix(_) | Scope::All => cx.flights.detach_all(),
    }
}

/// Reports a failed removal to the observer, and turns a timeout (`None`) into an error.
fn record_removal(cx: &Context, result: Option<Result<Purged, StoreError>>) -> Result<Purged, StoreError> {
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
