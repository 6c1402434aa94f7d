//! Continues a stored body of which the store fails in the middle: from another entry with the same
//! bytes, or from the origin.
//!
//! `serve` and `fill` open bodies as [`ResumableBody`]. Whether two responses have the same bytes
//! is decided in `larder-policy` ([`have_same_bytes`], [`is_rest_of`](crate::policy::is_rest_of)):
//! where that is not certain, the body ends with the store's error. `origin` holds the origin,
//! which a hit does not know before its adapter provides it.

pub(super) mod origin;

use std::{
    fmt,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use tokio::time::{Sleep, sleep};

use self::origin::RestOrigin;
use super::{context::Context, events::StoreStep};
use crate::{
    Body, BodyError, BodySource, ByteStream, CacheKey, Candidate, EntryId, StoreError, StoreErrorKind,
    StoredBody, StoredHead,
    policy::{ByteRange, have_same_bytes},
};

/// Number of times that one body is continued.
const MAX_RESUMPTIONS: u8 = 3;

/// Opens the bytes of `range`, or the whole body for `None`. Returns `None` if the store fails,
/// which is reported.
pub(super) async fn open_source(
    cx: &Context,
    source: &dyn BodySource,
    range: Option<Range<u64>>,
) -> Option<ByteStream> {
    cx.store_call(StoreStep::Open, cx.limits.lookup_timeout, source.stream(range)).await
}

/// Returns the bytes of `range` of a body in memory, or the whole body for `None`. `None` if the
/// body is shorter.
pub(super) fn whole(bytes: &Bytes, range: Option<Range<u64>>) -> Option<Body> {
    let Some(range) = range else { return Some(Body::from(bytes.clone())) };
    let positions = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    let (first, end) = positions.filter(|(_, end)| *end <= bytes.len())?;
    Some(Body::from(bytes.slice(first..end)))
}

/// A stored response, of which the store or its origin may provide bytes that could not be read.
#[derive(Clone)]
pub(super) struct StoredResponse {
    cx: Arc<Context>,
    key: CacheKey,
    head: Arc<StoredHead>,
    /// Length of the body in bytes, or `None` while it is arriving and its length is not known.
    length: Option<u64>,
    origin: Arc<RestOrigin>,
}

impl StoredResponse {
    /// Creates the description of the response with this head and this length of its body.
    pub(super) fn new(
        cx: &Arc<Context>,
        key: &CacheKey,
        head: &Arc<StoredHead>,
        length: Option<u64>,
        origin: &Arc<RestOrigin>,
    ) -> Self {
        let (cx, head, origin) = (Arc::clone(cx), Arc::clone(head), Arc::clone(origin));
        Self { cx, key: key.clone(), head, length, origin }
    }

    /// Returns the bytes of `range`, of which those of entry `id` could not be read because of
    /// `error`, and the entry that they are from. That may be the same one again if `may_retry`.
    ///
    /// # Errors
    ///
    /// Returns `error` if they are not available elsewhere.
    async fn rest(
        self,
        range: Range<u64>,
        id: EntryId,
        may_retry: bool,
        error: StoreError,
    ) -> Result<(Body, EntryId), StoreError> {
        let cx = &self.cx;
        let is_damaged = error.kind() == StoreErrorKind::Corrupt;
        if is_damaged && id != EntryId::NOT_STORED {
            let evicting = cx.store.evict(&self.key, id);
            let _ = cx.store_call(StoreStep::Remove, cx.limits.lookup_timeout, evicting).await;
        }
        let Some(rest) = self.in_whole(&range) else { return Err(error) };
        let unreadable = Some(id).filter(|_| is_damaged || !may_retry);
        if let Some(found) = self.other_entry(&rest, unreadable).await {
            return Ok(found);
        }
        match self.origin.fetch(&self.head, &rest, cx.limits.origin_timeout).await {
            Some(body) => Ok((body, EntryId::NOT_STORED)),
            None => Err(error),
        }
    }

    /// Returns these bytes of the representation from an entry with the same bytes, except
    /// `unreadable`.
    async fn other_entry(&self, rest: &ByteRange, unreadable: Option<EntryId>) -> Option<(Body, EntryId)> {
        for candidate in self.cx.candidates(&self.key).await.iter() {
            if Some(candidate.id) != unreadable
                && have_same_bytes(&self.head, &candidate.head)
                && let Some(range) = within_body(candidate, rest)
                && let Some(body) = self.open(&candidate.body, range).await
            {
                return Some((body, candidate.id));
            }
        }
        None
    }

    /// Opens the bytes of `range` of a body.
    async fn open(&self, body: &StoredBody, range: Range<u64>) -> Option<Body> {
        match body {
            StoredBody::Whole(bytes) => whole(bytes, Some(range)),
            StoredBody::Source(source) => {
                let length = range.end - range.start;
                let stream = open_source(&self.cx, &**source, Some(range)).await?;
                Some(Body::stored(stream, Some(length)))
            }
        }
    }

    /// Returns the positions of a range of the body in the whole representation.
    fn in_whole(&self, range: &Range<u64>) -> Option<ByteRange> {
        let (offset, complete) = match self.head.part {
            Some(part) => (part.first, part.complete),
            None => (0, self.length),
        };
        ByteRange::new(
            offset.checked_add(range.start)?,
            offset.checked_add(range.end)?.checked_sub(1)?,
            complete,
        )
    }
}

/// Returns the positions of these bytes of a representation in the body of a candidate, if it has
/// them all and its representation has the same length.
fn within_body(candidate: &Candidate, rest: &ByteRange) -> Option<Range<u64>> {
    let length = candidate.body.content_length()?;
    let (offset, complete) = match candidate.head.part {
        Some(part) => (part.first, part.complete),
        None => (0, Some(length)),
    };
    let range = rest.first.checked_sub(offset)?..rest.last.checked_sub(offset)? + 1;
    (range.end <= length && (rest.complete.is_none() || rest.complete == complete)).then_some(range)
}

/// The future that finds the rest of a body.
type Resuming = Pin<Box<dyn Future<Output = Result<(Body, EntryId), StoreError>> + Send>>;

/// The bytes of a range of a stored body. If the store fails, they are continued with those of
/// [`StoredResponse`].
pub(super) struct ResumableBody {
    response: StoredResponse,
    /// The entry that the bytes are from.
    id: EntryId,
    /// The positions in the body of the bytes that have not been read.
    left: Range<u64>,
    resumptions: u8,
    state: State,
    /// Ends the wait for the next chunk from elsewhere.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Where the next bytes come from.
enum State {
    Store(ByteStream),
    Resuming(Resuming),
    /// From another entry or the origin.
    Elsewhere(Body),
    Ended,
}

impl ResumableBody {
    /// Creates the body of `range` from the store's `stream` of entry `id`.
    pub(super) fn new(response: StoredResponse, id: EntryId, range: Range<u64>, stream: ByteStream) -> Self {
        Self { response, id, left: range, resumptions: 0, state: State::Store(stream), pause: None }
    }

    /// Continues the body after `error`. Returns the error if it cannot be continued any more.
    fn resume(&mut self, error: StoreError) -> Result<(), StoreError> {
        if matches!(self.state, State::Store(_)) || self.id != EntryId::NOT_STORED {
            self.response.cx.store_failed(StoreStep::Read, Some(&error));
        }
        if self.left.is_empty() || self.resumptions == MAX_RESUMPTIONS {
            return Err(error);
        }
        let may_retry = self.resumptions == 0;
        self.resumptions += 1;
        let (response, range, id) = (self.response.clone(), self.left.clone(), self.id);
        self.state = State::Resuming(Box::pin(response.rest(range, id, may_retry, error)));
        Ok(())
    }
}

/// Returns the error of a body that was to replace the store's.
fn store_error(error: BodyError) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(error) => *error,
        Err(error) => {
            let detail = "the store failed, and then the origin that sent the rest of the body";
            StoreError::new(StoreErrorKind::Unavailable, "any", detail).with_source(error)
        }
    }
}

impl Stream for ResumableBody {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let next = match &mut this.state {
                State::Store(stream) => ready!(stream.as_mut().poll_next(task)),
                State::Elsewhere(body) => match body.poll_chunk(task) {
                    Poll::Ready(next) => {
                        this.pause = None;
                        next.map(|next| next.map_err(store_error))
                    }
                    Poll::Pending => {
                        let limit = this.response.cx.limits.body_timeout;
                        let pause = this.pause.get_or_insert_with(|| Box::pin(sleep(limit)));
                        ready!(pause.as_mut().poll(task));
                        this.pause = None;
                        let detail = format!("no more of the body has arrived for {limit:?}");
                        Some(Err(StoreError::new(StoreErrorKind::Unavailable, "any", detail)))
                    }
                },
                State::Resuming(resuming) => match ready!(resuming.as_mut().poll(task)) {
                    Ok((body, id)) => {
                        (this.state, this.id) = (State::Elsewhere(body), id);
                        continue;
                    }
                    Err(error) => {
                        this.state = State::Ended;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                State::Ended => return Poll::Ready(None),
            };
            let error = match next {
                Some(Ok(chunk)) if chunk.len() as u64 <= this.left.end - this.left.start => {
                    this.left.start += chunk.len() as u64;
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Some(Ok(_)) => {
                    this.state = State::Ended;
                    let detail = "the body has more bytes than its range";
                    return Poll::Ready(Some(Err(StoreError::new(StoreErrorKind::Corrupt, "any", detail))));
                }
                Some(Err(error)) => error,
                None if this.left.is_empty() => {
                    this.state = State::Ended;
                    return Poll::Ready(None);
                }
                None => StoreError::new(StoreErrorKind::Corrupt, "any", "the stored body is too short"),
            };
            if let Err(error) = this.resume(error) {
                this.state = State::Ended;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

/// A source of bytes, such as those that a store's writer has received, of which the streams are
/// continued elsewhere if the store fails.
pub(super) struct ResumableSource {
    pub(super) source: Arc<dyn BodySource>,
    pub(super) response: StoredResponse,
}

impl fmt::Debug for ResumableSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResumableSource").field(&self.source).finish()
    }
}

#[async_trait]
impl BodySource for ResumableSource {
    fn content_length(&self) -> Option<u64> {
        self.source.content_length()
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let stream = self.source.stream(range.clone()).await?;
        Ok(match range {
            Some(range) => {
                Box::pin(ResumableBody::new(self.response.clone(), EntryId::NOT_STORED, range, stream))
            }
            None => stream,
        })
    }
}
