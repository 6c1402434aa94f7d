//! Bodies from actix's side of a worker to the engine's.
//!
//! actix's streams stay on their thread, the engine's bodies may leave it. A task of the worker moves the chunks over
//! a short channel, so that the reader's pace is the writer's. The end is said, not assumed: a channel that just
//! closes is a body that broke off.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use larder_core::{Body, BodyError};
use tokio::sync::mpsc;

/// Pieces on their way.
const PIECES: usize = 2;

type Message = Result<Option<Bytes>, BodyError>;

/// Moves a stream of a request's chunks over. `length` is what the request announced.
pub(crate) fn from_stream<S, E>(stream: S, length: Option<u64>) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + 'static,
    E: std::fmt::Display,
{
    let (sender, body) = channel(length);
    actix_rt::spawn(async move {
        let mut stream = pin!(stream);
        while let Some(chunk) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            if !send(&sender, chunk.map_err(|error| error.to_string().into())).await {
                return;
            }
        }
        let _ = sender.send(Ok(None)).await;
    });
    body
}

/// Moves a handler's response body over; one that is whole goes as it is.
pub(crate) fn from_message_body<B: MessageBody + 'static>(body: B) -> Body {
    let size = body.size();
    let body = match body.try_into_bytes() {
        Ok(bytes) => return Body::from(bytes),
        Err(body) => body,
    };
    let length = match size {
        BodySize::None => return Body::empty(),
        BodySize::Sized(length) => Some(length),
        BodySize::Stream => None,
    };
    let (sender, moved) = channel(length);
    actix_rt::spawn(async move {
        let mut body = pin!(body);
        while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            let chunk = chunk.map_err(|error| {
                let error: Box<dyn std::error::Error> = error.into();
                error.to_string().into()
            });
            if !send(&sender, chunk).await {
                return;
            }
        }
        let _ = sender.send(Ok(None)).await;
    });
    moved
}

fn channel(length: Option<u64>) -> (mpsc::Sender<Message>, Body) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (sender, Body::stream(ChannelBody { receiver, left: length, ended: false }))
}

/// Whether there is more to send.
async fn send(sender: &mpsc::Sender<Message>, chunk: Result<Bytes, BodyError>) -> bool {
    let failed = chunk.is_err();
    sender.send(chunk.map(Some)).await.is_ok() && !failed
}

/// The engine's end.
struct ChannelBody {
    receiver: mpsc::Receiver<Message>,
    left: Option<u64>,
    ended: bool,
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let message = ready!(self.receiver.poll_recv(cx));
        Poll::Ready(match message {
            Some(Ok(Some(chunk))) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                Some(Ok(Frame::data(chunk)))
            }
            Some(Ok(None)) => {
                self.ended = true;
                None
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None => {
                self.ended = true;
                Some(Err("the body broke off".into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
