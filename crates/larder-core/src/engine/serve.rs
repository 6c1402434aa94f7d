//! Creates the response from a stored one: whole, in parts, 304 or 416 (RFC 9111 §4.3.2, RFC 9110
//! §14). Which of these it is, [`StoredHead::serve`] decides; this file opens the body.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    ops::Range,
    time::Duration,
};

use http::{HeaderMap, Method};

use super::{
    context::Context,
    decide::ForwardPlan,
    events::StoreStep,
    request::PendingRequest,
    response::{CacheResponse, ResponseHead},
};
use crate::{
    Body, CacheDetail, CacheStatus, Candidate, Candidates, RequestHead, RequestHeaders, StoredBody,
    policy::{ByteRange, Failure, Multipart, Serve},
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
    if serve == Serve::Whole {
        let head_only = request.method() == Method::HEAD;
        let body = if head_only { Body::empty() } else { open(cx, &candidate.body, None).await? };
        return Ok(CacheResponse {
            status: stored.status,
            head: ResponseHead::Stored(candidates, index),
            age,
            origin_head: None,
            cache_status,
            body,
        });
    }
    let (status, mut fields) = stored.fields_for(&serve);
    let body = open_form(cx, candidate, &serve, &mut fields).await?;
    let body = if request.method() == Method::HEAD { Body::empty() } else { body };
    Ok(CacheResponse { status, head: ResponseHead::Own(fields), age, origin_head: None, cache_status, body })
}

/// Opens the bytes of a stored response that are served in this form, other than the whole.
/// `fields` are those of the response, to which those of a multipart body are added.
pub(super) async fn open_form(
    cx: &Context,
    candidate: &Candidate,
    serve: &Serve,
    fields: &mut HeaderMap,
) -> Result<Body, Unreadable> {
    let offset = candidate.head.part.map_or(0, |stored| stored.first);
    let within_body = |part: &ByteRange| part.first - offset..part.last + 1 - offset;
    match serve {
        Serve::Whole => open(cx, &candidate.body, None).await,
        Serve::Part(part) => open(cx, &candidate.body, Some(within_body(part))).await,
        Serve::Parts(parts) => {
            let multipart = Multipart::new(&random_boundary(), fields);
            let mut bodies = VecDeque::with_capacity(2 * parts.len() + 1);
            for part in parts {
                bodies.push_back(Body::from(multipart.before(part)));
                bodies.push_back(open(cx, &candidate.body, Some(within_body(part))).await?);
            }
            bodies.push_back(Body::from(multipart.end()));
            Ok(Body::chain(bodies))
        }
        Serve::NotModified | Serve::NotSatisfiable { .. } => Ok(Body::empty()),
        Serve::NotInPart => Err(Unreadable),
    }
}

/// Returns whether bytes of a body would have to be waited for that arrive much later than the
/// others: they begin more than `limit` bytes after those that have arrived.
///
/// Also if several ranges are not in the order in which they arrive.
pub(super) fn is_out_of_reach(serve: &Serve, arrived: u64, limit: u64) -> bool {
    let reach = arrived.saturating_add(limit);
    match serve {
        Serve::Part(part) => part.first > reach,
        Serve::Parts(parts) => {
            !parts.is_sorted_by_key(|part| part.first) || parts.iter().any(|part| part.first > reach)
        }
        _ => false,
    }
}

/// Returns a text that no representation contains, other than by chance: its author cannot know it.
fn random_boundary() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
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
