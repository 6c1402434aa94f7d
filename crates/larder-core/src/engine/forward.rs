//! To the origin and back: conditions, failures, freshening, storing, invalidation.

use http::{HeaderMap, Request, Response, StatusCode};

use super::{
    Cache, CacheResponse, FetchError,
    events::{Event, StoreStep},
    fill::{Fill, Filled},
    flights::{FlightOutcome, Leader},
    miss::{ForwardPlan, PendingRequest},
    response::ResponseHead,
    serve::serves_others,
};
use crate::{
    Body, CacheGroup, CacheKey, CacheStatus, Candidate, Candidates, Exchange, Failure, ForwardReason,
    Freshen, HeadFreshen, OriginError, OriginErrorKind, Reservation, StoredHead, TargetUri, head_within,
    invalidation_groups, invalidation_targets, not_modified, not_modified_fields, strip_hop_by_hop,
    timeout::within,
};
use std::sync::Arc;

impl Cache {
    /// Asks the origin for a request that has no body, and answers with what comes of it.
    pub(super) async fn forward(
        &self,
        pending: PendingRequest,
        candidates: Candidates,
        plan: ForwardPlan,
        leader: Option<Leader>,
    ) -> Result<CacheResponse, FetchError> {
        let mut outgoing = pending.outgoing(Body::from(pending.content.clone()));
        let conditional = plan.selected.filter(|_| !pending.options.body_in_key).is_some_and(|selected| {
            let heads = candidates.iter().map(|candidate| &*candidate.head);
            self.inner.rules.make_conditional(outgoing.headers_mut(), heads, selected.index)
        });
        let reservation = self.reserve(&pending).await;
        let (response, exchange) = match self.send(&pending, outgoing).await {
            Ok(received) => received,
            Err(error) => return self.on_origin_error(&pending, &candidates, plan, leader, error).await,
        };
        let status = response.status();
        if conditional && status == StatusCode::NOT_MODIFIED {
            return self
                .on_not_modified(pending, candidates, plan, leader, response.headers(), exchange)
                .await;
        }
        if status.is_server_error() {
            let stale = self.serve_stale_on_error(&pending, &candidates, plan, Failure::Status(status)).await;
            if let Some(answer) = stale {
                leader.iter().for_each(|leader| leader.complete(FlightOutcome::ServerError(status)));
                return Ok(answer);
            }
        }
        Ok(self
            .on_response(&pending, &candidates, plan, conditional, leader, reservation, response, exchange)
            .await)
    }

    /// What is removed while the origin is asked must not be stored when it has answered.
    async fn reserve(&self, pending: &PendingRequest) -> Option<Box<dyn Reservation>> {
        if self.inner.uncacheable.contains_no_store(&pending.key, self.inner.clock.now()) {
            // It will again, and on a far store reserving is a round trip. If it does not, the next one is stored.
            return None;
        }
        let reserving = self.inner.store.reserve(&pending.key);
        match within(self.inner.limits.lookup_timeout, reserving).await {
            Some(Ok(reservation)) => Some(reservation),
            failed => {
                self.store_failed(StoreStep::Write, failed.and_then(Result::err).as_ref());
                None
            }
        }
    }

    /// Sends, and waits for the head of the final response.
    async fn send(
        &self,
        pending: &PendingRequest,
        outgoing: Request<Body>,
    ) -> Result<(Response<Body>, Exchange), OriginError> {
        let request_time = self.inner.clock.now();
        let limit = self.inner.limits.origin_timeout;
        let (parts, body) = outgoing.into_parts();
        let fetching = |body| pending.origin.fetch(Request::from_parts(parts, body));
        let mut response = head_within(limit, body, fetching)
            .await
            .unwrap_or_else(|| Err(OriginError::new(OriginErrorKind::Timeout(limit))))?;
        strip_hop_by_hop(response.headers_mut());
        Ok((response, Exchange { request_time, response_time: self.inner.clock.now() }))
    }

    async fn on_origin_error(
        &self,
        pending: &PendingRequest,
        candidates: &Candidates,
        plan: ForwardPlan,
        leader: Option<Leader>,
        error: OriginError,
    ) -> Result<CacheResponse, FetchError> {
        if let Some(leader) = leader {
            leader.complete(FlightOutcome::Failed(error.kind()));
        }
        tracing::debug!(%error, cause = error.cause(), "the origin failed");
        self.serve_stale_on_error(pending, candidates, plan, Failure::Disconnected)
            .await
            .ok_or(FetchError::Origin(error))
    }

    /// A 304 for our own conditions: freshens what is stored (§4.3.4).
    async fn on_not_modified(
        &self,
        pending: PendingRequest,
        candidates: Candidates,
        plan: ForwardPlan,
        leader: Option<Leader>,
        fields: &HeaderMap,
        exchange: Exchange,
    ) -> Result<CacheResponse, FetchError> {
        let selected = plan.selected.map_or(0, |selected| selected.index);
        let heads = candidates.iter().map(|candidate| &*candidate.head);
        let request = pending.head();
        let stored = &candidates[selected].head;
        let rules = pending.rules(&self.inner.rules, stored.status, &stored.fields);
        let mut status = CacheStatus::forwarded(plan.fwd);
        status.fwd_status = Some(StatusCode::NOT_MODIFIED);
        let freshened = match rules.freshen(&pending.target, &request, heads, selected, fields, exchange) {
            Freshen::Updated { index, head } => {
                status.stored = true;
                self.store_freshened(&pending, &candidates[index], head, leader).await
            }
            Freshen::NoLongerStorable { index, head, .. } => {
                // It may not be kept, and what it freshened must not outlive it.
                leader.iter().for_each(|leader| self.not_shared(leader));
                let _ = self.purge_key(&pending.key).await;
                Candidate::new(candidates[index].id, Arc::from(head), candidates[index].body.clone())
            }
            _ => return self.forward_anew(pending, leader).await,
        };
        match self.serve(freshened.into(), 0, &request, None, status).await {
            Ok(answer) => Ok(answer),
            // Its body went while the origin confirmed it.
            Err(_) => self.forward_anew(pending, None).await,
        }
    }

    /// Once more without conditions: the 304 is of no use, or the body it confirmed is gone.
    async fn forward_anew(
        &self,
        pending: PendingRequest,
        leader: Option<Leader>,
    ) -> Result<CacheResponse, FetchError> {
        let plan = ForwardPlan { selected: None, fwd: ForwardReason::Stale };
        Box::pin(self.forward(pending, Candidates::none(), plan, leader)).await
    }

    /// Puts a confirmed head in the place of the old one, and lets the flight land with it.
    async fn store_freshened(
        &self,
        pending: &PendingRequest,
        old: &Candidate,
        head: Box<StoredHead>,
        leader: Option<Leader>,
    ) -> Candidate {
        let freshened = Candidate::new(old.id, Arc::from(head), old.body.clone());
        if let Some(leader) = &leader {
            if serves_others(&freshened.head) {
                leader.complete(FlightOutcome::Shared(freshened.clone()));
            } else {
                self.not_shared(leader);
            }
        }
        let limit = self.inner.limits.store_timeout;
        let freshening = self.inner.store.freshen(&pending.key, old.id, Arc::clone(&freshened.head));
        match within(limit, freshening).await {
            Some(Ok(())) => {}
            failed => self.store_failed(StoreStep::Freshen, failed.and_then(Result::err).as_ref()),
        }
        freshened
    }

    /// A full response: stored if the rules allow it, and passed on in any case.
    #[expect(
        clippy::too_many_arguments,
        reason = "one exchange, seen from all its sides; called in one place"
    )]
    async fn on_response(
        &self,
        pending: &PendingRequest,
        candidates: &Candidates,
        plan: ForwardPlan,
        conditional: bool,
        leader: Option<Leader>,
        reservation: Option<Box<dyn Reservation>>,
        response: Response<Body>,
        exchange: Exchange,
    ) -> CacheResponse {
        let (parts, body) = response.into_parts();
        let request = pending.head();
        let mut status = CacheStatus::forwarded(plan.fwd);
        status.fwd_status = Some(parts.status);
        if request.method() == http::Method::HEAD {
            self.freshen_by_head(pending, candidates, parts.status, &parts.headers, exchange).await;
        }
        let rules = pending.rules(&self.inner.rules, parts.status, &parts.headers);
        let storable = rules.storable(&pending.target, &request, parts.status, &parts.headers, exchange);
        if storable.is_ok() {
            self.inner.uncacheable.remove_no_store(&pending.key);
        }
        let body = match storable {
            Ok(head) if head.weight() <= self.inner.limits.max_head => {
                let head = Arc::new(head);
                let most = pending.options.max_object.unwrap_or(u64::MAX).min(self.inner.limits.max_object);
                self.make_room_for(pending, candidates, &head).await;
                let Filled { body, stored } = self.fill(Fill { reservation, head, leader, most }, body).await;
                status.stored = stored;
                body
            }
            unstorable => {
                let refused = unstorable.is_err() && self.inner.rules.refuses(&parts.headers).is_some();
                if let Err(why) = unstorable {
                    status.detail = Some(why.token());
                    self.observe(&Event::NotStored(why));
                }
                leader.iter().for_each(|leader| self.not_shared_since(leader, refused));
                body
            }
        };
        // The client's own conditions were taken off for ours: they are answered here.
        if conditional && not_modified(&request, parts.status, &parts.headers) {
            let fields = not_modified_fields(&parts.headers);
            return CacheResponse {
                status: StatusCode::NOT_MODIFIED,
                head: ResponseHead::Own(fields),
                age: None,
                cache_status: status,
                body: Body::empty(),
            };
        }
        CacheResponse {
            status: parts.status,
            head: ResponseHead::Own(parts.headers),
            age: None,
            cache_status: status,
            body,
        }
    }

    /// Keeps a `Vary` that is different for everyone from filling the store with one page: at the limit, the key
    /// starts anew.
    async fn make_room_for(&self, pending: &PendingRequest, candidates: &Candidates, head: &StoredHead) {
        let replaces = candidates.iter().any(|candidate| candidate.head.selecting == head.selecting);
        if candidates.len() >= self.inner.limits.max_variants && !replaces {
            let removing = self.inner.store.remove(&pending.key);
            if !matches!(within(self.inner.limits.store_timeout, removing).await, Some(Ok(()))) {
                self.store_failed(StoreStep::Remove, None);
            }
        }
    }

    /// What a response to HEAD says of what is stored for GET (§4.3.5).
    async fn freshen_by_head(
        &self,
        pending: &PendingRequest,
        candidates: &Candidates,
        status: StatusCode,
        fields: &HeaderMap,
        exchange: Exchange,
    ) {
        let heads = candidates.iter().map(|candidate| &*candidate.head);
        let rules = pending.rules(&self.inner.rules, status, fields);
        match rules.freshen_by_head(&pending.target, &pending.head(), heads, status, fields, exchange) {
            HeadFreshen::Updated { index, head } => {
                self.store_freshened(pending, &candidates[index], head, None).await;
            }
            HeadFreshen::Outdated { .. } => {
                let _ = self.purge_key(&pending.key).await;
            }
            _ => {}
        }
    }

    /// A request whose response the cache has no use for, or that has a body: forwarded as it is. What it
    /// invalidates is gone before its client hears of it (§4.4).
    pub(super) async fn pass(
        &self,
        pending: PendingRequest,
        body: Body,
        candidates: Candidates,
    ) -> Result<CacheResponse, FetchError> {
        let reusable = pending.head().may_reuse();
        let outgoing = pending.outgoing(body);
        let (response, exchange) = self.send(&pending, outgoing).await?;
        if !reusable {
            self.invalidate(&pending, invalidates(&pending, &response)).await;
        }
        let plan = ForwardPlan {
            selected: None,
            fwd: if reusable { ForwardReason::Request } else { ForwardReason::Method },
        };
        if reusable {
            // A GET with content: what it said to the origin is not in the key.
            let (parts, body) = response.into_parts();
            let mut cache_status = CacheStatus::forwarded(plan.fwd);
            cache_status.fwd_status = Some(parts.status);
            let head = ResponseHead::Own(parts.headers);
            return Ok(CacheResponse { status: parts.status, head, age: None, cache_status, body });
        }
        // Only now: what it has just invalidated may be its own key.
        let reservation = self.reserve(&pending).await;
        Ok(self.on_response(&pending, &candidates, plan, false, None, reservation, response, exchange).await)
    }

    async fn invalidate(&self, pending: &PendingRequest, gone: (Vec<TargetUri>, Vec<CacheGroup>)) {
        // A failure is counted where it happens; the answer is the origin's all the same.
        for target in gone.0 {
            // Whoever has a key of their own has changed what they find by it, and what everybody finds.
            let mut keys = vec![CacheKey::new(&target), pending.key.for_target(&target)];
            if target == pending.target {
                keys.push(pending.key.clone());
            }
            keys.dedup();
            for key in keys {
                let _ = self.purge_key(&key).await;
            }
        }
        for group in gone.1 {
            let _ = self.purge_group(&group).await;
        }
    }
}

/// What an exchange with an unsafe method takes with it.
fn invalidates(pending: &PendingRequest, response: &Response<Body>) -> (Vec<TargetUri>, Vec<CacheGroup>) {
    let (method, status, fields) = (&pending.parts.method, response.status(), response.headers());
    (
        invalidation_targets(method, &pending.target, status, fields),
        invalidation_groups(method, &pending.target, status, fields),
    )
}
