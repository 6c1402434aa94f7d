//! Serves a request after a lookup that was a miss: serve a stale response, follow a flight, lead
//! one, or go to the origin uncollapsed.
//!
//! Changes to collapsing start here. `flights` holds the state of collapsing, `uncacheable` the
//! keys that are not collapsed; `forward` sends the request to the origin.

use std::sync::Arc;

use http::Request;

use super::{
    context::Context,
    decide::{Decision, ForwardPlan, decide},
    error::FetchError,
    events::StoreStep,
    flights::{Flight, FlightOutcome, Leader, Role},
    forward::{forward, forward_unchanged},
    lookup::Miss,
    options::FetchOptions,
    pending::PendingRequest,
    response::CacheResponse,
    serve::{serve, serve_stale_on_error},
};
use crate::{
    Body, CacheKey, CacheStatus, Candidate, Candidates, Claim, Failure, Origin, OriginError, TargetUri,
    timeout::within,
};

/// Number of times that a request waits for another process's fetch before it fetches without a
/// lease.
const MAX_CLAIMS: u32 = 3;

/// What the stored responses are good for.
enum Step {
    /// Serve this response.
    Serve(CacheResponse),
    /// Serve this response, and revalidate it in the background.
    ServeAndRevalidate(CacheResponse, ForwardPlan, Candidates),
    /// Send the request to the origin, or follow another one.
    Forward(ForwardPlan, Candidates),
}

/// Serves a request after its lookup was a miss, with the origin where necessary.
pub(super) async fn handle(
    cx: &Arc<Context>,
    miss: Miss,
    target: TargetUri,
    request: Request<Body>,
    origin: Arc<dyn Origin>,
    options: &FetchOptions,
) -> Result<CacheResponse, FetchError> {
    let Miss { key, mut candidates, generation, mut decision, .. } = miss;
    let (pending, body) = PendingRequest::new(key, target, request, origin, options)?;
    if !body.is_empty() || !pending.head().may_reuse() {
        return forward_unchanged(cx, pending, body, candidates).await;
    }
    // The flight to follow: that of the key or, if the response turns out to vary, that of the
    // same variant.
    let mut flight_key = pending.key.clone();
    let mut attempt = 0;
    loop {
        let plan = match decision.take().unwrap_or_else(|| decide(cx, &pending.head(), &candidates)) {
            Decision::Forward(plan) => plan,
            stored => match use_stored(cx, &pending, candidates, stored).await {
                Step::Serve(response) => return Ok(response),
                Step::ServeAndRevalidate(response, plan, candidates) => {
                    revalidate_in_background(cx, pending, candidates, plan, generation);
                    return Ok(response);
                }
                Step::Forward(plan, unused) => {
                    candidates = unused;
                    plan
                }
            },
        };
        match join_flight(cx, &pending, &flight_key, attempt) {
            Role::Uncollapsed => return forward(cx, pending, candidates, plan, None).await,
            Role::Leader(mut leader) => {
                // Another fetch may have ended between the lookup and this request becoming the
                // leader.
                let is_current =
                    cx.flights.generation(&pending.key) == generation && flight_key == pending.key;
                if is_current && cx.store.leases().is_none() {
                    return forward(cx, pending, candidates, plan, Some(leader)).await;
                }
                let found = is_current.then_some((plan, candidates));
                return match lead(cx, &pending, found, &mut leader).await {
                    Step::Forward(plan, candidates) => {
                        forward(cx, pending, candidates, plan, Some(leader)).await
                    }
                    Step::Serve(response) | Step::ServeAndRevalidate(response, ..) => Ok(response),
                };
            }
            Role::Follower(flight) => match follow(cx, &pending, &candidates, plan, &flight).await {
                FollowResult::Response(response) => return Ok(response),
                FollowResult::Failed(error) => return Err(error),
                FollowResult::OtherVariant(key) if flight_key == pending.key => flight_key = key,
                // An origin with a different `Vary` in each response.
                FollowResult::OtherVariant(_) | FollowResult::Uncollapsed => {
                    return forward(cx, pending, candidates, plan, None).await;
                }
                // The next leader looks up what the flight stored.
                FollowResult::Retry { failed } => attempt = flight.attempt + u32::from(failed),
            },
        }
    }
}

/// Serves a stored response if the decision on these candidates permits it.
async fn use_stored(
    cx: &Context,
    pending: &PendingRequest,
    mut candidates: Candidates,
    mut decision: Decision,
) -> Step {
    loop {
        let (selected, revalidate) = match decision {
            Decision::Forward(plan) => return Step::Forward(plan, candidates),
            Decision::OnlyIfCached => return Step::Serve(CacheResponse::only_if_cached()),
            Decision::Serve(selected) => (selected, None),
            Decision::ServeStale(selected) => {
                let plan = ForwardPlan::revalidate(selected);
                if !pending.origin.supports_background_revalidation() {
                    return Step::Forward(plan, candidates);
                }
                (selected, Some((plan, candidates.clone())))
            }
        };
        let (age, status) = (Some(selected.age), CacheStatus::hit(selected.ttl));
        match serve(cx, candidates, selected.index, &pending.head(), age, status).await {
            Ok(response) => {
                return match revalidate {
                    Some((plan, candidates)) => Step::ServeAndRevalidate(response, plan, candidates),
                    None => Step::Serve(response),
                };
            }
            // The body has been removed: nothing is stored.
            Err(_) => candidates = Candidates::none(),
        }
        decision = decide(cx, &pending.head(), &candidates);
    }
}

/// Prepares the leader of a flight for its fetch: claims the key's lease where processes share the
/// store, and looks up what other fetches have stored.
///
/// `found` is what the lookup found, unless that may be out of date.
async fn lead(
    cx: &Context,
    pending: &PendingRequest,
    mut found: Option<(ForwardPlan, Candidates)>,
    leader: &mut Leader,
) -> Step {
    let mut claims = if cx.store.leases().is_some() { 0 } else { MAX_CLAIMS };
    loop {
        let (plan, candidates) = match found.take() {
            Some(found) => found,
            None => {
                let candidates = cx.candidates(&pending.key).await;
                let decision = decide(cx, &pending.head(), &candidates);
                match use_stored(cx, pending, candidates, decision).await {
                    Step::Forward(plan, candidates) => (plan, candidates),
                    served => return served,
                }
            }
        };
        if leader.lease.is_some() || claims >= MAX_CLAIMS {
            return Step::Forward(plan, candidates);
        }
        // Granted or not: another process may have stored the response since the lookup, so the
        // next turn looks again.
        claims = if claim(cx, leader).await { MAX_CLAIMS } else { claims + 1 };
    }
}

/// Joins or starts the flight of `key`, unless the key is uncacheable.
fn join_flight(cx: &Context, pending: &PendingRequest, key: &CacheKey, attempt: u32) -> Role {
    if cx.uncacheable.contains(key, cx.now()) {
        Role::Uncollapsed
    } else if pending.can_lead() {
        cx.flights.join(key, attempt)
    } else {
        cx.flights.follow(key).map_or(Role::Uncollapsed, Role::Follower)
    }
}

/// Claims the lease of the leader's key among the processes that share the store.
///
/// Returns `false` after another process has fetched or has released its lease: the caller then
/// looks up the response. A store that fails does not prevent the fetch.
async fn claim(cx: &Context, leader: &mut Leader) -> bool {
    let Some(leases) = cx.store.leases() else { return true };
    let claiming = leases.claim(leader.key());
    match cx.store_call(StoreStep::Lookup, cx.limits.lookup_timeout, claiming).await {
        Some(Claim::Granted(lease)) => {
            leader.lease = Some(lease);
            true
        }
        Some(Claim::Held(held)) => within(cx.limits.collapse_timeout, held.released()).await.is_none(),
        None => true,
    }
}

/// Revalidates a stale response in a background task, unless another request for the key does
/// so.
///
/// `generation` was read before the lookup that found the candidates.
fn revalidate_in_background(
    cx: &Arc<Context>,
    pending: PendingRequest,
    mut candidates: Candidates,
    mut plan: ForwardPlan,
    generation: u64,
) {
    let Ok(permit) = Arc::clone(&cx.background).try_acquire_owned() else { return };
    // One revalidation for each key. A follower has nothing to wait for: it has been served.
    let Role::Leader(leader) = cx.flights.join(&pending.key, 0) else { return };
    let shared = Arc::clone(cx);
    cx.tasks.spawn(async move {
        let cx = &shared;
        if cx.flights.generation(&pending.key) != generation {
            // Another fetch ended between the lookup and this point: the stored response may be
            // fresh now.
            candidates = cx.candidates(&pending.key).await;
            plan = match decide(cx, &pending.head(), &candidates) {
                Decision::ServeStale(selected) => ForwardPlan::revalidate(selected),
                Decision::Forward(plan) => plan,
                Decision::Serve(_) | Decision::OnlyIfCached => return,
            };
        }
        // The response itself is not used; the store has it.
        let _ = forward(cx, pending, candidates, plan, Some(leader)).await;
        drop(permit);
    });
}

/// Waits for the leader's headers and acts on the outcome of the flight.
async fn follow(
    cx: &Context,
    pending: &PendingRequest,
    candidates: &Candidates,
    plan: ForwardPlan,
    flight: &Arc<Flight>,
) -> FollowResult {
    let Some(outcome) = within(cx.limits.collapse_timeout, flight.outcome()).await else {
        return FollowResult::Uncollapsed;
    };
    match outcome {
        FlightOutcome::Shared(candidate) => share(cx, pending, plan, candidate).await,
        FlightOutcome::NotShared => FollowResult::Uncollapsed,
        FlightOutcome::Abandoned => FollowResult::Retry { failed: false },
        FlightOutcome::Failed(kind) => {
            match serve_stale_on_error(cx, pending, candidates, plan, Failure::Disconnected).await {
                Some(response) => FollowResult::Response(response),
                None if flight.attempt == 0 && !kind.is_timeout() => FollowResult::Retry { failed: true },
                None => FollowResult::Failed(OriginError::new(kind).into()),
            }
        }
        FlightOutcome::ServerError(status) => {
            match serve_stale_on_error(cx, pending, candidates, plan, Failure::Status(status)).await {
                Some(response) => FollowResult::Response(response),
                None => FollowResult::Uncollapsed,
            }
        }
    }
}

/// Serves the leader's response, if this request's header fields allow it.
async fn share(
    cx: &Context,
    pending: &PendingRequest,
    plan: ForwardPlan,
    candidate: Candidate,
) -> FollowResult {
    let head = pending.head();
    if !candidate.head.selecting.matches(&head) {
        let variant = candidate.head.selecting.variant_of(&head);
        return variant.map_or(FollowResult::Uncollapsed, |variant| {
            FollowResult::OtherVariant(pending.key.with_extra(b"variant").with_extra(&variant))
        });
    }
    let candidates = Candidates::from(candidate);
    let (Decision::Serve(selected) | Decision::ServeStale(selected)) = decide(cx, &head, &candidates) else {
        return FollowResult::Uncollapsed;
    };
    let mut status = plan.status();
    status.collapsed = true;
    match serve(cx, candidates, 0, &head, Some(selected.age), status).await {
        Ok(response) => FollowResult::Response(response),
        Err(_) => FollowResult::Uncollapsed,
    }
}

/// The result of following a flight.
enum FollowResult {
    Response(CacheResponse),
    Failed(FetchError),
    /// The response is for other values of the fields that it varies on. Requests with the same
    /// values are collapsed under this key.
    OtherVariant(CacheKey),
    /// The request goes to the origin on its own.
    Uncollapsed,
    /// The leader was dropped or failed: try to lead.
    Retry {
        /// Whether the origin failed the leader.
        failed: bool,
    },
}
