//! Handles a full response: serves a stale one instead of a server error if permitted; otherwise
//! stores it if the rules allow that, and returns it in any case.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, response::Parts};

use super::{
    super::{
        context::Context,
        events::{Event, NotStored},
        excess::{admits, may_exceed},
        fill::{Fill, Filled, fill},
        invalidate,
        outcome::{FlightOutcome, NextRequests},
        request::PendingRequest,
        response::CacheResponse,
        serve::serve_stale_on_error,
    },
    exchange::{Fetched, OriginExchange, Reply},
    on_not_modified::store_freshened,
};
use crate::{
    Body, CacheDetail, CacheKey, CacheStatus, Candidates, NotStorable, Scope,
    policy::{Exchange, Failure, HeadFreshen, not_modified, not_modified_fields},
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
            let max_len = exchange.request.options.max_object.unwrap_or(u64::MAX).min(cx.limits.max_object);
            let key = exchange.request.key.clone();
            let admitted = admits(cx, &key, &exchange.candidates, &head);
            if !admitted {
                report_unstorable(cx, &key, NotStorable::TooManyVariants, &mut status);
            }
            let reservation = reservation.filter(|_| admitted);
            let may_exceed = may_exceed(cx, &exchange.candidates, &head, exchange.plan.is_only_fetch);
            let fill_options = Fill { key, reservation, head, max_len, admitted, may_exceed };
            fill(cx, fill_options, body).await
        }
        Ok(_) => {
            let why = NotStorable::HeadTooLarge;
            unstorable(cx, &exchange.request.key, why, &parts.headers, &mut status, body)
        }
        Err(why) => unstorable(cx, &exchange.request.key, why, &parts.headers, &mut status, body),
    };
    status.stored = filled.stored;
    let response = own_response(&exchange, parts, status, filled.body);
    Fetched { response: Ok(response), outcome: filled.outcome, writing: filled.writing }
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
    let forbids_storing = cx.rules.forbids_storing(fields).is_some();
    Filled::unstored(body, FlightOutcome::NotShared(NextRequests::GoAlone { forbids_storing }))
}

/// Reports why a response is not stored.
fn report_unstorable(cx: &Context, key: &CacheKey, why: NotStorable, status: &mut CacheStatus) {
    status.detail = Some(CacheDetail::NotStored(why));
    cx.observe(&Event::NotStored(NotStored { key, reason: why }));
}

/// Creates the response for this request from the origin's.
///
/// This cache's conditions replaced those of the client, so the client's are evaluated here.
fn own_response(
    exchange: &OriginExchange<'_>,
    parts: Parts,
    cache_status: CacheStatus,
    body: Body,
) -> CacheResponse {
    if exchange.conditional && not_modified(&exchange.request.head(), parts.status, &parts.headers) {
        let fields = not_modified_fields(&parts.headers);
        return CacheResponse::from_origin(StatusCode::NOT_MODIFIED, fields, cache_status, Body::empty());
    }
    let response = CacheResponse::from_origin(parts.status, parts.headers, cache_status, body);
    response.without_body_for(&exchange.request.parts.method)
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
