//! The bodies behind a streaming [`Body`](super::Body): conversions from other bodies and from streams, and the
//! combinators that observe one on its way.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::end::{BodyEnd, BodyError, BodyEvent};

/// The result of polling a body.
type PollFrame = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

pin_project! {
    /// Any body, with its chunks converted to `Bytes` and its error boxed.
    pub(super) struct Erased<B> { #[pin] pub(super) body: B }
}

impl<B> Body for Erased<B>
where
    B: Body,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollFrame {
        let frame = ready!(self.project().body.poll_frame(cx));
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A stream of chunks, of a known length or not. A stream that does not have the known length
    /// fails.
    pub(super) struct Chunks<S> {
        // `None` once it has ended.
        #[pin]
        stream: Option<S>,
        // Bytes still to come, if the length is known.
        remaining: Option<u64>,
    }
}

impl<S> Chunks<S> {
    /// Creates the body of a stream of `length` bytes, if known.
    pub(super) fn new(stream: S, length: Option<u64>) -> Self {
        Self { stream: Some(stream), remaining: length }
    }
}

impl<S, C, E> Body for Chunks<S>
where
    S: Stream<Item = Result<C, E>>,
    C: Into<Bytes>,
    E: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollFrame {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let next = ready!(stream.poll_next(cx)).map(|next| next.map(Into::into).map_err(Into::into));
        let next = match (next, this.remaining.as_mut()) {
            (Some(Ok(chunk)), Some(remaining)) => match remaining.checked_sub(chunk.len() as u64) {
                Some(rest) => {
                    *remaining = rest;
                    Some(Ok(chunk))
                }
                None => Some(Err("the body is longer than its recorded length".into())),
            },
            (None, Some(1..)) => Some(Err("the body is shorter than its recorded length".into())),
            (next, _) => next,
        };
        if !matches!(next, Some(Ok(_))) {
            this.stream.set(None);
        }
        Poll::Ready(next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none() || self.remaining == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body with another error.
pub(super) struct MapErr<B, F> {
    pub(super) body: B,
    pub(super) convert: F,
}

// The function is never pinned.
impl<B: Unpin, F> Unpin for MapErr<B, F> {}

impl<B, F, E> Body for MapErr<B, F>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
    F: FnMut(BodyError) -> E,
    E: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollFrame {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| (self.convert)(error).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that reports its chunks and its end to `observe`.
pub(super) struct Observed<B: Body, F: FnMut(BodyEvent)> {
    body: B,
    /// `None` once the end has been reported.
    observe: Option<F>,
}

// The function is never pinned.
impl<B: Body + Unpin, F: FnMut(BodyEvent)> Unpin for Observed<B, F> {}

impl<B: Body, F: FnMut(BodyEvent)> Observed<B, F> {
    /// Creates a body that reports to `observe`.
    pub(super) fn new(body: B, observe: F) -> Self {
        Self { body, observe: Some(observe) }
    }

    /// Reports the end, unless it has been reported.
    fn end(&mut self, end: BodyEnd) {
        if let Some(mut observe) = self.observe.take() {
            observe(BodyEvent::End(end));
        }
    }
}

impl<B, F> Body for Observed<B, F>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
    F: FnMut(BodyEvent),
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollFrame {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(observe) = &mut self.observe {
                    observe(BodyEvent::Chunk(frame.data_ref().map_or(0, |chunk| chunk.len() as u64)));
                }
                // A reader that knows the end does not poll again.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.end(BodyEnd::Complete);
                }
            }
            Some(Err(_)) => self.end(BodyEnd::Failed),
            None => self.end(BodyEnd::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body, F: FnMut(BodyEvent)> Drop for Observed<B, F> {
    fn drop(&mut self) {
        let end = if self.body.is_end_stream() { BodyEnd::Complete } else { BodyEnd::Dropped };
        self.end(end);
    }
}
