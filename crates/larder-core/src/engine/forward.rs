//! Forwards requests to the origin and handles the responses: conditions, failures, freshening,
//! storing and invalidation.
//!
//! Bodies go through `fill`; `miss` decides which requests are forwarded.

use http::{HeaderMap, Request, Response, StatusCode};

use super::{
    Cache, CacheResponse, FetchError,
    events::{Event, StoreStep},
    fill::{Fill, FillResult},
    flights::{FlightOutcome, Leader},
    miss::ForwardPlan,
    pending::PendingRequest,
    response::ResponseHead,
    serve::is_shareable,
};
use crate::{
    Body, CacheGroup, CacheKey, CacheStatus, Candidate, Candidates, Exchange, Failure, ForwardReason,
    Freshen, HeadFreshen, OriginError, OriginErrorKind, Reservation, StoredHead, TargetUri, head_within,
    invalidation_groups, invalidation_targets, not_modified, not_modified_fields, strip_hop_by_hop,
    timeout::within,
};
use std::sync::Arc;

impl Cache {
    /// Forwards a request to the origin and returns the response to serve.
    ///
    /// The request has no body, except one that is part of the key
    /// ([`FetchOptions::body_in_key`](super::FetchOptions)).
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
            if let Some(response) = stale {
                leader.iter().for_each(|leader| leader.complete(FlightOutcome::ServerError(status)));
                return Ok(response);
            }
        }
        Ok(self
            .on_response(&pending, &candidates, plan, conditional, leader, reservation, response, exchange)
            .await)
    }

    /// Reserves the key in the store before the request is sent.
    ///
    /// A removal while the origin is working then prevents the response from being stored. Returns
    /// `None` if the last response of the key forbade storing, or if the store fails.
    async fn reserve(&self, pending: &PendingRequest) -> Option<Box<dyn Reservation>> {
        if self.inner.uncacheable.forbids_storing(&pending.key, self.inner.clock.now()) {
            // The next response will probably forbid storing as well, and a reservation in a remote
            // store costs a round trip. If it does not, the response after it is stored.
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

    /// Sends the request and returns the final response once its head has arrived.
    async fn send(
        &self,
        pending: &PendingRequest,
        outgoing: Request<Body>,
    ) -> Result<(Response<Body>, Exchange), OriginError> {
        let request_time = self.inner.clock.now();
        let limit = self.inner.limits.origin_timeout;
        let (parts, body) = outgoing.into_parts();
        let fetch = |body| pending.origin.fetch(Request::from_parts(parts, body));
        let mut response = head_within(limit, body, fetch)
            .await
            .unwrap_or_else(|| Err(OriginError::new(OriginErrorKind::Timeout(limit))))?;
        strip_hop_by_hop(response.headers_mut());
        Ok((response, Exchange { request_time, response_time: self.inner.clock.now() }))
    }

    /// Handles a request that got no response from the origin: serves a stale response if
    /// permitted.
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

    /// Handles a 304 to conditions that this cache added: freshens the stored response (§4.3.4) and
    /// serves it.
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
                // The freshened response may no longer be stored, and its older version must not
                // outlive it.
                leader.iter().for_each(|leader| self.complete_not_shared(leader));
                let _ = self.purge_key(&pending.key).await;
                Candidate::new(candidates[index].id, Arc::from(head), candidates[index].body.clone())
            }
            _ => return self.forward_unconditionally(pending, leader).await,
        };
        match self.serve(freshened.into(), 0, &request, None, status).await {
            Ok(response) => Ok(response),
            // The body was removed while the origin validated it.
            Err(_) => self.forward_unconditionally(pending, None).await,
        }
    }

    /// Forwards the request again without conditions: the 304 matches no stored response, or the
    /// validated body has been removed.
    async fn forward_unconditionally(
        &self,
        pending: PendingRequest,
        leader: Option<Leader>,
    ) -> Result<CacheResponse, FetchError> {
        let plan = ForwardPlan { selected: None, fwd: ForwardReason::Stale };
        Box::pin(self.forward(pending, Candidates::none(), plan, leader)).await
    }

    /// Replaces the head of a validated entry in the store, and completes the flight with it.
    async fn store_freshened(
        &self,
        pending: &PendingRequest,
        old: &Candidate,
        head: Box<StoredHead>,
        leader: Option<Leader>,
    ) -> Candidate {
        let freshened = Candidate::new(old.id, Arc::from(head), old.body.clone());
        if let Some(leader) = &leader {
            if is_shareable(&freshened.head) {
                leader.complete(FlightOutcome::Shared(freshened.clone()));
            } else {
                self.complete_not_shared(leader);
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

    /// Handles a full response: stores it if the rules allow that, and returns it in any case.
    #[expect(clippy::too_many_arguments, reason = "the parts of one exchange")]
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
            self.inner.uncacheable.allow_storing(&pending.key);
        }
        let body = match storable {
            Ok(head) if head.weight() <= self.inner.limits.max_head => {
                let head = Arc::new(head);
                let max_len =
                    pending.options.max_object.unwrap_or(u64::MAX).min(self.inner.limits.max_object);
                self.enforce_max_variants(pending, candidates, &head).await;
                let FillResult { body, stored } =
                    self.fill(Fill { reservation, head, leader, max_len }, body).await;
                status.stored = stored;
                body
            }
            unstorable => {
                let forbids_storing =
                    unstorable.is_err() && self.inner.rules.forbids_storing(&parts.headers).is_some();
                if let Err(why) = unstorable {
                    status.detail = Some(why.token());
                    self.observe(&Event::NotStored(why));
                }
                leader.iter().for_each(|leader| self.complete_uncacheable(leader, forbids_storing));
                body
            }
        };
        // This cache's conditions replaced those of the client, so the client's are evaluated here.
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

    /// Removes all variants of the key if one more would exceed the limit.
    ///
    /// This keeps a `Vary` that differs for each client from filling the store with one page.
    async fn enforce_max_variants(
        &self,
        pending: &PendingRequest,
        candidates: &Candidates,
        head: &StoredHead,
    ) {
        let replaces = candidates.iter().any(|candidate| candidate.head.selecting == head.selecting);
        if candidates.len() >= self.inner.limits.max_variants && !replaces {
            let removing = self.inner.store.remove(&pending.key);
            if !matches!(within(self.inner.limits.store_timeout, removing).await, Some(Ok(()))) {
                self.store_failed(StoreStep::Remove, None);
            }
        }
    }

    /// Applies a response to HEAD to the stored responses to GET (§4.3.5).
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
            HeadFreshen::Stale { .. } => {
                let _ = self.purge_key(&pending.key).await;
            }
            _ => {}
        }
    }

    /// Forwards a request with a body, or with a method other than GET and HEAD.
    ///
    /// No conditions are added. Whatever it invalidates has been removed before the client
    /// gets the response (§4.4).
    pub(super) async fn forward_unchanged(
        &self,
        pending: PendingRequest,
        body: Body,
        candidates: Candidates,
    ) -> Result<CacheResponse, FetchError> {
        let reusable = pending.head().may_reuse();
        let outgoing = pending.outgoing(body);
        let (response, exchange) = self.send(&pending, outgoing).await?;
        if !reusable {
            self.invalidate(&pending, invalidation_scope(&pending, &response)).await;
        }
        let plan = ForwardPlan {
            selected: None,
            fwd: if reusable { ForwardReason::Request } else { ForwardReason::Method },
        };
        if reusable {
            // A GET with content: the content is not in the key.
            let (parts, body) = response.into_parts();
            let mut cache_status = CacheStatus::forwarded(plan.fwd);
            cache_status.fwd_status = Some(parts.status);
            let head = ResponseHead::Own(parts.headers);
            return Ok(CacheResponse { status: parts.status, head, age: None, cache_status, body });
        }
        // Not earlier: the request may have invalidated its own key.
        let reservation = self.reserve(&pending).await;
        Ok(self.on_response(&pending, &candidates, plan, false, None, reservation, response, exchange).await)
    }

    /// Purges the targets and groups that an unsafe request has invalidated.
    async fn invalidate(&self, pending: &PendingRequest, targets: (Vec<TargetUri>, Vec<CacheGroup>)) {
        // A failure is reported where it occurs; the client still gets the origin's response.
        for target in targets.0 {
            // A request with a key of its own has changed what is stored under that key and under
            // the plain key.
            let mut keys = vec![CacheKey::new(&target), pending.key.for_target(&target)];
            if target == pending.target {
                keys.push(pending.key.clone());
            }
            keys.dedup();
            for key in keys {
                let _ = self.purge_key(&key).await;
            }
        }
        for group in targets.1 {
            let _ = self.purge_group(&group).await;
        }
    }
}

/// Returns the targets and groups that an exchange with an unsafe method invalidates.
fn invalidation_scope(
    pending: &PendingRequest,
    response: &Response<Body>,
) -> (Vec<TargetUri>, Vec<CacheGroup>) {
    let (method, status, fields) = (&pending.parts.method, response.status(), response.headers());
    (
        invalidation_targets(method, &pending.target, status, fields),
        invalidation_groups(method, &pending.target, status, fields),
    )
}
