//! Forwards a request with a body, or with a method other than GET and HEAD, and removes what it
//! invalidates.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode};

use super::{
    super::{
        context::Context, decide::ForwardPlan, error::FetchError, forms::forms_of, invalidate,
        outcome::FlightOutcome, request::PendingRequest, response::CacheResponse,
    },
    exchange::{Fetched, OriginExchange, Reply, reserve, send},
    on_response::store_response,
};
use crate::{
    Body, CacheKey, CacheStatus, Candidates, ForwardReason, OriginError, OriginErrorKind, OwnedScope,
    policy::{invalidation_groups, invalidation_targets},
};

/// Forwards a request with a body, or with a method other than GET and HEAD.
///
/// No conditions are added. Whatever it invalidates has been removed before the client gets the
/// response (RFC 9111 §4.4).
pub(in super::super) async fn fetch_unchanged(
    cx: &Arc<Context>,
    request: &PendingRequest,
    body: Body,
    candidates: Candidates,
) -> Fetched {
    let reply = match send_once(cx, request, request.outgoing(body)).await {
        Ok(reply) => reply,
        Err(error) => return failed(error),
    };
    if request.head().may_reuse() {
        // A GET with content: the content is not in the key.
        return pass(request, reply, ForwardReason::Request);
    }
    invalidate(cx, request, &reply.response).await;
    let plan = ForwardPlan::new(None, ForwardReason::Method);
    // Not earlier: the request may have invalidated its own key.
    let reservation = reserve(cx, request).await;
    let exchange =
        OriginExchange { request, candidates, plan, conditional: false, reservation, repeats: false };
    let head_time = reply.head_time;
    let mut fetched = store_response(cx, exchange, reply).await;
    fetched.set_head_time(head_time);
    fetched
}

/// Forwards a request that bypasses the cache. If it is unsafe, whatever it invalidates has been
/// removed before the client gets the response.
pub(in super::super) async fn fetch_past_cache(
    cx: &Arc<Context>,
    request: &PendingRequest,
    body: Body,
) -> Fetched {
    let body = if request.options.body_in_key { Body::from(request.content.clone()) } else { body };
    let reply = match send_once(cx, request, request.outgoing(body)).await {
        Ok(reply) => reply,
        Err(error) => return failed(error),
    };
    if !request.head().may_reuse() {
        invalidate(cx, request, &reply.response).await;
    }
    pass(request, reply, ForwardReason::Bypass)
}

/// Returns the result of an exchange without a response.
fn failed(error: OriginError) -> Fetched {
    let outcome = FlightOutcome::of_error(&error);
    Fetched { response: Err(FetchError::Origin(error)), outcome, writing: None }
}

/// Returns a response that is not stored.
fn pass(request: &PendingRequest, reply: Reply, fwd: ForwardReason) -> Fetched {
    let (parts, body) = reply.response.into_parts();
    let mut cache_status = CacheStatus::forwarded(fwd);
    cache_status.fwd_status = Some(parts.status);
    let mut response = CacheResponse::from_origin(parts.status, parts.headers, cache_status, body)
        .with_parts(parts.version, parts.extensions);
    response.drop_body_for(&request.parts.method);
    response.origin_head = reply.head_time;
    Fetched { response: Ok(response), outcome: FlightOutcome::UNSHAREABLE, writing: None }
}

/// Sends a request that may be unsafe. If there is no response, the origin may have carried it out:
/// what it would have invalidated is removed in the background.
async fn send_once(
    cx: &Arc<Context>,
    request: &PendingRequest,
    outgoing: Request<Body>,
) -> Result<Reply, OriginError> {
    let mut unanswered = Unanswered { cx, request, is_over: false };
    let reply = send(cx, request, outgoing, cx.limits.origin_timeout).await;
    unanswered.is_over = match &reply {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), OriginErrorKind::Connect | OriginErrorKind::Busy),
    };
    reply
}

/// A request of which the origin's response is awaited.
struct Unanswered<'a> {
    cx: &'a Arc<Context>,
    request: &'a PendingRequest,
    /// Whether it was answered, or was not sent.
    is_over: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        for scope in invalidated(self.request, StatusCode::OK, &HeaderMap::new()) {
            invalidate::remove_later(self.cx, scope);
        }
    }
}

/// Purges what an unsafe request has invalidated.
async fn invalidate(cx: &Arc<Context>, request: &PendingRequest, response: &Response<Body>) {
    // A failure is reported where it occurs, and the removal is repeated; the client still gets the
    // origin's response.
    let _ = invalidate::remove_each(cx, invalidated(request, response.status(), response.headers())).await;
}

/// Returns what an exchange with an unsafe method invalidates: all that is stored of its targets,
/// and groups.
fn invalidated(request: &PendingRequest, status: StatusCode, fields: &HeaderMap) -> Vec<OwnedScope> {
    let (method, own) = (&request.parts.method, &request.target);
    let mut scopes = Vec::new();
    for target in invalidation_targets(method, own, status, fields) {
        // A request with a key of its own has changed what is stored under that key and under the
        // plain key.
        let mut keys = vec![CacheKey::new(&target), request.key.for_target(&target)];
        if target == *own {
            keys.push(request.key.clone());
        }
        keys.dedup();
        scopes.extend(keys.into_iter().map(OwnedScope::Key));
        let url = request.options.form_of.as_ref();
        scopes.extend(url.map(|url| OwnedScope::Group(forms_of(&url.for_target(&target)))));
    }
    let groups = invalidation_groups(method, own, status, fields);
    scopes.extend(groups.into_iter().map(OwnedScope::Group));
    scopes
}
