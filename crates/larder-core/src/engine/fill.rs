//! Sends a response body to the client and to the store at the same time.
//!
//! Chunks that arrived together with the head are read without waiting. If they are the whole body,
//! it is stored and served from memory, and no task is spawned. Otherwise a task continues to read
//! the body ([`BodyFanout`]), even if the client disconnects.
//!
//! The response never waits for the store: store operations that are not ready at once continue in
//! the background. `forward` decides which responses are stored, `fanout` distributes the bodies
//! that are still arriving.

use std::{collections::VecDeque, pin::Pin, sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;

use super::{
    context::Context,
    events::{Event, StoreStep},
    fanout::{BodyFanout, Completion, FanoutTimeouts},
    flights::{FlightOutcome, Leader},
    serve::is_shareable,
};
use crate::{
    Body, BodyError, BodySource, Candidate, EntryId, Reservation, StoreError, StoreErrorKind, StoreWriter,
    StoredBody, StoredHead,
    timeout::{poll_once, within},
};

/// Bytes of the body after which reading ahead ends, and a task takes over the rest. The last chunk
/// may exceed it.
const READ_AHEAD_LIMIT: usize = 64 * 1024;

/// A response to be stored.
pub(super) struct Fill {
    /// The reservation from before the request to the origin; `None` if there is none, so that the
    /// response is not stored.
    pub(super) reservation: Option<Box<dyn Reservation>>,
    pub(super) head: Arc<StoredHead>,
    /// The leader of the flight, if this request is one.
    pub(super) leader: Option<Leader>,
    /// Longest body that is stored, in bytes.
    pub(super) max_len: u64,
}

/// The result of a fill, as far as it is known when the response is sent.
pub(super) struct FillResult {
    /// The client's body.
    pub(super) body: Body,
    /// Whether the store accepts the response.
    pub(super) stored: bool,
}

/// The part of a body that could be read without waiting.
enum ReadAhead {
    Complete(Bytes),
    Partial(VecDeque<Bytes>),
    Failed(VecDeque<Bytes>, BodyError),
}

/// Sends `body` to the client and to the store.
pub(super) async fn fill(cx: &Arc<Context>, fill: Fill, mut body: Body) -> FillResult {
    let announced = body.size_hint().exact();
    // The body of a 206 must be as long as its Content-Range states (RFC 9110 §14.4).
    let length = fill.head.part.map(|part| part.last - part.first + 1).or(announced);
    if length.is_some_and(|length| length > fill.max_len) || announced.is_some_and(|a| Some(a) != length) {
        return pass_through(cx, fill.leader, body);
    }
    match read_ahead(&mut body).await {
        ReadAhead::Complete(bytes) if bytes.len() as u64 > fill.max_len => {
            pass_through(cx, fill.leader, Body::from(bytes))
        }
        ReadAhead::Complete(bytes) if length.is_none_or(|length| length == bytes.len() as u64) => {
            fill_whole(cx, fill, bytes).await
        }
        ReadAhead::Complete(bytes) => {
            let error = "the body does not have the announced length".into();
            fail_body(cx, fill.leader.as_ref(), VecDeque::from([bytes]), error)
        }
        ReadAhead::Failed(chunks, error) => fail_body(cx, fill.leader.as_ref(), chunks, error),
        ReadAhead::Partial(chunks) if length.is_some_and(|length| length < total(&chunks)) => {
            fail_body(cx, fill.leader.as_ref(), chunks, "the body is longer than announced".into())
        }
        ReadAhead::Partial(chunks) => fill_streaming(cx, fill, chunks, body, length).await,
    }
}

/// Returns the body without storing it: it is too long, or the store rejects it.
fn pass_through(cx: &Context, leader: Option<Leader>, body: Body) -> FillResult {
    if let Some(leader) = leader {
        cx.complete_not_shared(&leader);
    }
    FillResult { body, stored: false }
}

/// Returns a body of the chunks that arrived, followed by the error. Followers fetch again on
/// their own.
fn fail_body(cx: &Context, leader: Option<&Leader>, chunks: VecDeque<Bytes>, error: BodyError) -> FillResult {
    cx.observe(&Event::BodyBroken);
    if let Some(leader) = leader {
        leader.complete(FlightOutcome::NotShared);
    }
    FillResult {
        body: Body::stream(PrefixedBody { chunks, tail: Tail::Failure(Some(error)) }),
        stored: false,
    }
}

/// Serves and stores a body that is in memory.
async fn fill_whole(cx: &Arc<Context>, fill: Fill, bytes: Bytes) -> FillResult {
    let Fill { reservation, head, leader, .. } = fill;
    if let Some(leader) = &leader {
        if is_shareable(&head) {
            let body = StoredBody::Whole(bytes.clone());
            leader.complete(FlightOutcome::Shared(Candidate::new(EntryId(0), Arc::clone(&head), body)));
        } else {
            cx.complete_not_shared(leader);
        }
    }
    let shared = Arc::clone(cx);
    let chunk = bytes.clone();
    let mut writing = Box::pin(async move {
        let stored = write_whole(&shared, reservation, head, chunk).await;
        drop(leader);
        stored
    });
    let stored = match poll_once(writing.as_mut()).await {
        Poll::Ready(stored) => stored,
        Poll::Pending => {
            cx.tasks.spawn(async move {
                writing.await;
            });
            true
        }
    };
    FillResult { body: Body::from(bytes), stored }
}

/// Writes a body that is in memory to the store, and returns whether it was stored.
async fn write_whole(
    cx: &Context,
    reservation: Option<Box<dyn Reservation>>,
    head: Arc<StoredHead>,
    bytes: Bytes,
) -> bool {
    let Some(reservation) = reservation else { return false };
    let write = async {
        let mut writer = reservation.begin(head, Some(bytes.len() as u64)).await?;
        if !bytes.is_empty() {
            writer.write(bytes).await?;
        }
        writer.commit().await
    };
    let written = within(cx.limits.store_timeout, write).await;
    record_write(cx, written)
}

/// Reports the outcome of a write to the observer, and returns whether the entry was stored.
fn record_write(cx: &Context, written: Option<Result<EntryId, StoreError>>) -> bool {
    match written {
        Some(Ok(_)) => {
            cx.observe(&Event::Stored);
            true
        }
        failed => {
            cx.store_failed(StoreStep::Write, failed.and_then(Result::err).as_ref());
            false
        }
    }
}

/// Serves and stores a body that is still arriving: spawns a task that reads it for all
/// readers.
async fn fill_streaming(
    cx: &Arc<Context>,
    fill: Fill,
    chunks: VecDeque<Bytes>,
    rest: Body,
    length: Option<u64>,
) -> FillResult {
    let Fill { reservation, head, leader, max_len } = fill;
    let Some(reservation) = reservation else {
        return pass_through(cx, leader, Body::stream(PrefixedBody { chunks, tail: Tail::Body(rest) }));
    };
    let mut begin = {
        let (limit, head) = (cx.limits.store_timeout, Arc::clone(&head));
        Box::pin(async move { within(limit, reservation.begin(head, length)).await })
    };
    let begun = match poll_once(begin.as_mut()).await {
        Poll::Ready(Some(Ok(writer))) => Some(writer),
        Poll::Ready(failed) => {
            cx.store_failed(StoreStep::Write, failed.and_then(Result::err).as_ref());
            return pass_through(cx, leader, Body::stream(PrefixedBody { chunks, tail: Tail::Body(rest) }));
        }
        Poll::Pending => None,
    };
    let fanout = BodyFanout::new(length, chunks);
    let source: Arc<dyn BodySource> = Arc::new(Arc::clone(&fanout));
    let client = match source.stream(None).await {
        Ok(stream) => Body::stored(stream, length),
        Err(error) => return fail_body(cx, leader.as_ref(), VecDeque::new(), error.into()),
    };
    if let Some(leader) = &leader {
        if is_shareable(&head) {
            leader.complete(FlightOutcome::Shared(Candidate::new(
                EntryId(0),
                head,
                StoredBody::Source(source),
            )));
        } else {
            cx.complete_not_shared(leader);
        }
    }
    let shared = Arc::clone(cx);
    cx.tasks.spawn(async move {
        let cx = &*shared;
        let limits = &cx.limits;
        let timeouts = FanoutTimeouts { origin: limits.body_timeout, slow_reader: limits.store_timeout };
        let store = async {
            let writer = match begun {
                Some(writer) => Some(Ok(writer)),
                None => begin.await,
            };
            write_streaming(cx, &fanout, writer, max_len).await;
            // Not earlier: until the response is in the store, requests find it through the
            // flight.
            drop(leader);
        };
        let (completion, ()) = tokio::join!(fanout.pump(rest, timeouts), store);
        if completion == Completion::Broken {
            cx.observe(&Event::BodyBroken);
        }
    });
    FillResult { body: client, stored: true }
}

/// Writes an arriving body to the store, and commits once the body is known to be complete.
async fn write_streaming(
    cx: &Context,
    fanout: &Arc<BodyFanout>,
    writer: Option<Result<Box<dyn StoreWriter>, StoreError>>,
    max_len: u64,
) {
    let limit = cx.limits.store_timeout;
    let mut writer = match writer {
        Some(Ok(writer)) => writer,
        failed => {
            record_write(cx, failed.map(|begun| begun.map(|_| EntryId(0))));
            return fanout.store_failed(limit).await;
        }
    };
    fanout.set_follow(writer.follow());
    let mut position = 0;
    loop {
        match fanout.next_for_store(position).await {
            Ok(Some(chunk)) => {
                position += chunk.len() as u64;
                let written = if position > max_len {
                    Some(Err(StoreError::new(
                        StoreErrorKind::Full,
                        "the",
                        "the body is longer than max_object",
                    )))
                } else {
                    within(limit, writer.write(chunk)).await
                };
                if !matches!(written, Some(Ok(()))) {
                    record_write(cx, written.map(|result| result.map(|()| EntryId(0))));
                    // Keep the writer until the clients that read from it have caught up.
                    return fanout.store_failed(limit).await;
                }
            }
            Ok(None) => {
                let committed = within(limit, writer.commit()).await;
                record_write(cx, committed);
                return;
            }
            // Dropping the writer abandons the entry.
            Err(_broken) => return,
        }
    }
}

/// Reads the chunks that are available without waiting, up to a limit.
async fn read_ahead(body: &mut Body) -> ReadAhead {
    if body.is_whole() {
        return match std::mem::take(body).try_into_bytes() {
            Ok(bytes) => ReadAhead::Complete(bytes),
            Err(rest) => {
                *body = rest;
                ReadAhead::Partial(VecDeque::new())
            }
        };
    }
    let mut chunks = VecDeque::new();
    let mut length = 0;
    while length < READ_AHEAD_LIMIT {
        let next: Pin<&mut _> = std::pin::pin!(body.chunk());
        match poll_once(next).await {
            Poll::Ready(Some(Ok(chunk))) => {
                length += chunk.len();
                chunks.push_back(chunk);
            }
            Poll::Ready(Some(Err(error))) => return ReadAhead::Failed(chunks, error),
            Poll::Ready(None) => return ReadAhead::Complete(concat(&mut chunks, length)),
            Poll::Pending => break,
        }
    }
    ReadAhead::Partial(chunks)
}

/// Returns the number of bytes in `chunks`.
fn total(chunks: &VecDeque<Bytes>) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

/// Joins `chunks`, of `length` bytes in total, without a copy if there is only one.
fn concat(chunks: &mut VecDeque<Bytes>, length: usize) -> Bytes {
    if chunks.len() == 1 {
        return chunks.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(length);
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    whole.freeze()
}

/// A body with the chunks that were read from it put back in front.
struct PrefixedBody {
    chunks: VecDeque<Bytes>,
    tail: Tail,
}

/// The end of a [`PrefixedBody`].
enum Tail {
    Body(Body),
    Failure(Option<BodyError>),
}

impl http_body::Body for PrefixedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(http_body::Frame::data(chunk))));
        }
        match &mut self.tail {
            Tail::Body(rest) => Pin::new(rest).poll_frame(cx),
            Tail::Failure(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
            && match &self.tail {
                Tail::Body(rest) => rest.is_end_stream(),
                Tail::Failure(error) => error.is_none(),
            }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let taken = total(&self.chunks);
        match &self.tail {
            Tail::Body(rest) => rest.size_hint().exact().map_or_else(http_body::SizeHint::default, |rest| {
                http_body::SizeHint::with_exact(rest + taken)
            }),
            Tail::Failure(_) => http_body::SizeHint::default(),
        }
    }
}
