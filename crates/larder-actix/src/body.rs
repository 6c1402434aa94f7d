//! An answer's body in actix's form: whole without polling where it is whole.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use http_body::Body as _;
use larder_core::Body;

/// The body of an answer.
#[derive(Debug)]
pub struct AnswerBody {
    kind: Kind,
    /// Told what was sent, and by being dropped that it is over.
    watch: Option<Box<dyn Watch>>,
}

/// Follows a body on its way to the client.
pub(crate) trait Watch: std::fmt::Debug {
    /// It is asked for: its request is no longer in anybody's hands.
    fn begins(&mut self) {}
    /// So many bytes more.
    fn sent(&mut self, _bytes: u64) {}
    /// All of it.
    fn ended(&mut self) {}
}

/// Tells that a body has begun to be sent, or never will be.
#[derive(Debug)]
pub(crate) struct Begun(pub(crate) Option<tokio::sync::oneshot::Sender<()>>);

impl Watch for Begun {
    fn begins(&mut self) {
        self.0 = None;
    }
}

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    /// With the length that is announced, if there is one.
    Stream(Body, BodySize),
    /// For HEAD: nothing, with the length that it would have.
    Absent(BodySize),
}

impl AnswerBody {
    pub(crate) fn new(body: Body) -> Self {
        let size = body.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized);
        match body.try_into_bytes() {
            Ok(bytes) => Self::of(Kind::Whole(bytes)),
            Err(body) => Self::of(Kind::Stream(body, size)),
        }
    }

    fn of(kind: Kind) -> Self {
        Self { kind, watch: None }
    }

    /// The same, which is followed.
    pub(crate) fn watched(mut self, watch: Box<dyn Watch>) -> Self {
        self.watch = Some(watch);
        self
    }

    pub(crate) fn absent(length: Option<u64>) -> Self {
        Self::of(Kind::Absent(length.map_or(BodySize::None, BodySize::Sized)))
    }

    pub(crate) fn text(text: &'static str) -> Self {
        Self::of(Kind::Whole(Bytes::from_static(text.as_bytes())))
    }
}

impl MessageBody for AnswerBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        match &self.kind {
            Kind::Whole(bytes) => BodySize::Sized(bytes.len() as u64),
            Kind::Stream(_, size) | Kind::Absent(size) => *size,
        }
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(watch) = &mut self.watch {
            watch.begins();
        }
        let next = ready!(self.kind.poll_next(cx));
        if let Some(watch) = &mut self.watch {
            match &next {
                Some(Ok(chunk)) => watch.sent(chunk.len() as u64),
                Some(Err(_)) => {}
                None => watch.ended(),
            }
        }
        Poll::Ready(next)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.kind {
            // Taken out of its response, it would tell too early.
            Kind::Whole(bytes) if self.watch.is_none() => Ok(bytes),
            kind => Err(Self { kind, ..self }),
        }
    }
}

impl Kind {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<dyn std::error::Error>>>> {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Self::Absent(_) => Poll::Ready(None),
            Self::Stream(body, _) => loop {
                match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error as Box<dyn std::error::Error>))),
                    Some(Ok(frame)) => {
                        // An empty chunk would end a chunked body, and trailers are not passed on.
                        if let Ok(chunk) = frame.into_data()
                            && !chunk.is_empty()
                        {
                            return Poll::Ready(Some(Ok(chunk)));
                        }
                    }
                }
            },
        }
    }
}
