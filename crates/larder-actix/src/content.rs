//! Reads the content of requests to the middleware, as far as the cache has to know it, and lets
//! the handler read it again.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::error::PayloadError;
use actix_web::{
    HttpMessage as _,
    dev::{Payload, ServiceRequest},
    http::{
        Method, Version,
        header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    },
};
use bytes::Bytes;
use futures_core::Stream;
use larder_core::{
    Body,
    adapter::{ContentError, ContentInKey, RequestContent},
};

use crate::bridge;

/// Longest wait for the first bytes, or for the end, of the content of a GET over HTTP/2.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// Returns whether the fields of a GET or HEAD announce content. The response may depend on the
/// content, which is not in the key and is not passed to the engine.
pub(crate) fn announces_content_of_get(request: &ServiceRequest) -> bool {
    let announced = request.headers().get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    is_get(request) && (announced || request.headers().contains_key(TRANSFER_ENCODING))
}

fn is_get(request: &ServiceRequest) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Returns whether a GET or HEAD over HTTP/2 has content. Its fields need not announce it
/// (RFC 9113 §8.1.1), so this waits for the first bytes or the end of its stream.
pub(crate) async fn is_get_with_content(request: &mut ServiceRequest) -> bool {
    if request.version() < Version::HTTP_2 || !is_get(request) {
        return false;
    }
    let mut payload = request.take_payload();
    let first = poll_fn(|cx| Pin::new(&mut payload).poll_next(cx));
    match tokio::time::timeout(FIRST_BYTES, first).await {
        Ok(None) => false,
        first => {
            let first = first.ok().flatten();
            request.set_payload(Payload::Stream { payload: Box::pin(Unread { first, rest: payload }) });
            true
        }
    }
}

/// Reads the content of a query. `None` if it is longer than the limit. The handler can read it all
/// afterwards.
pub(crate) async fn read(
    request: &mut ServiceRequest,
    limits: &ContentInKey,
) -> Result<Option<Bytes>, ContentError> {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let payload = request.take_payload();
    let body = match payload {
        Payload::None => Body::empty(),
        payload => bridge::from_stream(payload, length),
    };
    Ok(match RequestContent::read(body, limits).await? {
        RequestContent::Whole(content) => {
            request.set_payload(Payload::from(content.clone()));
            Some(content)
        }
        RequestContent::Longer(body) => {
            request.set_payload(Payload::Stream { payload: Box::pin(BodyStream(body)) });
            None
        }
    })
}

/// A payload of which the first chunk was read.
struct Unread {
    first: Option<Result<Bytes, PayloadError>>,
    rest: Payload,
}

impl Stream for Unread {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_next(cx),
        }
    }
}

/// A body of the engine as a payload.
struct BodyStream(Body);

impl Stream for BodyStream {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let failed = |error| PayloadError::Incomplete(Some(std::io::Error::other(error)));
        self.0.poll_chunk(cx).map(|chunk| chunk.map(|chunk| chunk.map_err(failed)))
    }
}
