//! Sends a response body to the client and to the store at the same time.
//!
//! Chunks that arrived together with the head are read without waiting. If they are the whole body,
//! it is stored and served from memory, and no task is spawned. Otherwise a task continues to read
//! the body ([`BodyFanout`]), even if the client disconnects.
//!
//! The response never waits for the store: store operations that are not ready at once continue in
//! the background (`writing`). `fetch` decides which responses are stored, `read_ahead` reads what
//! has arrived, `fanout` distributes the bodies that are still arriving, and `backfill` reads one
//! of them for one client.

mod arriving;
mod backfill;
mod fanout;
mod read_ahead;
mod readers;
mod writing;

use std::{collections::VecDeque, sync::Arc, task::Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;

pub(super) use self::writing::Writing;
use self::{
    arriving::ArrivingBody,
    fanout::{BodyFanout, WINDOW},
    read_ahead::{PrefixedBody, ReadAhead, Tail, read_ahead, total},
    writing::{Begun, StreamingFill, write_whole},
};
use super::{
    context::Context,
    events::{BodyBroken, Event, StoreStep},
    outcome::{FlightOutcome, NextRequests},
    request::PendingRequest,
    resume::{StoredResponse, origin::RestOrigin},
};
use crate::{
    Body, BodyError, BodySource, CacheKey, Candidate, EntryId, Reservation, StoredBody, StoredHead,
    timeout::{poll_once, within},
};

/// A response to be stored.
pub(super) struct Fill<'a> {
    pub(super) key: CacheKey,
    /// The reservation from before the request to the origin; `None` if there is none, so that the
    /// response is not stored.
    pub(super) reservation: Option<Box<dyn Reservation>>,
    pub(super) head: Arc<StoredHead>,
    /// Longest body that is stored, in bytes.
    pub(super) max_len: u64,
    /// Whether the key has room for the response, among its variants. Otherwise there is no
    /// reservation.
    pub(super) admitted: bool,
    /// Whether the key may have too many variants once the response is stored.
    pub(super) may_exceed: bool,
    /// The request that is answered. A long body is continued with it if the store cannot read what
    /// it has received.
    pub(super) request: &'a PendingRequest,
}

/// The result of a fill, as far as it is known when the response is sent.
pub(super) struct Filled {
    /// The client's body.
    pub(super) body: Body,
    /// Whether the response has been stored, or is being stored; `None` if it is not stored.
    pub(super) stored: Option<bool>,
    /// What the requests that wait for this response may do with it.
    pub(super) outcome: FlightOutcome,
    /// The rest of the writing, if any.
    pub(super) writing: Option<Writing>,
}

impl Filled {
    /// Creates the result for a body that is not stored.
    pub(super) fn unstored(body: Body, outcome: FlightOutcome) -> Self {
        Self { body, stored: None, outcome, writing: None }
    }
}

/// Sends `body` to the client and to the store.
pub(super) async fn fill(cx: &Arc<Context>, fill: Fill<'_>, mut body: Body) -> Filled {
    let announced = body.size_hint().exact();
    // The body of a 206 must be as long as its Content-Range states (RFC 9110 §14.4).
    let length = fill.head.part.map(|part| part.last - part.first + 1).or(announced);
    if announced.is_some_and(|announced| Some(announced) != length) {
        return Filled::unstored(body, FlightOutcome::UNSHAREABLE);
    }
    if let Some(length) = length.filter(|length| *length > fill.max_len) {
        return Filled::unstored(body, too_long(cx, &fill, length));
    }
    match read_ahead(&mut body).await {
        ReadAhead::Complete(bytes, trailers) if bytes.len() as u64 > fill.max_len => {
            let outcome = too_long(cx, &fill, bytes.len() as u64);
            Filled::unstored(whole(bytes, trailers), outcome)
        }
        ReadAhead::Complete(bytes, trailers) if length.is_none_or(|length| length == bytes.len() as u64) => {
            fill_whole(cx, fill, bytes, trailers).await
        }
        ReadAhead::Complete(bytes, _) => {
            let error = "the body does not have the announced length".into();
            fail_body(cx, &fill.key, VecDeque::from([bytes]), error)
        }
        ReadAhead::Failed(chunks, error) => fail_body(cx, &fill.key, chunks, error),
        ReadAhead::Partial(chunks) if length.is_some_and(|length| length < total(&chunks)) => {
            fail_body(cx, &fill.key, chunks, "the body is longer than announced".into())
        }
        ReadAhead::Partial(chunks) => fill_streaming(cx, fill, chunks, body, length).await,
    }
}

/// Returns the outcome for a response that is longer than it may be. The limit of a caller concerns
/// no other requests.
fn too_long(cx: &Context, fill: &Fill<'_>, length: u64) -> FlightOutcome {
    if length > cx.limits.max_object {
        FlightOutcome::UNSHAREABLE
    } else {
        FlightOutcome::TooLong(fill.max_len)
    }
}

/// Returns a body of the chunks that arrived, followed by the error. Followers fetch again on
/// their own.
fn fail_body(cx: &Context, key: &CacheKey, chunks: VecDeque<Bytes>, error: BodyError) -> Filled {
    cx.observe(&Event::BodyBroken(BodyBroken { key }));
    let body = Body::stream(PrefixedBody { chunks, tail: Tail::Failure(Some(error)) });
    Filled::unstored(body, FlightOutcome::NotShared(NextRequests::Collapse))
}

/// Returns the body of one client, with its trailers. They are not stored.
fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Body {
    if trailers.is_none() {
        return Body::from(bytes);
    }
    let chunks = if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) };
    Body::stream(PrefixedBody { chunks, tail: Tail::Trailers(trailers) })
}

/// Serves and stores a body that is in memory.
async fn fill_whole(cx: &Arc<Context>, fill: Fill<'_>, bytes: Bytes, trailers: Option<HeaderMap>) -> Filled {
    let Fill { key, reservation, head, may_exceed, .. } = fill;
    let body = StoredBody::Whole(bytes.clone());
    let outcome = FlightOutcome::of_stored(Candidate::new(EntryId::NOT_STORED, Arc::clone(&head), body));
    let Some(reservation) = reservation else {
        return Filled { body: whole(bytes, trailers), stored: None, outcome, writing: None };
    };
    let (shared, chunk) = (Arc::clone(cx), bytes.clone());
    let (stored, writing) =
        Writing::start(async move { write_whole(&shared, &key, reservation, head, chunk, may_exceed).await })
            .await;
    Filled { body: whole(bytes, trailers), stored, outcome, writing }
}

/// Serves and stores a body that is still arriving. The result's `writing` reads it for all
/// readers.
async fn fill_streaming(
    cx: &Arc<Context>,
    fill: Fill<'_>,
    chunks: VecDeque<Bytes>,
    rest: Body,
    length: Option<u64>,
) -> Filled {
    let Fill { key, reservation, head, max_len, admitted, may_exceed, request } = fill;
    let unstored = |chunks, rest| {
        let body = Body::stream(PrefixedBody { chunks, tail: Tail::Body(rest) });
        // Too many variants are not a reason to collapse none of them.
        let collapse = FlightOutcome::NotShared(NextRequests::Collapse);
        Filled::unstored(body, if admitted { FlightOutcome::UNSHAREABLE } else { collapse })
    };
    let Some(reservation) = reservation else { return unstored(chunks, rest) };
    let mut begin = {
        let (limit, head) = (cx.limits.store_timeout, Arc::clone(&head));
        let keep_until = head.keep_until();
        Box::pin(async move { within(limit, reservation.begin(head, length, keep_until)).await })
    };
    let begun = match poll_once(begin.as_mut()).await {
        Poll::Ready(Some(Ok(writer))) => Begun::Writer(writer),
        Poll::Ready(failed) => {
            cx.store_failed(StoreStep::Write, failed.and_then(Result::err).as_ref());
            return unstored(chunks, rest);
        }
        Poll::Pending => Begun::Pending(begin),
    };
    let fanout = BodyFanout::new(length, chunks);
    let arrived = fanout.arrived.clone();
    let source: Arc<dyn BodySource> = Arc::new(Arc::clone(&fanout));
    let body = match source.stream(None).await {
        Ok(stream) if length.is_some() => Body::stored(stream, length),
        Ok(chunks) => Body::stream(ArrivingBody { chunks, fanout: Some(Arc::clone(&fanout)) }),
        Err(error) => return fail_body(cx, &key, VecDeque::new(), error.into()),
    };
    let candidate = Candidate::new(EntryId::NOT_STORED, Arc::clone(&head), StoredBody::Source(source));
    let in_store = stored_copy(cx, request, &head, length);
    let streaming = StreamingFill { key, head, fanout, rest, begun, max_len, may_exceed, in_store };
    Filled {
        body,
        stored: Some(false),
        outcome: FlightOutcome::of_stored(candidate).while_arriving(arrived),
        writing: Some(Writing::Streaming(Box::new(streaming))),
    }
}

/// Returns the description of an arriving body for clients that read it from the store, if there
/// can be some: a shorter one never leaves the window.
fn stored_copy(
    cx: &Arc<Context>,
    request: &PendingRequest,
    head: &Arc<StoredHead>,
    length: Option<u64>,
) -> Option<StoredResponse> {
    if length.is_some_and(|length| length <= WINDOW) {
        return None;
    }
    let origin = Arc::new(RestOrigin::default());
    if head.validator().is_some_and(|validator| validator.is_strong()) {
        request.provide_origin(&origin);
    }
    Some(StoredResponse::new(cx, &request.key, head, length, &origin))
}
