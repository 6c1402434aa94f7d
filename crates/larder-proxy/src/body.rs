//! Defines [`ProxyBody`], the body of a response on its way to the client.
//!
//! It hands on the chunks of the engine's body without a copy, and reports the end to `access`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use larder_core::{Body, BodyError, policy::strip_trailers};

use crate::access::LoggedExchange;

/// The longest chunk over HTTP/2, in bytes: as long as a DATA frame may be by default.
///
/// An HTTP/2 connection takes a chunk of any length as soon as its stream has room for one byte.
/// With short chunks, the next one is only taken when the client has made room, which shows that
/// the client still reads.
const HTTP_2_CHUNK: usize = 16 * 1024;

/// The body of a response of a [`ReverseProxy`](crate::ReverseProxy).
///
/// It fails if the origin's response does, so that a truncated response never looks complete. It
/// has the trailers of the origin, if the client accepts them, without those that concern one
/// connection or change the message (RFC 9110 §6.5.1).
#[derive(Debug)]
pub struct ProxyBody {
    body: Body,
    /// The rest of a chunk that was longer than `max_chunk`.
    rest: Bytes,
    max_chunk: usize,
    has_trailers: bool,
    /// Reported to the access log when this body is dropped.
    logged: Option<Box<LoggedExchange>>,
}

impl ProxyBody {
    /// Creates a body. Over HTTP/2, its chunks are short.
    pub(crate) fn new(body: Body, is_http_2: bool) -> Self {
        let max_chunk = if is_http_2 { HTTP_2_CHUNK } else { usize::MAX };
        Self { body, rest: Bytes::new(), max_chunk, has_trailers: true, logged: None }
    }

    /// Drops the trailers.
    pub(crate) fn without_trailers(mut self) -> Self {
        self.has_trailers = false;
        self
    }

    /// Sets the exchange that is reported to the access log at the end.
    pub(crate) fn with_log(mut self, mut logged: LoggedExchange) -> Self {
        if self.is_end_stream() {
            logged.complete();
        }
        self.logged = Some(Box::new(logged));
        self
    }

    /// Returns the next chunk of at most `max_chunk` bytes, or the trailers.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(chunk) => self.rest = chunk,
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    strip_trailers(&mut trailers);
                    if self.has_trailers && !trailers.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
            }
        }
        let length = self.rest.len().min(self.max_chunk);
        let chunk = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

impl http_body::Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(self.poll_next(cx));
        let is_end = match &next {
            // Nothing follows trailers.
            Some(Ok(frame)) => frame.is_trailers() || self.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        if let Some(logged) = &mut self.logged {
            let chunk = next.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            logged.add(chunk.map_or(0, |chunk| chunk.len() as u64));
            if is_end {
                logged.complete();
            }
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.size_hint().exact() {
            Some(length) => SizeHint::with_exact(length + self.rest.len() as u64),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin};

    use http_body::Body as _;

    use super::*;

    #[tokio::test]
    async fn a_long_body_has_short_chunks_over_http_2_only() {
        for (is_http_2, expected) in [(false, vec![40_000]), (true, vec![16_384, 16_384, 7_232])] {
            let mut body = pin!(ProxyBody::new(Body::from(vec![7; 40_000]), is_http_2));
            let mut left = 40_000;
            let mut lengths = Vec::new();
            while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                let length = frame.expect("no error").into_data().expect("data").len();
                left -= length as u64;
                lengths.push(length);
                assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(left), left == 0));
            }
            assert_eq!(lengths, expected);
        }
    }
}
