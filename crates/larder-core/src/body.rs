//! Defines [`Body`], the body of a request or response, whole in memory or streaming.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame, SizeHint};

use crate::ByteStream;

/// The reason why a body ended before it was complete.
///
/// Code that reads a body must forward its error: a failed body is never treated as a shorter body.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// The body of a request or response, either whole in memory or a stream of chunks.
///
/// Trailers are dropped: a cache would have to store them, and RFC 9111 §3.1 allows it not to.
///
/// ```
/// use larder_core::Body;
///
/// let body = Body::from("hello");
/// assert!(!body.is_empty());
/// assert_eq!(body.try_into_bytes().expect("in memory"), "hello");
/// ```
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Whole(Bytes),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl Body {
    /// Creates a body of zero bytes.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Creates a body from any [`http_body::Body`], which it boxes. Trailers are dropped.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BodyError>,
    {
        if body.size_hint().exact() == Some(0) && body.is_end_stream() {
            return Self::empty();
        }
        Self(Kind::Stream(Box::pin(Erased { body })))
    }

    /// Returns all bytes of the body if they are in memory, without polling.
    ///
    /// # Errors
    ///
    /// Returns the body unchanged if it is a stream.
    pub fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.0 {
            Kind::Empty => Ok(Bytes::new()),
            Kind::Whole(bytes) => Ok(bytes),
            Kind::Stream(_) => Err(self),
        }
    }

    /// Creates a body from a store's stream that must have `length` bytes, if the length is known.
    ///
    /// If the stream ends early, the body ends with an error: a cut stream is never a shorter body.
    pub(crate) fn stored(stream: ByteStream, length: Option<u64>) -> Self {
        Self::stream(LengthChecked { stream, remaining: length })
    }

    /// Returns whether all bytes are in memory.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self.0, Kind::Stream(_))
    }

    /// Returns whether no more bytes will follow.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    /// Returns the next chunk that is not empty, or `None` at the end of the body.
    ///
    /// # Errors
    ///
    /// Returns a [`BodyError`] if the body failed. It is then incomplete.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point; no chunk is lost.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await?;
            match frame.map(Frame::into_data) {
                Ok(Ok(chunk)) if chunk.is_empty() => {}
                Ok(Ok(chunk)) => return Some(Ok(chunk)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self(Kind::Empty) } else { Self(Kind::Whole(bytes)) }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty => f.write_str("Body::Empty"),
            Kind::Whole(bytes) => write!(f, "Body::Whole({} bytes)", bytes.len()),
            Kind::Stream(_) => f.write_str("Body::Stream"),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

pin_project_lite::pin_project! {
    /// Any body, with its chunks converted to `Bytes` and its error boxed.
    struct Erased<B> { #[pin] body: B }
}

impl<B> http_body::Body for Erased<B>
where
    B: http_body::Body,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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

/// A store's stream that must have a known length. A stream that ends early fails instead.
struct LengthChecked {
    stream: ByteStream,
    remaining: Option<u64>,
}

impl http_body::Body for LengthChecked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match ready!(self.stream.as_mut().poll_next(cx)) {
            Some(Ok(chunk)) => {
                if let Some(remaining) = &mut self.remaining {
                    match remaining.checked_sub(chunk.len() as u64) {
                        Some(rest) => *remaining = rest,
                        None => {
                            return Poll::Ready(Some(Err(
                                "the stored body is longer than its recorded length".into(),
                            )));
                        }
                    }
                }
                Some(Ok(Frame::data(chunk)))
            }
            Some(Err(error)) => Some(Err(error.into())),
            None if self.remaining.is_some_and(|remaining| remaining > 0) => {
                self.remaining = None;
                Some(Err("the stored body is shorter than its recorded length".into()))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
