//! Removes stored responses or marks them as stale: for unsafe requests (RFC 9111 §4.4), for groups
//! (RFC 9875), and for the operator.
//!
//! Once a removal has returned, no later request gets the removed response. Flights that could
//! still deliver it are detached first, so that later requests start a new fetch. The store
//! prevents the commit of every response that was reserved before the removal. Which targets and
//! groups an unsafe request invalidates is decided in `larder-policy`; `fetch` calls it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{context::Context, events::StoreStep, unconfirmed::Effect};
use crate::timeout::within;
use crate::{OwnedScope, Purged, Scope, StoreError, StoreErrorKind};

/// The pause before removals are repeated that the store has not confirmed, and its maximum. It
/// doubles while the store fails.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Removes all responses of `scope`, and returns how many entries that were.
pub(super) async fn remove(cx: &Arc<Context>, scope: Scope<'_>) -> Result<Purged, StoreError> {
    InProgress::begin(cx, OwnedScope::of(scope), Effect::Remove).carry_out().await
}

/// Marks all responses of `scope` as stale, and returns how many entries that were.
pub(super) async fn mark_stale(cx: &Arc<Context>, scope: Scope<'_>) -> Result<Purged, StoreError> {
    InProgress::begin(cx, OwnedScope::of(scope), Effect::MarkStale(cx.now())).carry_out().await
}

/// Removes all responses of several scopes, and returns how many entries that were.
///
/// All removals begin before the first call of the store. If the store fails or the caller is
/// dropped, those that are left are carried out in the background.
pub(super) async fn remove_each(
    cx: &Arc<Context>,
    scopes: impl IntoIterator<Item = OwnedScope>,
) -> Result<Purged, StoreError> {
    carry_out_each(cx, scopes, Effect::Remove).await
}

/// Removes the responses of several scopes, as [`remove_each`] does, or marks them as stale.
pub(super) async fn purge_each(
    cx: &Arc<Context>,
    scopes: &[Scope<'_>],
    is_soft: bool,
) -> Result<Purged, StoreError> {
    let effect = if is_soft { Effect::MarkStale(cx.now()) } else { Effect::Remove };
    carry_out_each(cx, scopes.iter().map(|scope| OwnedScope::of(*scope)), effect).await
}

async fn carry_out_each(
    cx: &Arc<Context>,
    scopes: impl IntoIterator<Item = OwnedScope>,
    effect: Effect,
) -> Result<Purged, StoreError> {
    let begun: Vec<_> = scopes.into_iter().map(|scope| InProgress::begin(cx, scope, effect)).collect();
    let mut purged = Vec::with_capacity(begun.len());
    for removal in begun {
        purged.push(removal.carry_out().await?);
    }
    Ok(purged.into_iter().sum())
}

/// Removes the responses of a scope in the background.
pub(super) fn remove_later(cx: &Arc<Context>, scope: OwnedScope) {
    // Dropped at once, which leaves the removal to the task that repeats removals.
    drop(InProgress::begin(cx, scope, Effect::Remove));
}

/// A removal of which the store's confirmation is awaited. If it is dropped before, the removal is
/// repeated in the background until the store confirms it.
struct InProgress<'a> {
    cx: &'a Arc<Context>,
    scope: OwnedScope,
    effect: Effect,
    id: u64,
    is_confirmed: bool,
}

impl<'a> InProgress<'a> {
    /// Begins a removal: from now on, nothing that it concerns is served.
    fn begin(cx: &'a Arc<Context>, scope: OwnedScope, effect: Effect) -> Self {
        if let (OwnedScope::Key(key), Effect::Remove) = (&scope, effect) {
            cx.uncacheable.remove(key);
        }
        let added = cx.unconfirmed.add(&scope, effect);
        if added.starts_repeating {
            start_repeating(cx);
        }
        detach_flights(cx, scope.as_scope());
        Self { cx, scope, effect: added.effect, id: added.id, is_confirmed: false }
    }

    /// Calls the store.
    async fn carry_out(mut self) -> Result<Purged, StoreError> {
        let result = call(self.cx, self.scope.as_scope(), self.effect).await;
        self.is_confirmed = result.is_ok();
        result.map_err(|error| error.with_hint("the removal is repeated until the store confirms it"))
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        if self.is_confirmed {
            self.cx.unconfirmed.confirm(&self.scope, self.id);
        } else if self.cx.unconfirmed.repeat(&self.scope, self.id) {
            start_repeating(self.cx);
        }
    }
}

/// Calls the store for a removal, and reports a failure.
async fn call(cx: &Context, scope: Scope<'_>, effect: Effect) -> Result<Purged, StoreError> {
    let (calling, may_take_long) = match effect {
        Effect::Remove => (cx.store.remove(scope), matches!(scope, Scope::Prefix(_))),
        // The store may examine every entry.
        Effect::MarkStale(at) => {
            (cx.store.mark_stale(scope, at), matches!(scope, Scope::Prefix(_) | Scope::All))
        }
    };
    let result =
        if may_take_long { Some(calling.await) } else { within(cx.limits.store_timeout, calling).await };
    record_removal(cx, result)
}

/// Starts the task that repeats removals. Outside a runtime, the next removal starts it.
fn start_repeating(cx: &Arc<Context>) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(repeat_all(Arc::downgrade(cx)))),
        Err(_) => cx.unconfirmed.stop_repeating(),
    }
}

/// Repeats the removals that the store has not confirmed, until it has confirmed all of them or the
/// cache is dropped.
async fn repeat_all(cache: Weak<Context>) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        let Some(cx) = cache.upgrade() else { return };
        let removals = cx.unconfirmed.to_repeat();
        if removals.is_empty() {
            return;
        }
        pause = FIRST_PAUSE.max(pause * 2).min(LONGEST_PAUSE);
        for removal in removals {
            // One call at a time: a store that has just come back is not flooded.
            if call(&cx, removal.scope.as_scope(), removal.effect).await.is_err() {
                break;
            }
            cx.unconfirmed.confirm(&removal.scope, removal.id);
            pause = FIRST_PAUSE;
        }
    }
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
        let detail = format!("it did not confirm the removal within {limit:?}");
        Err(StoreError::new(StoreErrorKind::Unavailable, "the", detail))
    });
    if let Err(error) = &result {
        cx.store_failed(StoreStep::Remove, Some(error));
    }
    result
}
