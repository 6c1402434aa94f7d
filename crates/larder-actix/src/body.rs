//! Response bodies in actix's form.
//!
//! A body that is in memory is handed to actix whole, without polling the engine's body. Bodies in
//! the other direction, from actix to the engine, are in [`crate::bridge`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use http_body::Body as _;
use larder_core::Body;
use tokio::sync::oneshot;

/// The body of a response from the cache.
#[derive(Debug)]
pub struct ResponseBody {
    kind: Kind,
    /// Dropped when the body is first read: handlers and middlewares have released the request
    /// then.
    start: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    /// A stream with its announced length, if there is one.
    Stream(Body, BodySize),
    /// No content, with the length that a response to GET would have: for HEAD.
    Absent(BodySize),
}

impl ResponseBody {
    /// Creates a body that sends `body`.
    pub(crate) fn new(body: Body) -> Self {
        let size = body.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized);
        match body.try_into_bytes() {
            Ok(bytes) => Self::of(Kind::Whole(bytes)),
            Err(body) => Self::of(Kind::Stream(body, size)),
        }
    }

    /// Creates a body of this kind, without a signal.
    fn of(kind: Kind) -> Self {
        Self { kind, start: None }
    }

    /// Sets the sender that is dropped when the body is first read, or dropped unread. Its receiver
    /// resolves then.
    pub(crate) fn with_start_signal(mut self, start: oneshot::Sender<()>) -> Self {
        self.start = Some(start);
        self
    }

    /// Creates the empty body of a response to HEAD. `length` is the length that a response to GET
    /// would have.
    pub(crate) fn absent(length: Option<u64>) -> Self {
        Self::of(Kind::Absent(length.map_or(BodySize::None, BodySize::Sized)))
    }
}

impl MessageBody for ResponseBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        match &self.kind {
            Kind::Whole(bytes) => BodySize::Sized(bytes.len() as u64),
            Kind::Stream(_, size) | Kind::Absent(size) => *size,
        }
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.start = None;
        self.kind.poll_next(cx)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.kind {
            // With a signal the body has to be polled: taking the bytes out would drop the signal
            // before the handlers have released the request.
            Kind::Whole(bytes) if self.start.is_none() => Ok(bytes),
            kind => Err(Self { kind, ..self }),
        }
    }
}

impl Kind {
    /// Returns the next chunk.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<dyn std::error::Error>>>> {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Self::Absent(_) => Poll::Ready(None),
            // An empty chunk would end a chunked body, and trailers are not passed on: `poll_chunk`
            // skips both.
            Self::Stream(body, _) => body.poll_chunk(cx).map_err(|error| error as Box<dyn std::error::Error>),
        }
    }
}
