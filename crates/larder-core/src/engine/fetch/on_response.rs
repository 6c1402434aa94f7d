//! Handles a full response: serves a stale one instead of a server error if permitted; otherwise
//! stores it if the rules allow that, and returns it in any case.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, response::Parts};
use http_body::Body as _;

use super::{
    super::{
        context::Context,
        events::{Event, NotStored},
        excess::{admits, may_exceed},
        fill::{Fill, Filled, fill},
        invalidate,
        outcome::{FlightOutcome, NextRequests},
        request::{Forward, PendingRequest},
        response::CacheResponse,
        serve::{Opener, is_out_of_reach, serve_stale_on_error},
    },
    exchange::{Fetched, OriginExchange, Reply},
    on_not_modified::store_freshened,
};
use crate::{
    Body, CacheDetail, CacheKey, CacheStatus, Candidate, Candidates, NotStorable, Scope,
    policy::{Exchange, Failure, HeadFreshen, Serve, fields_in_form, serve_arrived},
};

/// Returns a stored response instead of a server error if the rules permit it, otherwise the
/// response, which is stored if the rules allow that.
pub(super) async fn on_response(cx: &Arc<Context>, exchange: OriginExchange<'_>, reply: Reply) -> Fetched {
    let status = reply.response.status();
    if status.is_server_error() {
        let OriginExchange { request, candidates, plan, .. } = &exchange;
        let failure = Failure::Status(status);
        if let Some(stale) = serve_stale_on_error(cx, request, candidates, *plan, failure).await {
            let outcome = FlightOutcome::ServerError(status);
            return Fetched { response: Ok(stale), outcome, writing: None };
        }
    }
    store_response(cx, exchange, reply).await
}

/// Stores a response if the rules allow that, and returns it.
pub(super) async fn store_response(
    cx: &Arc<Context>,
    mut exchange: OriginExchange<'_>,
    reply: Reply,
) -> Fetched {
    let Reply { response, times, .. } = reply;
    let (parts, body) = response.into_parts();
    let request = exchange.request.head();
    let mut status = exchange.plan.status();
    status.fwd_status = Some(parts.status);
    if request.method() == Method::HEAD {
        freshen_by_head(cx, exchange.request, &exchange.candidates, &parts, times).await;
    }
    let rules = exchange.request.rules(&cx.rules, parts.status, &parts.headers);
    let storable = rules.storable(&exchange.request.target, &request, parts.status, &parts.headers, times);
    if storable.is_ok() {
        cx.uncacheable.allow_storing(&exchange.request.key);
    }
    let reservation = exchange.reservation.take();
    let filled = match storable {
        Ok(head) if head.weight() <= cx.limits.max_head => {
            let head = Arc::new(head);
            let max_len = exchange.request.max_object(&cx.limits);
            let key = exchange.request.key.clone();
            let admitted = admits(cx, &key, &exchange.candidates, &head);
            if !admitted {
                report_unstorable(cx, &key, NotStorable::TooManyVariants, &mut status);
            }
            let reservation = reservation.filter(|_| admitted);
            let may_exceed = may_exceed(cx, &exchange.candidates, &head, exchange.plan.is_only_fetch);
            let request = exchange.request;
            let fill_options = Fill { key, reservation, head, max_len, admitted, may_exceed, request };
            fill(cx, fill_options, body).await
        }
        Ok(_) => {
            let why = NotStorable::HeadTooLarge;
            unstorable(cx, &exchange.request.key, why, &parts.headers, &mut status, body)
        }
        Err(why) => unstorable(cx, &exchange.request.key, why, &parts.headers, &mut status, body),
    };
    if let Some(is_stored) = filled.stored {
        status.set_storing(is_stored);
    }
    let Filled { body, outcome, writing, .. } = filled;
    let OriginExchange { request, conditional, .. } = exchange;
    let mut response = if conditional || request.forward == Forward::Whole {
        // Boxed, so that it adds nothing to the future of other requests.
        Box::pin(evaluate_here(cx, request, parts, status, body, &outcome)).await
    } else {
        CacheResponse::from_origin(parts.status, parts.headers, status, body)
            .with_parts(parts.version, parts.extensions)
    };
    response.drop_body_for(&request.parts.method);
    Fetched { response: Ok(response), outcome, writing }
}

/// Returns the body of a response that the rules exclude from the store, and reports why.
fn unstorable(
    cx: &Context,
    key: &CacheKey,
    why: NotStorable,
    fields: &HeaderMap,
    status: &mut CacheStatus,
    body: Body,
) -> Filled {
    report_unstorable(cx, key, why, status);
    let next = if status.fwd_status == Some(StatusCode::RANGE_NOT_SATISFIABLE) {
        // It is about the range of this request.
        NextRequests::Collapse
    } else {
        NextRequests::GoAlone { forbids_storing: cx.rules.forbids_storing(fields).is_some() }
    };
    Filled::unstored(body, FlightOutcome::NotShared(next))
}

/// Reports why a response is not stored.
fn report_unstorable(cx: &Context, key: &CacheKey, why: NotStorable, status: &mut CacheStatus) {
    status.detail = Some(CacheDetail::NotStored(why));
    cx.observe(&Event::NotStored(NotStored { key, reason: why }));
}

/// Creates the response for this request from the origin's, where this cache has requested the
/// whole or has replaced the client's conditions by its own: applies the client's range and
/// conditions.
async fn evaluate_here(
    cx: &Arc<Context>,
    request: &PendingRequest,
    mut parts: Parts,
    cache_status: CacheStatus,
    body: Body,
    outcome: &FlightOutcome,
) -> CacheResponse {
    let head = request.head();
    let serve = serve_arrived(&head, parts.status, &parts.headers, body.size_hint().exact());
    let (shared, arrived) = match outcome {
        FlightOutcome::Shared(candidate, Some(arrived)) => (Some(candidate), Some(arrived.bytes())),
        FlightOutcome::Shared(candidate, None) => (Some(candidate), candidate.body.content_length()),
        _ => (None, body.whole_length()),
    };
    let limit = request.options.ranges.whole_limit;
    // A client that gets the whole at once is better off than one that waits for its end.
    let out_of_reach = is_out_of_reach(&serve, arrived.unwrap_or_default(), limit);
    let serve = if out_of_reach { Serve::Whole } else { serve };
    let body = in_form(cx, (&request.key, shared), body, serve, &mut parts).await;
    CacheResponse::from_origin(parts.status, parts.headers, cache_status, body)
        .with_parts(parts.version, parts.extensions)
}

/// Applies the form in which the client gets a response to its head, and returns the body in that
/// form. If the body cannot be given in that form, it is returned whole.
///
/// `shared` is the response as other requests read it, if it is stored.
async fn in_form(
    cx: &Arc<Context>,
    (key, shared): (&CacheKey, Option<&Candidate>),
    whole: Body,
    serve: Serve,
    parts: &mut Parts,
) -> Body {
    if serve == Serve::Whole {
        return whole;
    }
    let (status, mut fields) = fields_in_form(parts.status, &parts.headers, &serve);
    let opened = match shared {
        Some(candidate) => Opener::new(cx, key, candidate).open_form(&serve).await.ok(),
        None => None,
    };
    let opened = opened.map(|opened| opened.into_body(&serve, &mut fields));
    let body = match (opened, serve) {
        (Some(body), _) => body,
        (None, Serve::Part(part)) => whole.cut(part.first..part.last + 1),
        (None, Serve::NotModified | Serve::NotSatisfiable { .. }) => Body::empty(),
        (None, _) => return whole,
    };
    (parts.status, parts.headers) = (status, fields);
    body
}

/// Applies a response to HEAD to the stored responses to GET (RFC 9111 §4.3.5).
async fn freshen_by_head(
    cx: &Arc<Context>,
    request: &PendingRequest,
    candidates: &Candidates,
    parts: &Parts,
    times: Exchange,
) {
    let heads = candidates.iter().map(|candidate| &*candidate.head);
    let (status, fields) = (parts.status, &parts.headers);
    let rules = request.rules(&cx.rules, status, fields);
    match rules.freshen_by_head(&request.target, &request.head(), heads, status, fields, times) {
        HeadFreshen::Updated { index, head } => {
            let (_, _, writing) = store_freshened(cx, &request.key, &candidates[index], head).await;
            writing.into_iter().for_each(|writing| writing.spawn(cx, ()));
        }
        HeadFreshen::Stale { .. } => {
            let _ = invalidate::remove(cx, Scope::Key(&request.key)).await;
        }
        HeadFreshen::Unrelated => {}
    }
}
