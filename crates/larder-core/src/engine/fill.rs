//! From the origin to the client and to the store, at once.
//!
//! What has arrived with the head is taken without waiting. If that is all, the response is whole: it is stored and
//! answered from memory, and nothing was spawned. Otherwise the body goes on arriving ([`BodyFanout`]) in a task of its
//! own, which the client's going away does not stop.
//!
//! The store is never waited for here: what it can't do at once it goes on with beside the answer.

use std::{collections::VecDeque, pin::Pin, sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;

use super::{
    Cache,
    events::{Event, StoreStep},
    fanout::{BodyFanout, Completion, FanoutTimeouts},
    flights::{FlightOutcome, Leader},
    serve::serves_others,
};
use crate::{
    Body, BodyError, BodySource, Candidate, EntryId, Reservation, StoreError, StoreErrorKind, StoreWriter,
    StoredBody, StoredHead,
    timeout::{poll_once, within},
};

/// What is taken with the head, at most, before a task is made for the rest.
const AT_ONCE: usize = 64 * 1024;

/// A response that is to be stored.
pub(super) struct Fill {
    /// Made before the origin was asked; `None` if the store could not.
    pub(super) reservation: Option<Box<dyn Reservation>>,
    pub(super) head: Arc<StoredHead>,
    pub(super) leader: Option<Leader>,
    /// The longest body that is stored.
    pub(super) most: u64,
}

/// What became of it, as far as can be told now.
pub(super) struct Filled {
    /// The client's body.
    pub(super) body: Body,
    /// Whether the store takes it.
    pub(super) stored: bool,
}

/// What had arrived with the head.
enum Arrived {
    Whole(Bytes),
    Begun(VecDeque<Bytes>),
    Broken(VecDeque<Bytes>, BodyError),
}

impl Cache {
    /// Gives `body` to the client and to the store.
    pub(super) async fn fill(&self, fill: Fill, mut body: Body) -> Filled {
        let announced = body.size_hint().exact();
        // A part is as long as its Content-Range says, or it is not what it says (RFC 9110 §14.4).
        let length = fill.head.part.map(|part| part.last - part.first + 1).or(announced);
        if length.is_some_and(|length| length > fill.most) || announced.is_some_and(|a| Some(a) != length) {
            return self.refused(fill.leader, body);
        }
        match take_at_once(&mut body).await {
            Arrived::Whole(bytes) if bytes.len() as u64 > fill.most => {
                self.refused(fill.leader, Body::from(bytes))
            }
            Arrived::Whole(bytes) if length.is_none_or(|length| length == bytes.len() as u64) => {
                self.fill_whole(fill, bytes).await
            }
            Arrived::Whole(bytes) => {
                let error = "the body does not have the length that was announced".into();
                self.broken(fill.leader.as_ref(), VecDeque::from([bytes]), error)
            }
            Arrived::Broken(chunks, error) => self.broken(fill.leader.as_ref(), chunks, error),
            Arrived::Begun(chunks) if length.is_some_and(|length| length < total(&chunks)) => {
                self.broken(fill.leader.as_ref(), chunks, "the body is longer than was announced".into())
            }
            Arrived::Begun(chunks) => self.fill_arriving(fill, chunks, body, length).await,
        }
    }

    /// The response passes through: it is too long, or the store does not want it.
    fn refused(&self, leader: Option<Leader>, body: Body) -> Filled {
        if let Some(leader) = leader {
            self.not_shared(&leader);
        }
        Filled { body, stored: false }
    }

    /// The client gets what came, and then the failure; the others try for themselves.
    fn broken(&self, leader: Option<&Leader>, chunks: VecDeque<Bytes>, error: BodyError) -> Filled {
        self.observe(&Event::BodyBroken);
        if let Some(leader) = leader {
            leader.complete(FlightOutcome::NotShared);
        }
        Filled { body: Body::stream(Resumed { chunks, then: Then::Failure(Some(error)) }), stored: false }
    }

    async fn fill_whole(&self, fill: Fill, bytes: Bytes) -> Filled {
        let Fill { reservation, head, leader, .. } = fill;
        if let Some(leader) = &leader {
            if serves_others(&head) {
                let body = StoredBody::Whole(bytes.clone());
                leader.complete(FlightOutcome::Shared(Candidate::new(EntryId(0), Arc::clone(&head), body)));
            } else {
                self.not_shared(leader);
            }
        }
        let cache = self.clone();
        let chunk = bytes.clone();
        let mut storing = Box::pin(async move {
            let stored = cache.write_whole(reservation, head, chunk).await;
            drop(leader);
            stored
        });
        let stored = match poll_once(storing.as_mut()).await {
            Poll::Ready(stored) => stored,
            Poll::Pending => {
                self.inner.tasks.spawn(async move {
                    storing.await;
                });
                true
            }
        };
        Filled { body: Body::from(bytes), stored }
    }

    async fn write_whole(
        &self,
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
        let written = within(self.inner.limits.store_timeout, write).await;
        self.written(written)
    }

    fn written(&self, written: Option<Result<EntryId, StoreError>>) -> bool {
        match written {
            Some(Ok(_)) => {
                self.observe(&Event::Stored);
                true
            }
            failed => {
                self.store_failed(StoreStep::Write, failed.and_then(Result::err).as_ref());
                false
            }
        }
    }

    async fn fill_arriving(
        &self,
        fill: Fill,
        chunks: VecDeque<Bytes>,
        rest: Body,
        length: Option<u64>,
    ) -> Filled {
        let Fill { reservation, head, leader, most } = fill;
        let Some(reservation) = reservation else {
            return self.refused(leader, Body::stream(Resumed { chunks, then: Then::Rest(rest) }));
        };
        let mut begin = {
            let (limit, head) = (self.inner.limits.store_timeout, Arc::clone(&head));
            Box::pin(async move { within(limit, reservation.begin(head, length)).await })
        };
        let begun = match poll_once(begin.as_mut()).await {
            Poll::Ready(Some(Ok(writer))) => Some(writer),
            Poll::Ready(failed) => {
                self.store_failed(StoreStep::Write, failed.and_then(Result::err).as_ref());
                return self.refused(leader, Body::stream(Resumed { chunks, then: Then::Rest(rest) }));
            }
            Poll::Pending => None,
        };
        let arriving = BodyFanout::new(length, chunks);
        let source: Arc<dyn BodySource> = Arc::new(Arc::clone(&arriving));
        let client = match source.stream(None).await {
            Ok(stream) => Body::stored(stream, length),
            Err(error) => return self.broken(leader.as_ref(), VecDeque::new(), error.into()),
        };
        if let Some(leader) = &leader {
            if serves_others(&head) {
                leader.complete(FlightOutcome::Shared(Candidate::new(
                    EntryId(0),
                    head,
                    StoredBody::Source(source),
                )));
            } else {
                self.not_shared(leader);
            }
        }
        let cache = self.clone();
        self.inner.tasks.spawn(async move {
            let limits = &cache.inner.limits;
            let patience = FanoutTimeouts { origin: limits.body_timeout, slow_reader: limits.store_timeout };
            let store = async {
                let writer = match begun {
                    Some(writer) => Some(Ok(writer)),
                    None => begin.await,
                };
                cache.write_arriving(&arriving, writer, most).await;
                // Only now: until it is in the store, the flight is where the response is found.
                drop(leader);
            };
            let (ending, ()) = tokio::join!(arriving.pump(rest, patience), store);
            if ending == Completion::Broken {
                cache.observe(&Event::BodyBroken);
            }
        });
        Filled { body: client, stored: true }
    }

    /// Moves an arriving body into its writer, and commits at its proven end.
    async fn write_arriving(
        &self,
        arriving: &Arc<BodyFanout>,
        writer: Option<Result<Box<dyn StoreWriter>, StoreError>>,
        most: u64,
    ) {
        let limit = self.inner.limits.store_timeout;
        let mut writer = match writer {
            Some(Ok(writer)) => writer,
            failed => {
                self.written(failed.map(|begun| begun.map(|_| EntryId(0))));
                return arriving.store_failed(limit).await;
            }
        };
        arriving.set_follow(writer.follow());
        let mut position = 0;
        loop {
            match arriving.next_for_store(position).await {
                Ok(Some(chunk)) => {
                    position += chunk.len() as u64;
                    let written = if position > most {
                        Some(Err(StoreError::new(StoreErrorKind::Full, "any", "longer than max_object")))
                    } else {
                        within(limit, writer.write(chunk)).await
                    };
                    if !matches!(written, Some(Ok(()))) {
                        self.written(written.map(|result| result.map(|()| EntryId(0))));
                        // The writer stays until the clients that read back from it have caught up.
                        return arriving.store_failed(limit).await;
                    }
                }
                Ok(None) => {
                    let committed = within(limit, writer.commit()).await;
                    self.written(committed);
                    return;
                }
                // Dropping the writer abandons the entry.
                Err(_broken) => return,
            }
        }
    }
}

/// Takes what is here already, up to a limit, without waiting.
async fn take_at_once(body: &mut Body) -> Arrived {
    if body.is_whole() {
        return match std::mem::take(body).try_into_bytes() {
            Ok(bytes) => Arrived::Whole(bytes),
            Err(rest) => {
                *body = rest;
                Arrived::Begun(VecDeque::new())
            }
        };
    }
    let mut chunks = VecDeque::new();
    let mut here = 0;
    while here < AT_ONCE {
        let next: Pin<&mut _> = std::pin::pin!(body.chunk());
        match poll_once(next).await {
            Poll::Ready(Some(Ok(chunk))) => {
                here += chunk.len();
                chunks.push_back(chunk);
            }
            Poll::Ready(Some(Err(error))) => return Arrived::Broken(chunks, error),
            Poll::Ready(None) => return Arrived::Whole(joined(&mut chunks, here)),
            Poll::Pending => break,
        }
    }
    Arrived::Begun(chunks)
}

fn total(chunks: &VecDeque<Bytes>) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

fn joined(chunks: &mut VecDeque<Bytes>, length: usize) -> Bytes {
    if chunks.len() == 1 {
        return chunks.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(length);
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    whole.freeze()
}

/// A body that passes through, with what was taken from it put back before the rest.
struct Resumed {
    chunks: VecDeque<Bytes>,
    then: Then,
}

enum Then {
    Rest(Body),
    Failure(Option<BodyError>),
}

impl http_body::Body for Resumed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(http_body::Frame::data(chunk))));
        }
        match &mut self.then {
            Then::Rest(rest) => Pin::new(rest).poll_frame(cx),
            Then::Failure(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
            && match &self.then {
                Then::Rest(rest) => rest.is_end_stream(),
                Then::Failure(error) => error.is_none(),
            }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let taken = total(&self.chunks);
        match &self.then {
            Then::Rest(rest) => rest.size_hint().exact().map_or_else(http_body::SizeHint::default, |rest| {
                http_body::SizeHint::with_exact(rest + taken)
            }),
            Then::Failure(_) => http_body::SizeHint::default(),
        }
    }
}
