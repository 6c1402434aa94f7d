//! Serves a request that has to be forwarded: follows the flight of another request, leads one, or
//! goes to the origin uncollapsed.

use std::sync::Arc;

use super::{
    super::{
        context::Context,
        decide::ForwardPlan,
        error::FetchError,
        fetch::{fetch, reserve},
        request::{Forward, PendingRequest},
        response::CacheResponse,
    },
    flights::{Flight, Removed, Role},
    follow::{Followed, follow},
    lead::{finish, lead, lead_in_task},
    ranges::{self, Sharing},
    reloads::{may_reload, serve_without_reload},
};
use crate::{CacheKey, Candidates, timeout::within};

/// Serves a request that has to be forwarded and may share its response: with the response of
/// another request's fetch, or with its own.
///
/// `generation` was read before the lookup that found the candidates.
pub(super) async fn collapse(
    cx: &Arc<Context>,
    request: &mut PendingRequest,
    plan: ForwardPlan,
    mut candidates: Candidates,
    generation: u64,
) -> Result<CacheResponse, FetchError> {
    let mut sharing = ranges::choose(cx, request, plan, &candidates);
    // The flight to follow: that of the key or, if the response turns out to vary, that of the same
    // variant.
    let mut flight_key = ranges::flight_key(cx, request, sharing);
    let mut attempt = 0;
    let arrival = cx.flights.arrive();
    let mut may_fetch = !plan.is_reload;
    loop {
        may_fetch = may_fetch || may_reload(cx, request, &flight_key, &candidates, plan);
        if !may_fetch {
            // The last reload may have stored a new response after this request's lookup.
            let is_current = cx.flights.generation(&request.key) == generation;
            let stored = if is_current { candidates.clone() } else { cx.candidates(&request.key).await };
            if let Some(response) = serve_without_reload(cx, request, &stored).await {
                return Ok(response);
            }
        }
        match join_flight(cx, request, sharing, &flight_key, attempt) {
            Role::Uncollapsed => break,
            Role::Leader(leader) => {
                // Another fetch may have ended between the lookup and this request becoming the
                // leader.
                let is_current =
                    cx.flights.generation(&request.key) == generation && flight_key == request.key;
                let found = is_current.then_some((plan, candidates));
                return match cx.store.leases() {
                    Some(_) => lead_in_task(cx, request, found, leader).await,
                    None => lead(cx, request, found, leader).await,
                };
            }
            Role::Follower(flight) if !is_current(cx, request, &flight, arrival).await => {
                // It is in the map under one of these.
                cx.flights.detach_flight(&flight_key, &flight);
                cx.flights.detach_flight(&request.key, &flight);
            }
            Role::Follower(flight) => match follow(cx, request, &candidates, plan, &flight).await {
                Followed::Response(response) => return Ok(response),
                Followed::Failed(error) => return Err(error),
                Followed::OtherVariant(key) if flight_key == request.key => flight_key = key,
                // Now the length is known.
                Followed::OtherRange(part) if sharing == Sharing::AnyRange => {
                    candidates = part.into();
                    sharing = ranges::choose(cx, request, plan, &candidates);
                    flight_key = ranges::flight_key(cx, request, sharing);
                }
                Followed::OutOfReach => {
                    request.forward = Forward::AsItIsUnstored;
                    let reservation = reserve(cx, request).await;
                    return finish(cx, fetch(cx, request, candidates, plan, reservation).await, None);
                }
                // An origin with a different `Vary` in each response.
                Followed::OtherVariant(_) | Followed::OtherRange(_) | Followed::Uncollapsed => break,
                // The next leader looks up what the flight stored.
                Followed::Retry { failed } => attempt = flight.attempt + u32::from(failed),
            },
        }
    }
    // The response will probably be for this request only: the whole would be of no use.
    request.forward = Forward::AsItIs;
    let reservation = reserve(cx, request).await;
    finish(cx, fetch(cx, request, candidates, plan, reservation).await, None)
}

/// Returns whether a request may share a flight: unless another process has removed the key since
/// the flight began.
///
/// If the store does not report that, the request waits for the end of the flight. One that begins
/// then serves all requests that have waited.
async fn is_current(cx: &Context, request: &PendingRequest, flight: &Flight, arrival: u64) -> bool {
    let Some(removals) = cx.store.removals() else { return true };
    if flight.is_later_than(arrival) {
        return true;
    }
    match flight.removed_since(cx.removal_token(removals, &request.key).await) {
        Removed::No => true,
        Removed::Yes => false,
        Removed::Unknown => {
            within(cx.limits.collapse_timeout, flight.outcome()).await;
            false
        }
    }
}

/// Joins or starts the flight of `key`, unless the key is uncacheable. A request that shares the
/// fetches of ranges only follows a fetch of the whole that is in progress.
fn join_flight(
    cx: &Context,
    request: &PendingRequest,
    sharing: Sharing,
    key: &CacheKey,
    attempt: u32,
) -> Role {
    if cx.uncacheable.contains(key, cx.now()) {
        return Role::Uncollapsed;
    }
    if sharing == Sharing::Key && request.can_lead() {
        return cx.flights.join(key, attempt);
    }
    match cx.flights.follow(if sharing == Sharing::Key { key } else { &request.key }) {
        Some(flight) => Role::Follower(flight),
        None if sharing == Sharing::Key || cx.uncacheable.contains(&request.key, cx.now()) => {
            Role::Uncollapsed
        }
        None => cx.flights.join(key, attempt),
    }
}
