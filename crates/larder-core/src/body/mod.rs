//! Defines [`Body`], the body of a request or response, whole in memory or streaming.
//!
//! `conversions` has what it is created from, `frames` the bodies that a streaming one consists of,
//! `ranges` those of partial responses, `end` how a body ends.

mod conversions;
mod end;
mod frames;
mod ranges;

use std::{
    any::Any,
    collections::VecDeque,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

pub(crate) use self::end::BodyEvent;
pub use self::end::{BodyEnd, BodyError, BodyReadError};
use self::{
    frames::{Chunks, Erased, MapErr, Observed},
    ranges::{Chain, Cut},
};
use crate::ByteStream;

/// The body of a request or response, either whole in memory or a stream of chunks.
///
/// A streaming body may end with trailers, which only the trait `http_body::Body` returns:
/// [`chunk`](Self::chunk) and [`into_bytes`](Self::into_bytes) skip them. They are never stored, as
/// RFC 9111 §3.1 permits: the client of a miss gets them, and those of a hit do not. A body is
/// `Send` and `Sync`, as some frameworks require.
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
    /// The lock makes the body `Sync`. Reading goes through `&mut` and does not lock; only
    /// `is_end_stream` and `size_hint` do.
    Stream(Mutex<Pin<Box<Frames>>>),
}

/// A streaming body of any kind.
type Frames = dyn http_body::Body<Data = Bytes, Error = BodyError> + Send;

impl Body {
    /// Creates a body of zero bytes.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Creates a body from any body of the crate `http-body` 1, which it boxes.
    ///
    /// A `Body` is returned unchanged.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BodyError>,
    {
        let mut body = Some(body);
        if let Some(unchanged) = (&mut body as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return unchanged.take().unwrap_or_default();
        }
        match body {
            Some(body) if body.size_hint().exact() != Some(0) || !body.is_end_stream() => {
                Self::boxed(Erased { body })
            }
            _ => Self::empty(),
        }
    }

    /// Creates a body of unknown length from a stream of chunks, which it boxes.
    ///
    /// An error of the stream is an error of the body: the body is incomplete then.
    ///
    /// ```
    /// use larder_core::Body;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let chunks = ["one", " and ", "two"].map(Ok::<_, std::io::Error>);
    /// let mut body = Body::from_stream(futures_util::stream::iter(chunks));
    /// assert_eq!(body.chunk().await.expect("a chunk").expect("no error"), "one");
    /// # });
    /// ```
    pub fn from_stream<S, C, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<C, E>> + Send + 'static,
        C: Into<Bytes> + 'static,
        E: Into<BodyError> + 'static,
    {
        Self::boxed(Chunks::new(stream, None))
    }

    /// Creates a body of `length` bytes from a stream of chunks, which it boxes.
    ///
    /// If the stream has another length, the body ends with an error: a truncated stream is never a
    /// shorter body.
    ///
    /// ```
    /// use larder_core::Body;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let chunks = ["hel", "lo"].map(Ok::<_, std::io::Error>);
    /// let mut body = Body::from_stream_with_length(futures_util::stream::iter(chunks), 6);
    /// assert_eq!(body.chunk().await.expect("a chunk").expect("no error"), "hel");
    /// assert_eq!(body.chunk().await.expect("a chunk").expect("no error"), "lo");
    /// assert!(body.chunk().await.expect("an error").is_err());
    /// # });
    /// ```
    pub fn from_stream_with_length<S, C, E>(stream: S, length: u64) -> Self
    where
        S: Stream<Item = Result<C, E>> + Send + 'static,
        C: Into<Bytes> + 'static,
        E: Into<BodyError> + 'static,
    {
        if length == 0 { Self::empty() } else { Self::boxed(Chunks::new(stream, Some(length))) }
    }

    /// Boxes a streaming body.
    fn boxed(body: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self(Kind::Stream(Mutex::new(Box::pin(body))))
    }

    /// Converts the body's error with `convert`, if the body fails. A body in memory cannot fail
    /// and is returned unchanged.
    ///
    /// ```
    /// use larder_core::Body;
    ///
    /// let body = Body::from("hello").map_err(|error| format!("upload failed: {error}"));
    /// assert_eq!(body.try_into_bytes().expect("in memory"), "hello");
    /// ```
    #[must_use]
    pub fn map_err<F, E>(self, convert: F) -> Self
    where
        F: FnMut(BodyError) -> E + Send + 'static,
        E: Into<BodyError> + 'static,
    {
        if self.is_whole() { self } else { Self::boxed(MapErr { body: self, convert }) }
    }

    /// Calls `report` exactly once, when the body has ended, with how it ended.
    ///
    /// For an empty body it is called at once. A body in memory that is not empty becomes a stream
    /// of one chunk.
    ///
    /// ```
    /// use larder_core::{Body, BodyEnd};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let mut body = Body::from("hello").on_end(move |end| sender.send(end).expect("a receiver"));
    /// while let Some(chunk) = body.chunk().await {
    ///     chunk.expect("a chunk");
    /// }
    /// assert_eq!(receiver.recv(), Ok(BodyEnd::Complete));
    /// # });
    /// ```
    #[must_use]
    pub fn on_end(self, report: impl FnOnce(BodyEnd) + Send + 'static) -> Self {
        let mut report = Some(report);
        self.observe(move |event| {
            if let BodyEvent::End(end) = event
                && let Some(report) = report.take()
            {
                report(end);
            }
        })
    }

    /// Calls `observe` for each chunk that is read, and once when the body has ended.
    pub(crate) fn observe(self, mut observe: impl FnMut(BodyEvent) + Send + 'static) -> Self {
        if self.is_empty() {
            observe(BodyEvent::End(BodyEnd::Complete));
            return self;
        }
        Self::boxed(Observed::new(self, observe))
    }

    /// Returns all bytes of the body if they are in memory, and leaves them in it. `None` for a
    /// stream.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Empty => Some(&[]),
            Kind::Whole(bytes) => Some(bytes),
            Kind::Stream(_) => None,
        }
    }

    /// Returns a second body with the same bytes, which both share, if they are in memory. `None`
    /// for a stream, which can be read once.
    ///
    /// ```
    /// let body = larder_core::Body::from("hello");
    /// assert_eq!(body.try_clone().and_then(|copy| copy.try_into_bytes().ok()).as_deref(), Some(&b"hello"[..]));
    /// ```
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self::empty()),
            Kind::Whole(bytes) => Some(Self(Kind::Whole(bytes.clone()))),
            Kind::Stream(_) => None,
        }
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

    /// Reads the whole body, of at most `limit` bytes.
    ///
    /// A body in memory, and one of a single chunk, is returned without a copy. A body that
    /// announces more than `limit` bytes is not read.
    ///
    /// ```
    /// use larder_core::Body;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let chunks = ["one", " and ", "two"].map(Ok::<_, std::io::Error>);
    /// let body = Body::from_stream(futures_util::stream::iter(chunks));
    /// assert_eq!(body.into_bytes(1024).await.expect("short and whole"), "one and two");
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`TooLong`](BodyReadError::TooLong) if the body is longer than `limit`, and
    /// [`Failed`](BodyReadError::Failed) if it failed. The bytes that were read are dropped then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the body.
    pub async fn into_bytes(mut self, limit: usize) -> Result<Bytes, BodyReadError> {
        use http_body::Body as _;
        if self.size_hint().lower() > limit as u64 {
            return Err(BodyReadError::TooLong { limit });
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk.map_err(BodyReadError::Failed)?;
            if first.len().max(all.len()) + chunk.len() > limit {
                return Err(BodyReadError::TooLong { limit });
            }
            if first.is_empty() && all.is_empty() {
                first = chunk;
                continue;
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&chunk);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// Creates a body from a store's stream that must have `length` bytes, if the length is known.
    pub(crate) fn stored(stream: ByteStream, length: Option<u64>) -> Self {
        match length {
            Some(length) => Self::from_stream_with_length(stream, length),
            None => Self::from_stream(stream),
        }
    }

    /// Returns a range of this body, which lies within it. The body is read from its start, and
    /// dropped at the end of the range. If it ends before that, the range ends with an error.
    pub(crate) fn cut(self, range: Range<u64>) -> Self {
        if range.is_empty() {
            return Self::empty();
        }
        match self.try_into_bytes() {
            Ok(bytes) => {
                let positions = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                match positions.filter(|(_, end)| *end <= bytes.len()) {
                    Some((start, end)) => Self::from(bytes.slice(start..end)),
                    None => Self::boxed(Cut::new(Self::from(bytes), range)),
                }
            }
            Err(stream) => Self::boxed(Cut::new(stream, range)),
        }
    }

    /// Creates the body of several bodies, one after the other.
    pub(crate) fn chain(bodies: VecDeque<Self>) -> Self {
        Self::boxed(Chain(bodies))
    }

    /// Returns the length in bytes if all bytes are in memory.
    pub(crate) fn whole_length(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty => Some(0),
            Kind::Whole(bytes) => Some(bytes.len() as u64),
            Kind::Stream(_) => None,
        }
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
            Kind::Stream(body) => body.lock().is_end_stream(),
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
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// Polls for the next chunk that is not empty, or `None` at the end of the body.
    ///
    /// # Errors
    ///
    /// Returns a [`BodyError`] if the body failed. It is then incomplete.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        use http_body::Body as _;
        loop {
            match ready!(Pin::new(&mut *self).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(chunk))) if !chunk.is_empty() => return Poll::Ready(Some(Ok(chunk))),
                // Trailers, and chunks without bytes.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
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
            Kind::Stream(body) => body.get_mut().as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(body) => body.lock().size_hint(),
        }
    }
}
