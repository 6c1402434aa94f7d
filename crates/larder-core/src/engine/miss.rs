//! What a request does that a look-up alone could not answer: serve stale, follow, lead or go alone.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, request};

use super::{
    Cache, CacheResponse, FetchError, Miss,
    events::StoreStep,
    flights::{Flight, FlightOutcome, Joined, Leader},
    options::{FetchOptions, ResponseContext},
};
use crate::{
    Body, CacheKey, CacheStatus, Candidate, Candidates, Claim, Failure, ForwardReason, Origin, OriginError,
    Permission, RequestHead, Reuse, Rules, Selected, TargetError, TargetUri, strip_unforwardable,
    timeout::within,
};

/// How often a request waits for another process's fetch before it fetches without a lease.
const CLAIMS: u32 = 3;

/// A request on its way, without its body.
#[derive(Debug, Clone)]
pub(super) struct PendingRequest {
    pub(super) key: CacheKey,
    pub(super) target: TargetUri,
    pub(super) parts: request::Parts,
    pub(super) origin: Arc<dyn Origin>,
    pub(super) options: FetchOptions,
    /// What a question asks ([`FetchOptions::query`]).
    pub(super) content: Bytes,
}

impl PendingRequest {
    /// What is asked, and the content that is sent along if it is not what is asked for.
    fn new(
        key: CacheKey,
        target: TargetUri,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
    ) -> Result<(Self, Body), FetchError> {
        let (mut parts, body) = request.into_parts();
        if !target.is_written_as(&parts.uri) {
            parts.uri = target.to_uri().ok_or(TargetError::Path)?;
        }
        strip_unforwardable(&mut parts.headers);
        let mut pending =
            Self { key, target, parts, origin, options: options.clone(), content: Bytes::new() };
        if !options.body_in_key {
            return Ok((pending, body));
        }
        match body.try_into_bytes() {
            Ok(content) => {
                pending.content = content;
                Ok((pending, Body::empty()))
            }
            Err(streaming) => {
                pending.options.body_in_key = false;
                Ok((pending, streaming))
            }
        }
    }

    /// As the rules see it: a question is a GET for what is in its key.
    pub(super) fn head(&self) -> RequestHead<'_> {
        let method = if self.options.body_in_key { &Method::GET } else { &self.parts.method };
        RequestHead::new(method, &self.parts.headers)
    }

    /// The rules for its response.
    pub(super) fn rules<'a>(
        &self,
        rules: &'a Rules,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Cow<'a, Rules> {
        let Some(overriding) = &self.options.overrides else { return Cow::Borrowed(rules) };
        let (method, uri, request) = (&self.parts.method, &self.parts.uri, &self.parts.headers);
        let overrides = overriding.of(&ResponseContext {
            method,
            uri,
            request_headers: request,
            status,
            headers: fields,
        });
        Cow::Owned(rules.clone().with_overrides(overrides))
    }

    /// The request to send: a copy, since it may have to be sent again.
    pub(super) fn outgoing(&self, body: Body) -> Request<Body> {
        Request::from_parts(self.parts.clone(), body)
    }

    /// Whether the response can be of use to others who wait for it: the whole of it was asked for, with nothing
    /// but what is in the key and the fields.
    fn can_lead(&self) -> bool {
        let head = self.head();
        *head.method() == Method::GET && head.is_plain()
    }
}

/// Why the origin is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForwardPlan {
    /// The stored response that would do, were it fresh: to be validated, or to stand in for a failure.
    pub(super) selected: Option<Selected>,
    pub(super) fwd: ForwardReason,
}

/// What to do next.
enum Action {
    Serve(Selected, CacheStatus),
    ServeStaleAndRevalidate(Selected, ForwardPlan),
    Forward(ForwardPlan),
    OnlyIfCached,
}

impl Cache {
    pub(super) async fn answer(
        &self,
        found: Miss,
        target: TargetUri,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
    ) -> Result<CacheResponse, FetchError> {
        let Miss { key, mut candidates, generation: mut landed, .. } = found;
        let (pending, body) = PendingRequest::new(key, target, request, origin, options)?;
        if !body.is_empty() || !pending.head().may_reuse() {
            return self.pass(pending, body, candidates).await;
        }
        let mut leader: Option<Leader> = None;
        // Whom to wait for: whoever fetches the same URI, or, when that turns out to vary, the same variant of it.
        let mut flight_key = pending.key.clone();
        let mut attempt = 0;
        let mut claims = 0;
        loop {
            let plan = match self.next_action(&pending, &candidates) {
                Action::OnlyIfCached => return Ok(CacheResponse::only_if_cached()),
                Action::Serve(selected, status) => {
                    let age = Some(selected.age);
                    match self.serve(candidates, selected.index, &pending.head(), age, status).await {
                        Ok(answer) => return Ok(answer),
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
                        Ok(answer) => {
                            self.revalidate_in_background(pending, candidates, plan, landed);
                            return Ok(answer);
                        }
                        Err(_) => candidates = Candidates::none(),
                    }
                    continue;
                }
                Action::Forward(plan) => plan,
            };
            if let Some(leads) = &mut leader {
                if leads.lease.is_some() || claims >= CLAIMS || self.inner.store.leases().is_none() {
                    return self.forward(pending, candidates, plan, leader).await;
                }
                claims = if self.claim(leads).await { CLAIMS } else { claims + 1 };
                // Granted or not: between our look-up and this, another process may have stored it.
                candidates = self.candidates(&pending.key).await;
                continue;
            }
            match self.join(&pending, &flight_key, attempt) {
                Joined::Alone => return self.forward(pending, candidates, plan, None).await,
                Joined::Leader(leads) => {
                    leader = Some(leads);
                    let now_landed = self.inner.flights.generation(&pending.key);
                    if now_landed != landed || flight_key != pending.key {
                        // Somebody else's fetch ended between our look-up and our turn to lead.
                        landed = now_landed;
                        candidates = self.candidates(&pending.key).await;
                    }
                }
                Joined::Follower(flight) => {
                    match self.follow(&pending, &candidates, plan, &flight).await {
                        FollowResult::Answered(answer) => return Ok(answer),
                        FollowResult::Failed(error) => return Err(error),
                        FollowResult::Alone => return self.forward(pending, candidates, plan, None).await,
                        FollowResult::OtherVariant(key) if flight_key == pending.key => flight_key = key,
                        // An origin that varies on other fields each time.
                        FollowResult::OtherVariant(_) => {
                            return self.forward(pending, candidates, plan, None).await;
                        }
                        FollowResult::TryAgain { failed } => {
                            attempt = flight.attempt + u32::from(failed);
                            // What the flight has left in the store is looked up by whoever leads next.
                        }
                    }
                }
            }
        }
    }

    fn next_action(&self, pending: &PendingRequest, candidates: &Candidates) -> Action {
        let now = self.inner.clock.now();
        let heads = candidates.iter().map(|candidate| &*candidate.head);
        match self.inner.rules.reuse(&pending.head(), heads, now) {
            Reuse::Fresh(selected) | Reuse::Stale(selected, Permission::MaxStale) => {
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
            // An answer that this engine does not know yet: the origin is always right.
            _ => Action::Forward(ForwardPlan { selected: None, fwd: ForwardReason::Miss }),
        }
    }

    fn join(&self, pending: &PendingRequest, key: &CacheKey, attempt: u32) -> Joined {
        let flights = &self.inner.flights;
        if self.inner.uncacheable.contains(key, self.inner.clock.now()) {
            Joined::Alone
        } else if pending.can_lead() {
            flights.join(key, attempt)
        } else {
            flights.follow(key).map_or(Joined::Alone, Joined::Follower)
        }
    }

    /// Leading among the processes that share the store, too. `false` after another process has fetched or given up:
    /// what it stored has to be looked up. A store that can't tell doesn't keep anybody from fetching.
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

    /// The response can't be given to those who wait, nor are they to wait again for the next one.
    pub(super) fn not_shared(&self, leader: &Leader) {
        self.not_shared_since(leader, false);
    }

    /// `refused`: it must not be stored, and said so.
    pub(super) fn not_shared_since(&self, leader: &Leader, refused: bool) {
        self.inner.uncacheable.insert(leader.key(), refused, self.inner.clock.now());
        leader.complete(FlightOutcome::NotShared);
    }

    /// `landed` is of before the look-up that found the candidates.
    fn revalidate_in_background(
        &self,
        pending: PendingRequest,
        mut candidates: Candidates,
        mut plan: ForwardPlan,
        landed: u64,
    ) {
        let Ok(permit) = Arc::clone(&self.inner.background).try_acquire_owned() else { return };
        // One for each key: whoever follows has been served already.
        let Joined::Leader(leader) = self.inner.flights.join(&pending.key, 0) else { return };
        let cache = self.clone();
        self.inner.tasks.spawn(async move {
            if cache.inner.flights.generation(&pending.key) != landed {
                // Another one ended between our look-up and this: what is stored now need not be stale.
                candidates = cache.candidates(&pending.key).await;
                plan = match cache.next_action(&pending, &candidates) {
                    Action::ServeStaleAndRevalidate(_, plan) | Action::Forward(plan) => plan,
                    Action::Serve(..) | Action::OnlyIfCached => return,
                };
            }
            // Nobody reads this answer; what it brings is in the store.
            let _ = cache.forward(pending, candidates, plan, Some(leader)).await;
            drop(permit);
        });
    }

    /// Waits for the leader's headers, and does as they say.
    async fn follow(
        &self,
        pending: &PendingRequest,
        candidates: &Candidates,
        plan: ForwardPlan,
        flight: &Arc<Flight>,
    ) -> FollowResult {
        let Some(landing) = within(self.inner.limits.collapse_timeout, flight.outcome()).await else {
            return FollowResult::Alone;
        };
        match landing {
            FlightOutcome::Shared(candidate) => self.share(pending, plan, candidate).await,
            FlightOutcome::NotShared => FollowResult::Alone,
            FlightOutcome::Abandoned => FollowResult::TryAgain { failed: false },
            FlightOutcome::Failed(kind) => {
                match self.serve_stale_on_error(pending, candidates, plan, Failure::Disconnected).await {
                    Some(answer) => FollowResult::Answered(answer),
                    None if flight.attempt == 0 && !kind.is_timeout() => {
                        FollowResult::TryAgain { failed: true }
                    }
                    None => FollowResult::Failed(OriginError::new(kind).into()),
                }
            }
            FlightOutcome::ServerError(status) => {
                match self.serve_stale_on_error(pending, candidates, plan, Failure::Status(status)).await {
                    Some(answer) => FollowResult::Answered(answer),
                    None => FollowResult::Alone,
                }
            }
        }
    }

    /// Answers from what the leader has got, if this request's own fields allow it.
    async fn share(&self, pending: &PendingRequest, plan: ForwardPlan, candidate: Candidate) -> FollowResult {
        let head = pending.head();
        if !candidate.head.selecting.matches(&head) {
            let variant = candidate.head.selecting.variant_of(&head);
            return variant.map_or(FollowResult::Alone, |variant| {
                FollowResult::OtherVariant(pending.key.with_extra(b"variant").with_extra(&variant))
            });
        }
        let reuse = self.inner.rules.reuse(&head, [&*candidate.head], self.inner.clock.now());
        let (Reuse::Fresh(selected) | Reuse::Stale(selected, _)) = reuse else { return FollowResult::Alone };
        let mut status = CacheStatus::forwarded(plan.fwd);
        status.collapsed = true;
        match self.serve(candidate.into(), 0, &head, Some(selected.age), status).await {
            Ok(answer) => FollowResult::Answered(answer),
            Err(_) => FollowResult::Alone,
        }
    }

    /// A stale response in place of one that did not come (§4.2.4, RFC 5861 §4).
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

/// What following came to.
enum FollowResult {
    Answered(CacheResponse),
    Failed(FetchError),
    /// What came is for other values of the fields that it varies on: wait for those who have the same, by this key.
    OtherVariant(CacheKey),
    /// Go to the origin, and don't wait for anybody.
    Alone,
    /// The leader is gone.
    TryAgain {
        /// The origin failed it.
        failed: bool,
    },
}
