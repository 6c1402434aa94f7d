//! Creates the response from a stored one: whole, a part, 304 or 416 (RFC 9111 §4.3.2, RFC 9110
//! §14). Which of these it is, [`StoredHead::serve`] decides; this file opens the body.

use std::{ops::Range, time::Duration};

use http::Method;

use super::{
    context::Context,
    decide::ForwardPlan,
    events::StoreStep,
    request::PendingRequest,
    response::{CacheResponse, ResponseHead},
};
use crate::{
    Body, CacheDetail, CacheStatus, Candidates, RequestHead, RequestHeaders, StoredBody,
    policy::{Failure, Serve},
};

/// The stored response cannot be read. The engine treats it as a miss.
#[derive(Debug)]
pub(super) struct Unreadable;

/// Creates the response from candidate `index`.
///
/// The body is opened here, before any byte of the response is sent: a body that was removed
/// after the lookup is a miss.
pub(super) async fn serve<F: RequestHeaders>(
    cx: &Context,
    candidates: Candidates,
    index: usize,
    request: &RequestHead<'_, F>,
    age: Option<Duration>,
    cache_status: CacheStatus,
) -> Result<CacheResponse, Unreadable> {
    let candidate = &candidates[index];
    let stored = &*candidate.head;
    let serve = if request.is_plain() && stored.part.is_none() {
        Serve::Whole
    } else {
        stored.serve(request, candidate.body.content_length())
    };
    let range = match serve {
        Serve::Whole => None,
        Serve::Part(part) => {
            let offset = stored.part.map_or(0, |stored| stored.first);
            Some(part.first - offset..part.last + 1 - offset)
        }
        Serve::NotModified | Serve::NotSatisfiable { .. } => Some(0..0),
        Serve::NotInPart => return Err(Unreadable),
    };
    let body = if request.method() == Method::HEAD {
        Body::empty()
    } else {
        open(cx, &candidate.body, range).await?
    };
    if serve == Serve::Whole {
        let status = stored.status;
        return Ok(CacheResponse {
            status,
            head: ResponseHead::Stored(candidates, index),
            age,
            origin_head: None,
            cache_status,
            body,
        });
    }
    let (status, fields) = stored.fields_for(serve);
    Ok(CacheResponse { status, head: ResponseHead::Own(fields), age, origin_head: None, cache_status, body })
}

/// Opens the bytes of `range`, or the whole body for `None`.
async fn open(cx: &Context, body: &StoredBody, range: Option<Range<u64>>) -> Result<Body, Unreadable> {
    match (body, range) {
        (_, Some(range)) if range.is_empty() => Ok(Body::empty()),
        (StoredBody::Whole(bytes), None) => Ok(Body::from(bytes.clone())),
        (StoredBody::Whole(bytes), Some(range)) => {
            let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let (first, end) = range.filter(|(_, end)| *end <= bytes.len()).ok_or(Unreadable)?;
            Ok(Body::from(bytes.slice(first..end)))
        }
        (StoredBody::Source(source), range) => {
            let length = range.as_ref().map(|range| range.end - range.start).or(source.content_length());
            let stream = cx.store_call(StoreStep::Open, cx.limits.lookup_timeout, source.stream(range)).await;
            Ok(Body::stored(stream.ok_or(Unreadable)?, length))
        }
    }
}

/// Serves a stale response instead of an error, if the rules permit it (§4.2.4, RFC 5861 §4).
pub(super) async fn serve_stale_on_error(
    cx: &Context,
    pending: &PendingRequest,
    candidates: &Candidates,
    plan: ForwardPlan,
    failure: Failure,
) -> Option<CacheResponse> {
    let selected = plan.selected?;
    let head = pending.head();
    let now = cx.now();
    let stored = &candidates.get(selected.index)?.head;
    cx.rules.stale_on_failure(&head, stored, now, failure)?;
    let mut status = plan.status();
    status.ttl = Some(selected.ttl);
    status.detail = Some(CacheDetail::StaleIfError);
    if let Failure::Status(code) = failure {
        status.fwd_status = Some(code);
    }
    serve(cx, candidates.clone(), selected.index, &head, Some(selected.age), status).await.ok()
}
