//! Leads the fetch of a key: claims its lease where processes share the store, looks up what other
//! fetches have stored, fetches, and completes the flight.

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::{
    super::{
        context::Context,
        decide::{Decision, ForwardPlan, decide},
        error::FetchError,
        events::StoreStep,
        fetch::{Fetched, fetch, reserve},
        outcome::{FlightOutcome, NextRequests},
        request::PendingRequest,
        response::CacheResponse,
    },
    flights::Leader,
    stored::{Step, use_stored},
};
use crate::{Candidates, Claim, HeldLease, OriginError, OriginErrorKind, Reservation, timeout::within};

/// Number of times that a request waits for another process's fetch before it fetches without a
/// lease.
const MAX_CLAIMS: u32 = 3;

/// Serves a request as the leader of a flight, in a task, for a store with leases.
///
/// Other processes wait for the lease. It must not be held by a client that does not read: its
/// future may not be polled for a long time.
pub(super) async fn lead_in_task(
    cx: &Arc<Context>,
    request: &PendingRequest,
    found: Option<(ForwardPlan, Candidates)>,
    leader: Leader,
) -> Result<CacheResponse, FetchError> {
    let (shared, request) = (Arc::clone(cx), request.clone());
    let leading = async move { lead(&shared, &request, found, leader).await };
    // A set, which aborts its task when this future is dropped.
    let mut task = JoinSet::new();
    task.spawn(leading.in_current_span());
    match task.join_next().await {
        Some(Ok(result)) => result,
        // The task has panicked, or the runtime is shutting down.
        Some(Err(error)) => {
            let kind = if error.is_panic() { OriginErrorKind::Internal } else { OriginErrorKind::Closed };
            Err(FetchError::Origin(OriginError::new(kind).with_source(error)))
        }
        None => Err(FetchError::Origin(OriginErrorKind::Internal.into())),
    }
}

/// Serves a request as the leader of a flight.
///
/// `found` is what the lookup found, unless that may be out of date.
pub(super) async fn lead(
    cx: &Arc<Context>,
    request: &PendingRequest,
    found: Option<(ForwardPlan, Candidates)>,
    mut leader: Leader,
) -> Result<CacheResponse, FetchError> {
    let prepared = match found {
        Some((plan, candidates)) if !is_coordinated(cx) => Prepared::Fetch(plan, candidates, None),
        // Boxed, so that it adds nothing to the future of requests on other stores.
        _ if is_coordinated(cx) => Box::pin(prepare(cx, request, &mut leader)).await,
        _ => look_again(cx, request).await,
    };
    let (plan, candidates, reservation) = match prepared {
        Prepared::Fetch(plan, candidates, reservation) => (plan, candidates, reservation),
        Prepared::Served(response) => {
            let outcome = FlightOutcome::of_served(&response);
            return finish(cx, Fetched { response: Ok(response), outcome, writing: None }, Some(leader));
        }
    };
    let reservation = match reservation {
        Some(reserved) => reserved,
        None => reserve(cx, request).await,
    };
    let plan = if *leader.key() == request.key { plan.as_only_fetch() } else { plan };
    let fetched = fetch(cx, request, candidates, plan, reservation).await;
    finish(cx, fetched, Some(leader))
}

/// Ends a fetch: completes its flight, if it has one, and lets the writing to the store continue
/// in the background. This is the only function that completes a flight of a request that has not
/// been dropped.
pub(in super::super) fn finish(
    cx: &Arc<Context>,
    fetched: Fetched,
    leader: Option<Leader>,
) -> Result<CacheResponse, FetchError> {
    let Fetched { response, outcome, writing } = fetched;
    if let Some(leader) = &leader {
        if let FlightOutcome::NotShared(NextRequests::GoAlone { forbids_storing }) = outcome {
            cx.uncacheable.insert(leader.key(), forbids_storing, cx.now());
        }
        leader.complete(outcome);
    }
    if let Some(writing) = writing {
        // Until the response is in the store, requests find it through the flight.
        writing.spawn(cx, leader);
    }
    response
}

/// The result of the preparation of a leader.
enum Prepared {
    /// The response is stored by now.
    Served(CacheResponse),
    /// Fetch, with the reservation, if the key has been reserved or cannot be.
    Fetch(ForwardPlan, Candidates, Option<Option<Box<dyn Reservation>>>),
}

/// Looks up what other fetches have stored.
async fn look_again(cx: &Arc<Context>, request: &PendingRequest) -> Prepared {
    let candidates = cx.candidates(&request.key).await;
    let decision = decide(cx, &request.head(), &candidates);
    match use_stored(cx, request, candidates, decision).await {
        Step::Forward(plan, candidates) => Prepared::Fetch(plan, candidates, None),
        Step::Serve(response) | Step::ServeAndRevalidate(response, ..) => Prepared::Served(response),
    }
}

/// Prepares the leader of a flight for its fetch from a store that processes share: waits while
/// another process fetches, and uses what it has stored.
async fn prepare(cx: &Arc<Context>, request: &PendingRequest, leader: &mut Leader) -> Prepared {
    let mut claims = 0;
    loop {
        let turn = coordinate(cx, request, leader, claims < MAX_CLAIMS).await;
        let (mut candidates, mut decision) = (turn.candidates, turn.decision);
        if !matches!(decision, Decision::Forward(_)) && cx.store.removals().is_some() {
            // A removal between the lookup and the token would not be noticed by followers.
            candidates = cx.candidates(&request.key).await;
            decision = decide(cx, &request.head(), &candidates);
        }
        let (plan, candidates) = match use_stored(cx, request, candidates, decision).await {
            Step::Forward(plan, candidates) => (plan, candidates),
            Step::Serve(response) | Step::ServeAndRevalidate(response, ..) => {
                return Prepared::Served(response);
            }
        };
        let Some(held) = turn.held else {
            return Prepared::Fetch(plan, candidates, Some(turn.reservation));
        };
        let released = within(cx.limits.collapse_timeout, held.released()).await;
        claims = if released.is_some() { claims + 1 } else { MAX_CLAIMS };
        // Usually the other process has stored the response.
        if let served @ Prepared::Served(_) = look_again(cx, request).await {
            return served;
        }
    }
}

/// What a leader knows before its fetch, after one round trip to the store.
pub(in super::super) struct Turn {
    pub(in super::super) candidates: Candidates,
    pub(in super::super) decision: Decision,
    pub(in super::super) reservation: Option<Box<dyn Reservation>>,
    /// The lease of another process, if one has it.
    pub(in super::super) held: Option<Box<dyn HeldLease>>,
}

/// Returns whether the processes that share the store coordinate their fetches.
pub(in super::super) fn is_coordinated(cx: &Context) -> bool {
    cx.store.leases().is_some() || cx.store.removals().is_some()
}

/// Claims the lease of the leader's key, sets the token of its flight, looks the key up again and
/// reserves it, all at once: to a remote store, each of these is a round trip.
///
/// The order in which the store carries them out is not known, and need not be:
///
/// - A removal may come after the lookup and before the token is read. A response of the origin is
///   younger, and so are its validation and, by the reservation, what is stored. What is served
///   from the store has to be looked up again.
/// - Another process may store its response and release the lease after the lookup and before the
///   claim. The key would then be fetched twice, so the lookup waits for the claim, unless the
///   store carries them out in the order in which they are first polled
///   ([`Leases::precede_lookups`](crate::Leases::precede_lookups)).
pub(in super::super) async fn coordinate(
    cx: &Arc<Context>,
    request: &PendingRequest,
    leader: &mut Leader,
    may_claim: bool,
) -> Turn {
    let key = leader.key().clone();
    let leases = cx.store.leases().filter(|_| may_claim);
    let claim = async || {
        let claiming = leases?.claim(&key);
        cx.store_call(StoreStep::Lookup, cx.limits.lookup_timeout, claiming).await
    };
    let is_claimed_first = leases.is_some_and(|leases| !leases.precede_lookups());
    let claimed = if is_claimed_first { claim().await } else { None };
    let claiming = async { if is_claimed_first { claimed } else { claim().await } };
    let reading = async {
        if let Some(removals) = cx.store.removals() {
            leader.set_token(cx.removal_token(removals, &request.key).await);
        }
    };
    let (claim, (), candidates, reservation) =
        tokio::join!(claiming, reading, cx.candidates(&request.key), reserve(cx, request));
    let held = match claim {
        Some(Claim::Granted(lease)) => {
            leader.lease = Some(lease);
            None
        }
        Some(Claim::Held(held)) => Some(held),
        // A store that fails does not prevent the fetch.
        None => None,
    };
    let decision = decide(cx, &request.head(), &candidates);
    Turn { candidates, decision, reservation, held }
}
