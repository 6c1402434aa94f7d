//! Forwards requests to the origin and handles the responses: conditions, failures, freshening,
//! storing and invalidation.
//!
//! Bodies go through `fill`; `miss` decides which requests are forwarded.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode, response::Parts};

use super::{
    context::Context,
    decide::ForwardPlan,
    error::FetchError,
    events::{Event, StoreStep},
    fill::{Fill, FillResult, fill},
    flights::{FlightOutcome, Leader},
    pending::PendingRequest,
    purge,
    response::{CacheResponse, ResponseHead},
    serve::{is_shareable, serve, serve_stale_on_error},
};
use crate::{
    Body, CacheGroup, CacheKey, Candidate, Candidates, Exchange, Failure, ForwardReason, Freshen,
    HeadFreshen, OriginError, OriginErrorKind, Reservation, StoredHead, TargetUri, head_within,
    invalidation_groups, invalidation_targets, not_modified, not_modified_fields, strip_hop_by_hop,
};

/// A request that is sent to the origin, with everything that the handling of its response needs.
struct OriginExchange {
    pending: PendingRequest,
    candidates: Candidates,
    plan: ForwardPlan,
    /// Whether this cache added conditions to the request.
    conditional: bool,
    /// The leader of the flight, if this request is one.
    leader: Option<Leader>,
    /// The reservation from before the request; `None` if the response cannot be stored.
    reservation: Option<Box<dyn Reservation>>,
}

/// Forwards a request to the origin and returns the response to serve.
///
/// The request has no body, except one that is part of the key
/// ([`FetchOptions::body_in_key`](super::FetchOptions)).
pub(super) async fn forward(
    cx: &Arc<Context>,
    pending: PendingRequest,
    candidates: Candidates,
    plan: ForwardPlan,
    leader: Option<Leader>,
) -> Result<CacheResponse, FetchError> {
    let mut outgoing = pending.outgoing(Body::from(pending.content.clone()));
    let conditional = plan.selected.filter(|_| !pending.options.body_in_key).is_some_and(|selected| {
        let heads = candidates.iter().map(|candidate| &*candidate.head);
        cx.rules.make_conditional(outgoing.headers_mut(), heads, selected.index)
    });
    let reservation = reserve(cx, &pending).await;
    let mut exchange = OriginExchange { pending, candidates, plan, conditional, leader, reservation };
    let (response, times) = match send(cx, &exchange.pending, outgoing).await {
        Ok(received) => received,
        Err(error) => return on_origin_error(cx, &mut exchange, error).await,
    };
    if !exchange.conditional || response.status() != StatusCode::NOT_MODIFIED {
        return on_response(cx, &mut exchange, response, times).await;
    }
    match on_not_modified(cx, &mut exchange, response.headers(), times).await {
        Some(response) => Ok(response),
        None => forward_unconditionally(cx, &mut exchange).await,
    }
}

/// Forwards a request again without conditions: the 304 matches no stored response, or the
/// validated body has been removed.
async fn forward_unconditionally(
    cx: &Arc<Context>,
    exchange: &mut OriginExchange,
) -> Result<CacheResponse, FetchError> {
    let outgoing = exchange.pending.outgoing(Body::from(exchange.pending.content.clone()));
    exchange.candidates = Candidates::none();
    exchange.plan = ForwardPlan { selected: None, fwd: ForwardReason::Stale };
    exchange.conditional = false;
    exchange.reservation = reserve(cx, &exchange.pending).await;
    match send(cx, &exchange.pending, outgoing).await {
        Ok((response, times)) => on_response(cx, exchange, response, times).await,
        Err(error) => on_origin_error(cx, exchange, error).await,
    }
}

/// Reserves the key in the store before the request is sent.
///
/// A removal while the origin is working then prevents the response from being stored. Returns
/// `None` if the last response of the key forbade storing, or if the store fails.
async fn reserve(cx: &Context, pending: &PendingRequest) -> Option<Box<dyn Reservation>> {
    if cx.uncacheable.forbids_storing(&pending.key, cx.now()) {
        // The next response will probably forbid storing as well, and a reservation in a remote
        // store costs a round trip. If it does not, the response after it is stored.
        return None;
    }
    cx.store_call(StoreStep::Write, cx.limits.lookup_timeout, cx.store.reserve(&pending.key)).await
}

/// Sends the request and returns the final response once its head has arrived, with the times of
/// both.
async fn send(
    cx: &Context,
    pending: &PendingRequest,
    outgoing: Request<Body>,
) -> Result<(Response<Body>, Exchange), OriginError> {
    let request_time = cx.now();
    let limit = cx.limits.origin_timeout;
    let (parts, body) = outgoing.into_parts();
    let fetch = |body| pending.origin.fetch(Request::from_parts(parts, body));
    let mut response = head_within(limit, body, fetch)
        .await
        .unwrap_or_else(|| Err(OriginError::new(OriginErrorKind::Timeout(limit))))?;
    strip_hop_by_hop(response.headers_mut());
    Ok((response, Exchange { request_time, response_time: cx.now() }))
}

/// Handles a request that got no response from the origin: serves a stale response if permitted.
async fn on_origin_error(
    cx: &Context,
    exchange: &mut OriginExchange,
    error: OriginError,
) -> Result<CacheResponse, FetchError> {
    if let Some(leader) = exchange.leader.take() {
        leader.complete(FlightOutcome::Failed(error.kind()));
    }
    tracing::debug!(%error, cause = error.cause(), "the origin failed");
    let OriginExchange { pending, candidates, plan, .. } = exchange;
    serve_stale_on_error(cx, pending, candidates, *plan, Failure::Disconnected)
        .await
        .ok_or(FetchError::Origin(error))
}

/// Handles a 304 to conditions that this cache added: freshens the stored response (§4.3.4) and
/// serves it. Returns `None` if the request has to be sent again without conditions.
async fn on_not_modified(
    cx: &Context,
    exchange: &mut OriginExchange,
    fields: &HeaderMap,
    times: Exchange,
) -> Option<CacheResponse> {
    let OriginExchange { pending, candidates, plan, leader, .. } = exchange;
    let selected = plan.selected.map_or(0, |selected| selected.index);
    let heads = candidates.iter().map(|candidate| &*candidate.head);
    let request = pending.head();
    let stored = &candidates[selected].head;
    let rules = pending.rules(&cx.rules, stored.status, &stored.fields);
    let mut status = plan.status();
    status.fwd_status = Some(StatusCode::NOT_MODIFIED);
    let freshened = match rules.freshen(&pending.target, &request, heads, selected, fields, times) {
        Freshen::Updated { index, head } => {
            status.stored = true;
            store_freshened(cx, pending, &candidates[index], head, leader.take()).await
        }
        Freshen::NoLongerStorable { index, head, .. } => {
            // The freshened response may no longer be stored, and its older version must not
            // outlive it.
            leader.take().iter().for_each(|leader| cx.complete_not_shared(leader));
            let _ = purge::key(cx, &pending.key).await;
            Candidate::new(candidates[index].id, Arc::from(head), candidates[index].body.clone())
        }
        _ => return None,
    };
    // If it fails, the body was removed while the origin validated it.
    serve(cx, freshened.into(), 0, &request, None, status).await.ok()
}

/// Replaces the head of a validated entry in the store, and completes the flight with it.
async fn store_freshened(
    cx: &Context,
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
            cx.complete_not_shared(leader);
        }
    }
    let freshening = cx.store.freshen(&pending.key, old.id, Arc::clone(&freshened.head));
    cx.store_call(StoreStep::Freshen, cx.limits.store_timeout, freshening).await;
    freshened
}

/// Handles a full response: serves a stale one instead of a server error if permitted; otherwise
/// stores it if the rules allow that, and returns it in any case.
async fn on_response(
    cx: &Arc<Context>,
    exchange: &mut OriginExchange,
    response: Response<Body>,
    times: Exchange,
) -> Result<CacheResponse, FetchError> {
    let status = response.status();
    if status.is_server_error() {
        let OriginExchange { pending, candidates, plan, leader, .. } = exchange;
        let failure = Failure::Status(status);
        if let Some(response) = serve_stale_on_error(cx, pending, candidates, *plan, failure).await {
            leader.iter().for_each(|leader| leader.complete(FlightOutcome::ServerError(status)));
            return Ok(response);
        }
    }
    Ok(store_response(cx, exchange, response, times).await)
}

/// Stores a response if the rules allow that, and returns it.
async fn store_response(
    cx: &Arc<Context>,
    exchange: &mut OriginExchange,
    response: Response<Body>,
    times: Exchange,
) -> CacheResponse {
    let OriginExchange { pending, candidates, plan, conditional, leader, reservation } = exchange;
    let (parts, body) = response.into_parts();
    let request = pending.head();
    let mut status = plan.status();
    status.fwd_status = Some(parts.status);
    if request.method() == http::Method::HEAD {
        freshen_by_head(cx, pending, candidates, &parts, times).await;
    }
    let rules = pending.rules(&cx.rules, parts.status, &parts.headers);
    let storable = rules.storable(&pending.target, &request, parts.status, &parts.headers, times);
    if storable.is_ok() {
        cx.uncacheable.allow_storing(&pending.key);
    }
    let body = match storable {
        Ok(head) if head.weight() <= cx.limits.max_head => {
            let head = Arc::new(head);
            let max_len = pending.options.max_object.unwrap_or(u64::MAX).min(cx.limits.max_object);
            enforce_max_variants(cx, pending, candidates, &head).await;
            let FillResult { body, stored } = fill(
                cx,
                Fill { reservation: reservation.take(), head, leader: leader.take(), max_len },
                body,
            )
            .await;
            status.stored = stored;
            body
        }
        unstorable => {
            let forbids_storing = unstorable.is_err() && cx.rules.forbids_storing(&parts.headers).is_some();
            if let Err(why) = unstorable {
                status.detail = Some(why.token());
                cx.observe(&Event::NotStored(why));
            }
            leader.take().iter().for_each(|leader| cx.complete_uncacheable(leader, forbids_storing));
            body
        }
    };
    // This cache's conditions replaced those of the client, so the client's are evaluated here.
    if *conditional && not_modified(&request, parts.status, &parts.headers) {
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
    cx: &Context,
    pending: &PendingRequest,
    candidates: &Candidates,
    head: &StoredHead,
) {
    let replaces = candidates.iter().any(|candidate| candidate.head.selecting == head.selecting);
    if candidates.len() >= cx.limits.max_variants && !replaces {
        let removing = cx.store.remove(&pending.key);
        cx.store_call(StoreStep::Remove, cx.limits.store_timeout, removing).await;
    }
}

/// Applies a response to HEAD to the stored responses to GET (§4.3.5).
async fn freshen_by_head(
    cx: &Context,
    pending: &PendingRequest,
    candidates: &Candidates,
    parts: &Parts,
    times: Exchange,
) {
    let heads = candidates.iter().map(|candidate| &*candidate.head);
    let (status, fields) = (parts.status, &parts.headers);
    let rules = pending.rules(&cx.rules, status, fields);
    match rules.freshen_by_head(&pending.target, &pending.head(), heads, status, fields, times) {
        HeadFreshen::Updated { index, head } => {
            store_freshened(cx, pending, &candidates[index], head, None).await;
        }
        HeadFreshen::Stale { .. } => {
            let _ = purge::key(cx, &pending.key).await;
        }
        _ => {}
    }
}

/// Forwards a request with a body, or with a method other than GET and HEAD.
///
/// No conditions are added. Whatever it invalidates has been removed before the client
/// gets the response (§4.4).
pub(super) async fn forward_unchanged(
    cx: &Arc<Context>,
    pending: PendingRequest,
    body: Body,
    candidates: Candidates,
) -> Result<CacheResponse, FetchError> {
    let reusable = pending.head().may_reuse();
    let outgoing = pending.outgoing(body);
    let (response, times) = send(cx, &pending, outgoing).await?;
    if !reusable {
        invalidate(cx, &pending, invalidation_scope(&pending, &response)).await;
    }
    let fwd = if reusable { ForwardReason::Request } else { ForwardReason::Method };
    let plan = ForwardPlan { selected: None, fwd };
    if reusable {
        // A GET with content: the content is not in the key.
        let (parts, body) = response.into_parts();
        let mut cache_status = plan.status();
        cache_status.fwd_status = Some(parts.status);
        let head = ResponseHead::Own(parts.headers);
        return Ok(CacheResponse { status: parts.status, head, age: None, cache_status, body });
    }
    // Not earlier: the request may have invalidated its own key.
    let reservation = reserve(cx, &pending).await;
    let mut exchange =
        OriginExchange { pending, candidates, plan, conditional: false, leader: None, reservation };
    Ok(store_response(cx, &mut exchange, response, times).await)
}

/// Purges the targets and groups that an unsafe request has invalidated.
async fn invalidate(cx: &Context, pending: &PendingRequest, scope: (Vec<TargetUri>, Vec<CacheGroup>)) {
    // A failure is reported where it occurs; the client still gets the origin's response.
    for target in scope.0 {
        // A request with a key of its own has changed what is stored under that key and under
        // the plain key.
        let mut keys = vec![CacheKey::new(&target), pending.key.for_target(&target)];
        if target == pending.target {
            keys.push(pending.key.clone());
        }
        keys.dedup();
        for key in keys {
            let _ = purge::key(cx, &key).await;
        }
    }
    for group in scope.1 {
        let _ = purge::group(cx, &group).await;
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
