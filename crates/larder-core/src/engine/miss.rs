//! Decides what happens to a request that a lookup alone could not serve: serve a stale response,
//! follow a flight, lead one, or go to the origin uncollapsed.
//!
//! Changes to collapsing start here. `flights` holds the state of collapsing, `uncacheable` the
//! keys that are not collapsed; `forward` sends the request to the origin.

use std::sync::Arc;

use http::Request;

use super::{
    Cache, CacheResponse, FetchError, Miss,
    events::StoreStep,
    flights::{Flight, FlightOutcome, Leader, Role},
    options::FetchOptions,
    pending::PendingRequest,
};
use crate::{
    Body, CacheKey, CacheStatus, Candidate, Candidates, Claim, Failure, ForwardReason, Origin, OriginError,
    Reuse, Selected, StalePermission, TargetUri, timeout::within,
};

/// Number of times that a request waits for another process's fetch before it fetches without a
/// lease.
const MAX_CLAIMS: u32 = 3;

/// The reason why a request is forwarded, and the stored response that it concerns.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForwardPlan {
    /// The stored response that matches but is not fresh. It is revalidated, or served if the
    /// origin fails.
    pub(super) selected: Option<Selected>,
    pub(super) fwd: ForwardReason,
}

/// The next step for a request.
enum Action {
    Serve(Selected, CacheStatus),
    ServeStaleAndRevalidate(Selected, ForwardPlan),
    Forward(ForwardPlan),
    OnlyIfCached,
}

impl Cache {
    /// Serves a request after its lookup was a miss, with the origin where necessary.
    pub(super) async fn handle_miss(
        &self,
        miss: Miss,
        target: TargetUri,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
    ) -> Result<CacheResponse, FetchError> {
        let Miss { key, mut candidates, mut generation, .. } = miss;
        let (pending, body) = PendingRequest::new(key, target, request, origin, options)?;
        if !body.is_empty() || !pending.head().may_reuse() {
            return self.forward_unchanged(pending, body, candidates).await;
        }
        let mut leader: Option<Leader> = None;
        // The flight to follow: that of the key or, if the response turns out to vary, that of the
        // same variant.
        let mut flight_key = pending.key.clone();
        let mut attempt = 0;
        let mut claims = 0;
        loop {
            let plan = match self.next_action(&pending, &candidates) {
                Action::OnlyIfCached => return Ok(CacheResponse::only_if_cached()),
                Action::Serve(selected, status) => {
                    let age = Some(selected.age);
                    match self.serve(candidates, selected.index, &pending.head(), age, status).await {
                        Ok(response) => return Ok(response),
                        Err(_) => candidates = Candidates::none(),
                    }
                    continue;
                }
                Action::ServeStaleAndRevalidate(selected, plan) => {
                    let status = CacheStatus::hit(selected.ttl);
                    let served = candidates.clone();
                    match self
                        .serve(served, selected.index, &pending.head(), Some(selected.age), status)
                        .await
                    {
                        Ok(response) => {
                            self.revalidate_in_background(pending, candidates, plan, generation);
                            return Ok(response);
                        }
                        Err(_) => candidates = Candidates::none(),
                    }
                    continue;
                }
                Action::Forward(plan) => plan,
            };
            if let Some(new_leader) = &mut leader {
                if new_leader.lease.is_some() || claims >= MAX_CLAIMS || self.inner.store.leases().is_none() {
                    return self.forward(pending, candidates, plan, leader).await;
                }
                claims = if self.claim(new_leader).await { MAX_CLAIMS } else { claims + 1 };
                // Granted or not: another process may have stored the response since the lookup.
                candidates = self.candidates(&pending.key).await;
                continue;
            }
            match self.join_flight(&pending, &flight_key, attempt) {
                Role::Uncollapsed => return self.forward(pending, candidates, plan, None).await,
                Role::Leader(new_leader) => {
                    leader = Some(new_leader);
                    let current = self.inner.flights.generation(&pending.key);
                    if current != generation || flight_key != pending.key {
                        // Another fetch ended between the lookup and this request becoming the
                        // leader.
                        generation = current;
                        candidates = self.candidates(&pending.key).await;
                    }
                }
                Role::Follower(flight) => {
                    match self.follow(&pending, &candidates, plan, &flight).await {
                        FollowResult::Response(response) => return Ok(response),
                        FollowResult::Failed(error) => return Err(error),
                        FollowResult::Uncollapsed => {
                            return self.forward(pending, candidates, plan, None).await;
                        }
                        FollowResult::OtherVariant(key) if flight_key == pending.key => flight_key = key,
                        // An origin with a different `Vary` in each response.
                        FollowResult::OtherVariant(_) => {
                            return self.forward(pending, candidates, plan, None).await;
                        }
                        FollowResult::Retry { failed } => {
                            attempt = flight.attempt + u32::from(failed);
                            // The next leader looks up what the flight stored.
                        }
                    }
                }
            }
        }
    }

    /// Decides what to do with the request, given the stored responses.
    fn next_action(&self, pending: &PendingRequest, candidates: &Candidates) -> Action {
        let now = self.inner.clock.now();
        let heads = candidates.iter().map(|candidate| &*candidate.head);
        match self.inner.rules.reuse(&pending.head(), heads, now) {
            Reuse::Fresh(selected) | Reuse::Stale(selected, StalePermission::MaxStale) => {
                Action::Serve(selected, CacheStatus::hit(selected.ttl))
            }
            Reuse::Stale(selected, _) => {
                let plan = ForwardPlan { selected: Some(selected), fwd: ForwardReason::Stale };
                if pending.origin.supports_background_revalidation() {
                    Action::ServeStaleAndRevalidate(selected, plan)
                } else {
                    Action::Forward(plan)
                }
            }
            Reuse::Validate(selected, why) => {
                Action::Forward(ForwardPlan { selected: Some(selected), fwd: why.forward_reason() })
            }
            Reuse::Forward(why) => Action::Forward(ForwardPlan { selected: None, fwd: why.forward_reason() }),
            Reuse::OnlyIfCached => Action::OnlyIfCached,
            // A variant that this engine does not know: forwarding is always correct.
            _ => Action::Forward(ForwardPlan { selected: None, fwd: ForwardReason::Miss }),
        }
    }

    /// Joins or starts the flight of `key`, unless the key is uncacheable.
    fn join_flight(&self, pending: &PendingRequest, key: &CacheKey, attempt: u32) -> Role {
        let flights = &self.inner.flights;
        if self.inner.uncacheable.contains(key, self.inner.clock.now()) {
            Role::Uncollapsed
        } else if pending.can_lead() {
            flights.join(key, attempt)
        } else {
            flights.follow(key).map_or(Role::Uncollapsed, Role::Follower)
        }
    }

    /// Claims the lease of the leader's key among the processes that share the store.
    ///
    /// Returns `false` after another process has fetched or has released its lease: the caller then
    /// looks up the response. A store that fails does not prevent the fetch.
    async fn claim(&self, leader: &mut Leader) -> bool {
        let Some(leases) = self.inner.store.leases() else { return true };
        match within(self.inner.limits.lookup_timeout, leases.claim(leader.key())).await {
            Some(Ok(Claim::Granted(lease))) => {
                leader.lease = Some(lease);
                true
            }
            Some(Ok(Claim::Held(held))) => {
                within(self.inner.limits.collapse_timeout, held.released()).await.is_none()
            }
            failed => {
                self.store_failed(StoreStep::Lookup, failed.and_then(Result::err).as_ref());
                true
            }
        }
    }

    /// Completes the flight as not shared, and records that the next requests for the key must not
    /// wait.
    pub(super) fn complete_not_shared(&self, leader: &Leader) {
        self.complete_uncacheable(leader, false);
    }

    /// Completes the flight as not shared, and records the key as uncacheable.
    ///
    /// `forbids_storing` states whether the response's header fields forbid storing.
    pub(super) fn complete_uncacheable(&self, leader: &Leader, forbids_storing: bool) {
        self.inner.uncacheable.insert(leader.key(), forbids_storing, self.inner.clock.now());
        leader.complete(FlightOutcome::NotShared);
    }

    /// Revalidates a stale response in a background task, unless another request for the key does
    /// so.
    ///
    /// `generation` was read before the lookup that found the candidates.
    fn revalidate_in_background(
        &self,
        pending: PendingRequest,
        mut candidates: Candidates,
        mut plan: ForwardPlan,
        generation: u64,
    ) {
        let Ok(permit) = Arc::clone(&self.inner.background).try_acquire_owned() else { return };
        // One revalidation for each key. A follower has nothing to wait for: it has been served.
        let Role::Leader(leader) = self.inner.flights.join(&pending.key, 0) else { return };
        let cache = self.clone();
        self.inner.tasks.spawn(async move {
            if cache.inner.flights.generation(&pending.key) != generation {
                // Another fetch ended between the lookup and this point: the stored response may be
                // fresh now.
                candidates = cache.candidates(&pending.key).await;
                plan = match cache.next_action(&pending, &candidates) {
                    Action::ServeStaleAndRevalidate(_, plan) | Action::Forward(plan) => plan,
                    Action::Serve(..) | Action::OnlyIfCached => return,
                };
            }
            // The response itself is not used; the store has it.
            let _ = cache.forward(pending, candidates, plan, Some(leader)).await;
            drop(permit);
        });
    }

    /// Waits for the leader's headers and acts on the outcome of the flight.
    async fn follow(
        &self,
        pending: &PendingRequest,
        candidates: &Candidates,
        plan: ForwardPlan,
        flight: &Arc<Flight>,
    ) -> FollowResult {
        let Some(outcome) = within(self.inner.limits.collapse_timeout, flight.outcome()).await else {
            return FollowResult::Uncollapsed;
        };
        match outcome {
            FlightOutcome::Shared(candidate) => self.share(pending, plan, candidate).await,
            FlightOutcome::NotShared => FollowResult::Uncollapsed,
            FlightOutcome::Abandoned => FollowResult::Retry { failed: false },
            FlightOutcome::Failed(kind) => {
                match self.serve_stale_on_error(pending, candidates, plan, Failure::Disconnected).await {
                    Some(response) => FollowResult::Response(response),
                    None if flight.attempt == 0 && !kind.is_timeout() => FollowResult::Retry { failed: true },
                    None => FollowResult::Failed(OriginError::new(kind).into()),
                }
            }
            FlightOutcome::ServerError(status) => {
                match self.serve_stale_on_error(pending, candidates, plan, Failure::Status(status)).await {
                    Some(response) => FollowResult::Response(response),
                    None => FollowResult::Uncollapsed,
                }
            }
        }
    }

    /// Serves the leader's response, if this request's header fields allow it.
    async fn share(&self, pending: &PendingRequest, plan: ForwardPlan, candidate: Candidate) -> FollowResult {
        let head = pending.head();
        if !candidate.head.selecting.matches(&head) {
            let variant = candidate.head.selecting.variant_of(&head);
            return variant.map_or(FollowResult::Uncollapsed, |variant| {
                FollowResult::OtherVariant(pending.key.with_extra(b"variant").with_extra(&variant))
            });
        }
        let reuse = self.inner.rules.reuse(&head, [&*candidate.head], self.inner.clock.now());
        let (Reuse::Fresh(selected) | Reuse::Stale(selected, _)) = reuse else {
            return FollowResult::Uncollapsed;
        };
        let mut status = CacheStatus::forwarded(plan.fwd);
        status.collapsed = true;
        match self.serve(candidate.into(), 0, &head, Some(selected.age), status).await {
            Ok(response) => FollowResult::Response(response),
            Err(_) => FollowResult::Uncollapsed,
        }
    }

    /// Serves a stale response instead of an error, if the rules permit it (§4.2.4, RFC 5861 §4).
    pub(super) async fn serve_stale_on_error(
        &self,
        pending: &PendingRequest,
        candidates: &Candidates,
        plan: ForwardPlan,
        failure: Failure,
    ) -> Option<CacheResponse> {
        let selected = plan.selected?;
        let head = pending.head();
        let now = self.inner.clock.now();
        let stored = &candidates.get(selected.index)?.head;
        self.inner.rules.stale_on_failure(&head, stored, now, failure)?;
        let mut status = CacheStatus::forwarded(plan.fwd);
        status.ttl = Some(selected.ttl);
        status.detail = Some("stale-if-error");
        if let Failure::Status(code) = failure {
            status.fwd_status = Some(code);
        }
        self.serve(candidates.clone(), selected.index, &head, Some(selected.age), status).await.ok()
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
