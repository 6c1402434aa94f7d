//! Leads the fetch of a key: claims its lease where processes share the store, looks up what other
//! fetches have stored, fetches, and completes the flight.

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::{
    super::{
        context::Context,
        decide::{ForwardPlan, decide},
        error::FetchError,
        events::StoreStep,
        fetch::{Fetched, fetch},
        outcome::{FlightOutcome, NextRequests},
        request::PendingRequest,
        response::CacheResponse,
    },
    flights::Leader,
    stored::{Step, use_stored},
};
use crate::{Candidates, Claim, HeldLease, OriginError, OriginErrorKind, timeout::within};

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
    mut found: Option<(ForwardPlan, Candidates)>,
    mut leader: Leader,
) -> Result<CacheResponse, FetchError> {
    if read_token(cx, request, &leader).await {
        // A removal between the lookup and the token would not be noticed. With leases, the lookup
        // is repeated in any case.
        found = found.filter(|_| cx.store.leases().is_some());
    }
    let (plan, candidates) = match found {
        Some(found) if cx.store.leases().is_none() => found,
        found => match prepare(cx, request, found, &mut leader).await {
            Step::Forward(plan, candidates) => (plan, candidates),
            Step::Serve(response) | Step::ServeAndRevalidate(response, ..) => {
                let outcome = FlightOutcome::of_served(&response);
                return finish(cx, Fetched { response: Ok(response), outcome, writing: None }, Some(leader));
            }
        },
    };
    let plan = if *leader.key() == request.key { plan.as_only_fetch() } else { plan };
    let fetched = fetch(cx, request, candidates, plan).await;
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

/// Prepares the leader of a flight for its fetch: claims the key's lease where processes share the
/// store, and looks up what other fetches have stored.
///
/// `found` is what the lookup found, unless that may be out of date.
async fn prepare(
    cx: &Arc<Context>,
    request: &PendingRequest,
    mut found: Option<(ForwardPlan, Candidates)>,
    leader: &mut Leader,
) -> Step {
    let mut claims = if cx.store.leases().is_some() { 0 } else { MAX_CLAIMS };
    loop {
        let (plan, candidates) = match found.take() {
            Some(found) => found,
            None => {
                let candidates = cx.candidates(&request.key).await;
                let decision = decide(cx, &request.head(), &candidates);
                match use_stored(cx, request, candidates, decision).await {
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
        let released = match claim(cx, leader).await {
            Some(held) => within(cx.limits.collapse_timeout, held.released()).await,
            None => None,
        };
        claims = if released.is_some() { claims + 1 } else { MAX_CLAIMS };
    }
}

/// Sets the token of the removals of the request's key in the flight, and returns whether the store
/// has tokens. What was looked up before may have been removed.
pub(in super::super) async fn read_token(cx: &Context, request: &PendingRequest, leader: &Leader) -> bool {
    let Some(removals) = cx.store.removals() else { return false };
    leader.set_token(cx.removal_token(removals, &request.key).await);
    true
}

/// Claims the lease of the leader's key among the processes that share the store. Returns the lease
/// of another process, if one has it. A store that fails does not prevent the fetch.
pub(in super::super) async fn claim(cx: &Context, leader: &mut Leader) -> Option<Box<dyn HeldLease>> {
    let claiming = cx.store.leases()?.claim(leader.key());
    match cx.store_call(StoreStep::Lookup, cx.limits.lookup_timeout, claiming).await? {
        Claim::Granted(lease) => {
            leader.lease = Some(lease);
            None
        }
        Claim::Held(held) => Some(held),
    }
}
