//! Reads the chunks of a body that are available without waiting, and puts them back in front of
//! the rest.

use std::{collections::VecDeque, future::poll_fn, pin::Pin, task::Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::{Body, BodyError, timeout::poll_once};

/// Bytes of the body after which reading ahead ends, and a task takes over the rest. The last chunk
/// may exceed it.
const READ_AHEAD_LIMIT: usize = 64 * 1024;

/// The part of a body that could be read without waiting.
pub(super) enum ReadAhead {
    Complete(Bytes, Option<HeaderMap>),
    Partial(VecDeque<Bytes>),
    Failed(VecDeque<Bytes>, BodyError),
}

/// Reads the chunks that are available without waiting, up to a limit.
pub(super) async fn read_ahead(body: &mut Body) -> ReadAhead {
    if body.is_whole() {
        return match std::mem::take(body).try_into_bytes() {
            Ok(bytes) => ReadAhead::Complete(bytes, None),
            Err(rest) => {
                *body = rest;
                ReadAhead::Partial(VecDeque::new())
            }
        };
    }
    let mut chunks = VecDeque::new();
    let mut length = 0;
    while length < READ_AHEAD_LIMIT {
        let next: Pin<&mut _> = std::pin::pin!(next_frame(body));
        match poll_once(next).await {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => {
                    length += chunk.len();
                    chunks.push_back(chunk);
                }
                // Nothing follows trailers.
                Err(frame) => {
                    return ReadAhead::Complete(concat(&mut chunks, length), frame.into_trailers().ok());
                }
            },
            Poll::Ready(Some(Err(error))) => return ReadAhead::Failed(chunks, error),
            Poll::Ready(None) => return ReadAhead::Complete(concat(&mut chunks, length), None),
            Poll::Pending => break,
        }
    }
    ReadAhead::Partial(chunks)
}

/// Returns the next chunk or the trailers; `None` at the end of the body.
pub(super) async fn next_frame(body: &mut Body) -> Option<Result<Frame<Bytes>, BodyError>> {
    use http_body::Body as _;
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// Returns the number of bytes in `chunks`.
pub(super) fn total(chunks: &VecDeque<Bytes>) -> u64 {
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
pub(super) struct PrefixedBody {
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) tail: Tail,
}

/// The end of a [`PrefixedBody`].
pub(super) enum Tail {
    Body(Body),
    Failure(Option<BodyError>),
    Trailers(Option<HeaderMap>),
}

impl http_body::Body for PrefixedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &mut self.tail {
            Tail::Body(rest) => Pin::new(rest).poll_frame(cx),
            Tail::Failure(error) => Poll::Ready(error.take().map(Err)),
            Tail::Trailers(trailers) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
            && match &self.tail {
                Tail::Body(rest) => rest.is_end_stream(),
                Tail::Failure(error) => error.is_none(),
                Tail::Trailers(trailers) => trailers.is_none(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let taken = total(&self.chunks);
        match &self.tail {
            Tail::Body(rest) => rest
                .size_hint()
                .exact()
                .map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + taken)),
            // With a length, a response over HTTP/1.1 would have no trailers.
            Tail::Failure(_) | Tail::Trailers(_) => SizeHint::default(),
        }
    }
}
