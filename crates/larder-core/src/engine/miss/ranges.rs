//! Decides how a request for a range is fetched that no stored response answers (RFC 9110 §14).
//!
//! What is known of the representation is its stored part, if there is one: a 206 states the length
//! of the whole. The fetch itself is that of any request (`lead`, `follow`, `fetch`); this file
//! chooses what is requested from the origin, and which flight the request joins.

use super::super::{
    context::Context,
    decide::ForwardPlan,
    request::{Forward, PendingRequest},
};
use crate::{CacheKey, Candidates, policy::RangeKind};

/// Which requests share a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// All requests for the key: the whole representation is fetched, or there is no range.
    Key,
    /// All requests for ranges of the key: the first of them learns the length.
    AnyRange,
    /// Requests for the same range: the representation is too long to be fetched whole.
    SameRange,
}

/// Chooses what is requested from the origin for this request, given the stored responses, and
/// returns which requests share the fetch.
pub(super) fn choose(
    cx: &Context,
    request: &mut PendingRequest,
    plan: ForwardPlan,
    candidates: &Candidates,
) -> Sharing {
    if request.head().range_value().is_none() {
        return Sharing::Key;
    }
    let (forward, sharing) = chosen(cx, request, plan, candidates);
    request.forward = forward;
    sharing
}

/// Returns what is requested from the origin, and which requests share the fetch.
fn chosen(
    cx: &Context,
    request: &PendingRequest,
    plan: ForwardPlan,
    candidates: &Candidates,
) -> (Forward, Sharing) {
    let as_it_is = (Forward::AsItIs, Sharing::Key);
    let whole = (Forward::Whole, Sharing::Key);
    let head = request.head();
    let kind = head.range_kind();
    let limit = request.options.ranges.whole_limit.min(request.max_object(&cx.limits));
    if matches!(kind, RangeKind::None | RangeKind::Unknown)
        || limit == 0 && request.options.ranges.slice.is_none()
        || request.options.body_in_key
        || head.forbids_storing()
        || head.has_origin_precondition()
    {
        return as_it_is;
    }
    let selected = plan.selected.and_then(|selected| candidates.get(selected.index));
    if selected.is_some_and(|candidate| candidate.head.part.is_none()) {
        return whole;
    }
    let mut matching = candidates.iter().filter(|candidate| candidate.head.selecting.matches(&head));
    let length = matching.find_map(|candidate| candidate.head.part?.complete);
    match (length, kind) {
        (Some(length), _) if length <= limit => whole,
        (None, RangeKind::Everything) if limit > 0 => whole,
        // The origin evaluates the conditions, so that its response is for this request only. That
        // to several ranges is not stored.
        _ if head.has_conditions() || kind == RangeKind::Several => as_it_is,
        (None, _) => (Forward::AsItIs, Sharing::AnyRange),
        (Some(_), _) => (Forward::AsItIs, Sharing::SameRange),
    }
}

/// Returns the key of the flight of a request.
pub(super) fn flight_key(cx: &Context, request: &PendingRequest, sharing: Sharing) -> CacheKey {
    if sharing == Sharing::Key {
        return request.key.clone();
    }
    // A purge of the key detaches the flight of the key, and those of its ranges through this.
    let detached = cx.flights.detached(&request.key).to_le_bytes();
    let any = request.key.with_extra(b"range").with_extra(&detached);
    match request.head().range_value() {
        Some(range) if sharing == Sharing::SameRange => any.with_extra(range),
        _ => any,
    }
}
