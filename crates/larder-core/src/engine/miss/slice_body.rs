//! A body that reads slices one after the other, each of which is opened when it is needed.

use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{Body, BodyError};

/// The future that opens a range within one slice.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Body, BodyError>> + Send>>;

/// Opens the slices of one representation.
pub(super) trait OpenSlice: Send + Sync + 'static {
    /// Returns the offset at which the slice ends that contains the byte at `position`.
    fn end_of_slice(&self, position: u64) -> u64;

    /// Opens a range, which lies within one slice.
    fn open(self: Arc<Self>, range: Range<u64>) -> Opening;
}

/// A range of a representation, read from its slices.
pub(super) struct SliceBody<S> {
    slices: Arc<S>,
    /// Offset of the next byte.
    position: u64,
    /// Offset after the last byte.
    end: u64,
    state: State,
}

/// Where the next bytes come from.
enum State {
    /// From the next slice.
    Next,
    Opening(Opening),
    Open(Body),
}

impl<S: OpenSlice> SliceBody<S> {
    /// Creates the body of a range. Of its first slice, the bytes within the range may be open.
    pub(super) fn new(slices: &Arc<S>, range: Range<u64>, first: Option<Body>) -> Self {
        let state = first.map_or(State::Next, State::Open);
        Self { slices: Arc::clone(slices), position: range.start, end: range.end, state }
    }

    /// Ends the body with an error.
    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.position = self.end;
        self.state = State::Next;
        Poll::Ready(Some(Err(error)))
    }
}

impl<S: OpenSlice> http_body::Body for SliceBody<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        while this.position < this.end {
            match &mut this.state {
                State::Next => {
                    let end = this.slices.end_of_slice(this.position).min(this.end);
                    this.state = State::Opening(Arc::clone(&this.slices).open(this.position..end));
                }
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(body) => this.state = State::Open(body),
                    Err(error) => return this.fail(error),
                },
                State::Open(body) => match ready!(body.poll_chunk(cx)) {
                    Some(Ok(chunk)) => {
                        this.position += chunk.len() as u64;
                        return Poll::Ready(Some(Ok(Frame::data(chunk))));
                    }
                    Some(Err(error)) => return this.fail(error),
                    None => this.state = State::Next,
                },
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.position >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end.saturating_sub(self.position))
    }
}
