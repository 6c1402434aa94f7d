//! Moves bodies from actix to the engine.
//!
//! actix's streams stay on their thread, and the engine's bodies may leave it. A task on the
//! worker's thread sends the chunks through a short channel, so that the reader's pace limits the
//! writer. The end of a body is a separate message: if the channel closes without it, the body
//! was incomplete.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_core::Stream;
use larder_core::{Body, BodyError};
use tokio::sync::mpsc;

/// Most chunks that the channel holds. When it is full, the sending task waits.
const CAPACITY: usize = 2;

/// A chunk, an error, or `Ok(None)` at the end.
type Message = Result<Option<Bytes>, BodyError>;

/// Converts the content of a request. `length` is the request's `Content-Length`.
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

/// Converts the body of a handler's response. A body that is in memory needs no channel.
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
    let (sender, converted) = channel(length);
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
    converted
}

/// Creates a channel, and the body that reads from it.
fn channel(length: Option<u64>) -> (mpsc::Sender<Message>, Body) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let chunks = Chunks(receiver);
    let body = match length {
        Some(length) => Body::from_stream_with_length(chunks, length),
        None => Body::from_stream(chunks),
    };
    (sender, body)
}

/// Sends a chunk or an error. Returns whether more may be sent: not after an error, and not when
/// the reader has dropped the body.
async fn send(sender: &mpsc::Sender<Message>, chunk: Result<Bytes, BodyError>) -> bool {
    let failed = chunk.is_err();
    sender.send(chunk.map(Some)).await.is_ok() && !failed
}

/// The engine's end of the channel.
struct Chunks(mpsc::Receiver<Message>);

impl Stream for Chunks {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(self.0.poll_recv(cx)) {
            Some(message) => message.transpose(),
            None => Some(Err("the body ended before it was complete".into())),
        })
    }
}
