//! Defines [`ProxyBody`], the body of a response on its way to the client.
//!
//! It hands on the chunks of the engine's body without a copy, and reports the end to `access`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use larder_core::{Body, BodyError};

use crate::access::LoggedExchange;

/// The longest chunk over HTTP/2, in bytes: as long as a DATA frame may be by default.
///
/// An HTTP/2 connection takes a chunk of any length as soon as its stream has room for one byte.
/// With short chunks, the next one is only taken when the client has made room, which shows that
/// the client still reads.
const HTTP_2_CHUNK: usize = 16 * 1024;

/// The body of a response of a [`ReverseProxy`](crate::ReverseProxy).
///
/// It fails if the origin's response does, so that a truncated response never looks complete.
/// Trailers are dropped.
#[derive(Debug)]
pub struct ProxyBody {
    body: Body,
    /// The rest of a chunk that was longer than `max_chunk`.
    rest: Bytes,
    max_chunk: usize,
    /// Reported to the access log when this body is dropped.
    logged: Option<Box<LoggedExchange>>,
}

impl ProxyBody {
    /// Creates a body. Over HTTP/2, its chunks are short.
    pub(crate) fn new(body: Body, is_http_2: bool) -> Self {
        let max_chunk = if is_http_2 { HTTP_2_CHUNK } else { usize::MAX };
        Self { body, rest: Bytes::new(), max_chunk, logged: None }
    }

    /// Sets the exchange that is reported to the access log at the end.
    pub(crate) fn with_log(mut self, mut logged: LoggedExchange) -> Self {
        if self.is_end_stream() {
            logged.complete();
        }
        self.logged = Some(Box::new(logged));
        self
    }

    /// Returns the next chunk of at most `max_chunk` bytes.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut chunk = std::mem::take(&mut self.rest);
        if chunk.is_empty() {
            chunk = match ready!(self.body.poll_chunk(cx)) {
                Some(Ok(chunk)) => chunk,
                end => return Poll::Ready(end),
            };
        }
        if chunk.len() > self.max_chunk {
            self.rest = chunk.split_off(self.max_chunk);
        }
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl http_body::Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let chunk = ready!(self.poll_chunk(cx));
        let is_end = chunk.is_none() || chunk.as_ref().is_some_and(Result::is_ok) && self.is_end_stream();
        if let Some(logged) = &mut self.logged {
            if let Some(Ok(chunk)) = &chunk {
                logged.add(chunk.len() as u64);
            }
            if is_end {
                logged.complete();
            }
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
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
