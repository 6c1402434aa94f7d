//! Response bodies in actix's form.
//!
//! A body that is in memory is handed to actix whole, without polling the engine's body. Bodies in
//! the other direction, from actix to the engine, are in [`crate::bridge`].

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use http_body::Body as _;
use larder_core::Body;

/// The body of a response from the cache.
#[derive(Debug)]
pub struct ResponseBody {
    kind: Kind,
    /// Notified of the progress, and dropped at the end of the response.
    observer: Option<Box<dyn BodyObserver>>,
}

/// Follows a body on its way to the client. The observer is dropped with the body, whether the body
/// was sent or not.
pub(crate) trait BodyObserver: std::fmt::Debug {
    /// Reports that the body is being read: handlers and middlewares have released the request.
    fn on_poll(&mut self) {}
    /// Reports that `bytes` more bytes were handed to the connection.
    fn on_chunk(&mut self, _bytes: u64) {}
    /// Reports that the body is complete.
    fn on_end(&mut self) {}
}

/// Drops its sender when the body is first read, or when it is dropped unread. The receiver
/// resolves then.
#[derive(Debug)]
pub(crate) struct StartSignal(pub(crate) Option<tokio::sync::oneshot::Sender<()>>);

impl BodyObserver for StartSignal {
    fn on_poll(&mut self) {
        self.0 = None;
    }
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

    /// Creates a body of this kind, without an observer.
    fn of(kind: Kind) -> Self {
        Self { kind, observer: None }
    }

    /// Sets the observer.
    pub(crate) fn with_observer(mut self, observer: Box<dyn BodyObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Creates the empty body of a response to HEAD. `length` is the length that a response to GET
    /// would have.
    pub(crate) fn absent(length: Option<u64>) -> Self {
        Self::of(Kind::Absent(length.map_or(BodySize::None, BodySize::Sized)))
    }

    /// Creates a body of text.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::of(Kind::Whole(text.into()))
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
        if let Some(observer) = &mut self.observer {
            observer.on_poll();
        }
        let next = ready!(self.kind.poll_next(cx));
        if let Some(observer) = &mut self.observer {
            match &next {
                Some(Ok(chunk)) => observer.on_chunk(chunk.len() as u64),
                Some(Err(_)) => {}
                None => observer.on_end(),
            }
        }
        Poll::Ready(next)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.kind {
            // With an observer the body has to be polled: taking the bytes out would drop the
            // observer before they are sent.
            Kind::Whole(bytes) if self.observer.is_none() => Ok(bytes),
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
