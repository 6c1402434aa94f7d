//! The bodies of partial responses: a range cut out of a body that is read from its start, and
//! several bodies one after the other.

use std::{
    collections::VecDeque,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::end::BodyError;

/// The result of polling a body.
type PollFrame = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// A range of a body. The body is dropped once the range has been read. If it ends earlier, the
/// range fails.
pub(super) struct Cut<B> {
    /// `None` once the range has ended.
    body: Option<B>,
    /// Bytes before the range that have not been read.
    skip: u64,
    /// Bytes of the range that have not been read.
    left: u64,
}

impl<B> Cut<B> {
    /// Creates the range of `body`.
    pub(super) fn new(body: B, range: Range<u64>) -> Self {
        Self { body: Some(body), skip: range.start, left: range.end.saturating_sub(range.start) }
    }

    /// Ends the range.
    fn end(&mut self) {
        (self.body, self.left) = (None, 0);
    }

    /// Returns the part of the next chunk that is within the range.
    fn take(&mut self, mut chunk: Bytes) -> Bytes {
        let skipped = clamp(self.skip, chunk.len());
        self.skip -= skipped as u64;
        let mut chunk = chunk.split_off(skipped);
        chunk.truncate(clamp(self.left, chunk.len()));
        self.left -= chunk.len() as u64;
        chunk
    }
}

impl<B> Body for Cut<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollFrame {
        while let Some(body) = &mut self.body {
            let error = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let chunk = self.take(frame.into_data().unwrap_or_default());
                    if self.left == 0 {
                        self.end();
                    }
                    if chunk.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Some(Err(error)) => error,
                None => "the body ended before the end of the range".into(),
            };
            self.end();
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Returns the smaller of the two numbers.
fn clamp(number: u64, limit: usize) -> usize {
    usize::try_from(number).unwrap_or(limit).min(limit)
}

/// Several bodies, one after the other.
pub(super) struct Chain<B>(pub(super) VecDeque<B>);

impl<B> Body for Chain<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollFrame {
        while let Some(body) = self.0.front_mut() {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => {
                    self.0.clear();
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.0.pop_front();
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let lengths = self.0.iter().map(|body| body.size_hint().exact());
        lengths.sum::<Option<u64>>().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
