//! A response: reqwest's methods, and how it was answered.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use larder_core::{Body, Cache, CacheResponse, CacheStatus};
use reqwest::{ResponseBuilderExt as _, Url};

use crate::{CacheOutcome, Error, ErrorKind, origin::to_reqwest_body};

/// What is read into memory at once, at most, unless `max_body` says otherwise.
const IN_MEMORY: u64 = 256 << 20;

/// A response, from the cache or from the origin.
#[derive(Debug)]
pub struct Response {
    cache: Cache,
    url: Url,
    answer: CacheResponse,
    body: Body,
    most: Option<u64>,
    read: u64,
}

impl Response {
    pub(crate) fn new(cache: Cache, url: Url, mut answer: CacheResponse, most: Option<u64>) -> Self {
        let body = std::mem::take(answer.body_mut());
        Self { cache, url, answer, body, most, read: 0 }
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.answer.status()
    }

    /// The fields as the origin sent them. The cache's own are beside them: [`age`](Self::age) and
    /// [`cache_status`](Self::cache_status).
    pub fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// The URL that answered: the last one, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How long the body is, where that is known.
    pub fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// How the request was answered, in a word.
    pub fn outcome(&self) -> CacheOutcome {
        self.answer.cache_status().outcome()
    }

    /// How the request was answered, in detail (RFC 9211).
    pub fn cache_status(&self) -> &CacheStatus {
        self.answer.cache_status()
    }

    /// How old the response is (RFC 9111 §5.1), in whole seconds; `None` if the origin has given or confirmed it just now.
    pub fn age(&self) -> Option<Duration> {
        self.answer.age().map(|age| Duration::from_secs(age.as_secs()))
    }

    /// This response, unless its status is an error.
    ///
    /// # Errors
    ///
    /// Of kind [`Status`](ErrorKind::Status), for 400 and above.
    pub fn error_for_status(self) -> Result<Self, Error> {
        self.error_for_status_ref()?;
        Ok(self)
    }

    /// The same by reference.
    ///
    /// # Errors
    ///
    /// As for [`error_for_status`](Self::error_for_status).
    pub fn error_for_status_ref(&self) -> Result<&Self, Error> {
        let status = self.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(Error::new(ErrorKind::Status(status), Some(&self.url)));
        }
        Ok(self)
    }

    /// The whole body. Of a hit in memory it is the stored bytes themselves, without a copy.
    ///
    /// # Errors
    ///
    /// [`Body`](ErrorKind::Body) or [`Timeout`](ErrorKind::Timeout) if it breaks off, [`TooLong`](ErrorKind::TooLong) past
    /// the limit.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        self.most.get_or_insert(IN_MEMORY);
        self.whole().await
    }

    async fn whole(&mut self) -> Result<Bytes, Error> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let known = self.body.size_hint().lower().min(IN_MEMORY);
        let known = usize::try_from(known).unwrap_or(0);
        let mut all = BytesMut::with_capacity(first.len() + second.len() + known);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// The whole body as text, in the charset that `ReplayableBody-Type` names or else in UTF-8. What is no character becomes
    /// U+FFFD.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, Error> {
        let kind = self.headers().get(http::header::CONTENT_TYPE).cloned();
        Ok(crate::text::decode(kind.as_ref(), self.bytes().await?))
    }

    /// The whole body, as JSON.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes), and [`Decode`](ErrorKind::Decode) if it is no JSON, or not of this shape.
    #[cfg(feature = "json")]
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        let url = self.url.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(ErrorKind::Decode, Some(&url)).with_source(error))
    }

    /// The next chunk of the body, as it arrives; `None` at its end.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes).
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await.transpose()
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(frame) => frame.map_err(|error| Error::reading(error, &self.url)),
            };
            // Trailers are no part of the body.
            let chunk = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(chunk)) if !chunk.is_empty() => chunk,
                Ok(_) => continue,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            self.read += chunk.len() as u64;
            if let Some(most) = self.most.filter(|most| self.read > *most) {
                self.body = Body::empty();
                return Poll::Ready(Some(Err(Error::new(ErrorKind::TooLong(most), Some(&self.url)))));
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
    }

    /// The body as a stream of its chunks.
    pub fn bytes_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        Pieces(self)
    }

    /// This response with its body in memory: what reads it later waits for nothing, and holds no connection.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes).
    pub async fn buffered(mut self) -> Result<Self, Error> {
        let limit = self.most;
        self.most.get_or_insert(IN_MEMORY);
        self.body = Body::from(self.whole().await?);
        self.read = 0;
        self.most = limit;
        Ok(self)
    }

    /// As an `http` response, with the fields that the cache adds.
    pub fn into_http(self) -> http::Response<Body> {
        self.cache.into_http(self.answer).map(|_| self.body)
    }

    /// As reqwest's own, with the fields that the cache adds.
    pub fn into_reqwest(self) -> reqwest::Response {
        let url = self.url.clone();
        reqwest_response(self.into_http(), url)
    }
}

/// An `http` response as reqwest's own.
pub(crate) fn reqwest_response(response: http::Response<Body>, url: Url) -> reqwest::Response {
    let (parts, body) = response.into_parts();
    let built = http::Response::builder().url(url).body(to_reqwest_body(body));
    let (mut own, body) = built.expect("a URL is all that was given").into_parts();
    own.status = parts.status;
    own.version = parts.version;
    own.headers = parts.headers;
    reqwest::Response::from(http::Response::from_parts(own, body))
}

struct Pieces(Response);

impl Stream for Pieces {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_chunk(cx)
    }
}
