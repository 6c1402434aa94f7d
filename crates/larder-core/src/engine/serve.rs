//! Creates the response from a stored one: whole, in parts, 304 or 416 (RFC 9111 §4.3.2, RFC 9110
//! §14). Which of these it is, [`StoredHead::serve`] decides; this file opens the body. `resume`
//! continues it if the store fails while it is read.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, Method};

use super::{
    context::Context,
    decide::ForwardPlan,
    request::PendingRequest,
    response::{CacheResponse, OriginParts, ResponseHead},
    resume::{ResumableBody, StoredResponse, open_source, origin::RestOrigin, whole},
};
use crate::{
    Body, CacheDetail, CacheKey, CacheStatus, Candidate, Candidates, EntryId, RequestHead, RequestHeaders,
    StoredBody, StoredHead,
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
    cx: &Arc<Context>,
    key: &CacheKey,
    candidates: Candidates,
    index: usize,
    request: &RequestHead<'_, F>,
    age: Option<Duration>,
    cache_status: CacheStatus,
) -> Result<CacheResponse, Unreadable> {
    let candidate = &candidates[index];
    let stored = &*candidate.head;
    if !request.is_plain() || stored.part.is_some() {
        let form = stored.serve(request, candidate.body.content_length());
        match form {
            Serve::Whole => {}
            Serve::NotModified | Serve::NotSatisfiable { .. } => {
                return Ok(in_form(&candidate.head, &form, age, cache_status, Body::empty()));
            }
            Serve::Part(_) | Serve::Parts(_) | Serve::NotInPart => {
                return serve_parts(Opener::new(cx, key, candidate), form, age, cache_status).await;
            }
        }
    }
    let (body, rest_origin) = match &candidate.body {
        _ if request.method() == Method::HEAD => (Body::empty(), None),
        StoredBody::Whole(bytes) => (Body::from(bytes.clone()), None),
        StoredBody::Source(_) => open_whole(cx, key, candidate).await?,
    };
    Ok(CacheResponse {
        status: stored.status,
        head: ResponseHead::Stored(candidates, index),
        age,
        origin_head: None,
        cache_status,
        body,
        rest_origin,
        origin: OriginParts::default(),
    })
}

/// Opens the whole body of a response that is not in memory, and returns the place for its origin.
async fn open_whole(
    cx: &Arc<Context>,
    key: &CacheKey,
    candidate: &Candidate,
) -> Result<(Body, Option<Arc<RestOrigin>>), Unreadable> {
    let mut opener = Opener::new(cx, key, candidate);
    Ok((opener.open(None).await?, opener.rest_origin))
}

/// Creates the response from candidate `index` to a request of which the origin is known.
pub(super) async fn serve_pending<F: RequestHeaders>(
    cx: &Arc<Context>,
    request: &PendingRequest,
    candidates: Candidates,
    index: usize,
    head: &RequestHead<'_, F>,
    age: Option<Duration>,
    cache_status: CacheStatus,
) -> Result<CacheResponse, Unreadable> {
    let response = serve(cx, &request.key, candidates, index, head, age, cache_status).await?;
    if let Some(rest_origin) = &response.rest_origin {
        request.provide_origin(rest_origin);
    }
    Ok(response)
}

/// Creates the response in parts, which HEAD has not.
async fn serve_parts(
    mut opener: Opener<'_>,
    form: Serve,
    age: Option<Duration>,
    cache_status: CacheStatus,
) -> Result<CacheResponse, Unreadable> {
    // The header fields are created after the body has been opened, so that they do not add to the
    // future.
    let opened = opener.open_form(&form).await?;
    let head = &opener.candidate.head;
    let mut response = match opened {
        Opened::One(body) => in_form(head, &form, age, cache_status, body),
        several @ Opened::Several(_) => {
            let mut response = in_form(head, &form, age, cache_status, Body::empty());
            if let ResponseHead::Own(fields) = &mut response.head {
                response.body = several.into_body(&form, fields);
            }
            response
        }
    };
    response.rest_origin = opener.rest_origin;
    Ok(response)
}

/// Creates the response in another form than the whole.
fn in_form(
    stored: &StoredHead,
    form: &Serve,
    age: Option<Duration>,
    cache_status: CacheStatus,
    body: Body,
) -> CacheResponse {
    let (status, fields) = stored.fields_for(form);
    let response = CacheResponse::from_origin(status, fields, cache_status, body);
    CacheResponse { age, ..response }
}

/// The bytes of a stored response in the form in which it is served.
pub(super) enum Opened {
    One(Body),
    /// Those of [`Serve::Parts`].
    Several(VecDeque<Body>),
}

impl Opened {
    /// Returns the body of the response. `fields` are those of the response, to which those of a
    /// multipart body are added.
    pub(super) fn into_body(self, serve: &Serve, fields: &mut HeaderMap) -> Body {
        match (self, serve) {
            (Self::One(body), _) => body,
            (Self::Several(bodies), Serve::Parts(parts)) => multipart(fields, parts, bodies),
            (Self::Several(bodies), _) => Body::chain(bodies),
        }
    }
}

/// Opens bytes of one stored response. Those that a store has to read continue elsewhere if it
/// fails.
pub(super) struct Opener<'a> {
    cx: &'a Arc<Context>,
    key: &'a CacheKey,
    candidate: &'a Candidate,
    /// The origin of the response, if it is needed: bytes were opened that may be continued there.
    pub(super) rest_origin: Option<Arc<RestOrigin>>,
}

impl<'a> Opener<'a> {
    /// Creates an opener of this response, which is stored under `key`.
    pub(super) fn new(cx: &'a Arc<Context>, key: &'a CacheKey, candidate: &'a Candidate) -> Self {
        Self { cx, key, candidate, rest_origin: None }
    }

    /// Opens the bytes that are served in this form.
    pub(super) async fn open_form(&mut self, serve: &Serve) -> Result<Opened, Unreadable> {
        let offset = self.candidate.head.part.map_or(0, |stored| stored.first);
        let range = match serve {
            Serve::Whole => None,
            Serve::Part(part) => Some(within_body(part, offset)),
            Serve::NotModified | Serve::NotSatisfiable { .. } => Some(0..0),
            Serve::NotInPart => return Err(Unreadable),
            // Boxed, so that it adds nothing to the future of other requests.
            Serve::Parts(parts) => return Box::pin(self.open_parts(parts, offset)).await,
        };
        self.open(range).await.map(Opened::One)
    }

    /// Opens several ranges.
    async fn open_parts(&mut self, parts: &[ByteRange], offset: u64) -> Result<Opened, Unreadable> {
        let mut bodies = VecDeque::with_capacity(parts.len());
        for part in parts {
            bodies.push_back(self.open(Some(within_body(part, offset))).await?);
        }
        Ok(Opened::Several(bodies))
    }

    /// Opens the bytes of `range`, or the whole body for `None`.
    pub(super) async fn open(&mut self, range: Option<Range<u64>>) -> Result<Body, Unreadable> {
        let (cx, body) = (self.cx, &self.candidate.body);
        let source = match body {
            StoredBody::Whole(bytes) => return whole(bytes, range).ok_or(Unreadable),
            StoredBody::Source(source) => source,
        };
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Body::empty());
        }
        let length = source.content_length();
        let stream = open_source(cx, &**source, range.clone()).await.ok_or(Unreadable)?;
        let positions = range.or(length.map(|length| 0..length));
        let to_read = positions.as_ref().map(|positions| positions.end - positions.start);
        // What is arriving is continued where it is read from the store (`fill`).
        let (Some(positions), Some(to_read), true) =
            (positions, to_read, self.candidate.id != EntryId::NOT_STORED)
        else {
            return Ok(Body::stored(stream, to_read));
        };
        let origin = self.rest_origin.get_or_insert_default();
        let response = StoredResponse::new(cx, self.key, &self.candidate.head, length, origin);
        let stream = ResumableBody::new(response, self.candidate.id, positions, stream);
        Ok(Body::from_stream_with_length(stream, to_read))
    }
}

/// Returns the positions of a part in a body that begins at `offset` of the representation.
fn within_body(part: &ByteRange, offset: u64) -> Range<u64> {
    part.first - offset..part.last + 1 - offset
}

/// Returns whether bytes of a body would have to be waited for that arrive much later than the
/// others: they begin more than `limit` bytes after the bytes before `arrived`, which are there.
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

/// Returns the multipart body of these ranges with their bodies, and sets its type.
pub(super) fn multipart(fields: &mut HeaderMap, parts: &[ByteRange], bodies: VecDeque<Body>) -> Body {
    let multipart = Multipart::new(&random_boundary(), fields);
    let mut all = VecDeque::with_capacity(2 * parts.len() + 1);
    for (part, body) in parts.iter().zip(bodies) {
        all.push_back(Body::from(multipart.before(part)));
        all.push_back(body);
    }
    all.push_back(Body::from(multipart.end()));
    Body::chain(all)
}

/// Returns a text that no representation contains, other than by chance: its author cannot know it.
fn random_boundary() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

/// Serves a stale response instead of an error, if the rules permit it (§4.2.4, RFC 5861 §4).
pub(super) async fn serve_stale_on_error(
    cx: &Arc<Context>,
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
    serve_pending(cx, pending, candidates.clone(), selected.index, &head, Some(selected.age), status)
        .await
        .ok()
}
