//! The response: reqwest's methods, and how the cache handled the request.

use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{Extensions, HeaderMap, StatusCode, Version};
use http_body::Body as _;
use larder_core::{Body, Cache, CacheResponse, CacheStatus};
use reqwest::{ResponseBuilderExt as _, Url};

use crate::{
    CacheOutcome, Error, ErrorKind, Redirect,
    deadline::Deadline,
    origin::{RemoteAddr, to_reqwest_body},
    redirect::Chain,
};

/// Longest body that is read into memory, in bytes, unless `max_body` sets another limit.
const DEFAULT_MAX_IN_MEMORY: u64 = 256 << 20;

/// A response, from the cache or from the origin, with the methods of `reqwest::Response`.
///
/// ```no_run
/// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
/// let response = client.get("https://example.com/").send().await?.error_for_status()?;
/// println!("{}, age {:?}", response.cache_status(), response.age());
/// let text = response.text().await?;
/// # Ok(())
/// # }
/// ```
pub struct Response {
    cache: Cache,
    url: Url,
    /// The response without its body.
    pub(crate) head: CacheResponse,
    body: Body,
    /// Longest body, in bytes.
    max_body: Option<u64>,
    /// Bytes of the body read so far.
    read: u64,
    /// The redirects that led to it.
    redirects: Vec<Redirect>,
    /// A response with only the cookies: reqwest creates its type for cookies from nothing else.
    #[cfg(feature = "cookies")]
    cookies: std::sync::OnceLock<Box<reqwest::Response>>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("url", &self.url.as_str())
            .field("cache_status", &format_args!("{}", self.cache_status()))
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl Response {
    /// Creates a response. Reading more than `max_body` bytes of its body is an error.
    pub(crate) fn new(cache: Cache, url: Url, mut response: CacheResponse, max_body: Option<u64>) -> Self {
        let body = std::mem::take(response.body_mut());
        Self {
            cache,
            url,
            head: response,
            body,
            max_body,
            read: 0,
            redirects: Vec::new(),
            #[cfg(feature = "cookies")]
            cookies: std::sync::OnceLock::new(),
        }
    }

    /// Sets the redirects that led to the response.
    pub(crate) fn with_redirects(mut self, chain: Chain) -> Self {
        self.redirects = chain.followed;
        self
    }

    /// Returns the response with this body, of which nothing has been read.
    #[cfg(feature = "refresh")]
    pub(crate) fn with_content(mut self, content: Bytes) -> Self {
        self.body = Body::from(content);
        self.read = 0;
        self
    }

    /// Continues the body with that of another response, which has the rest.
    pub(crate) fn continue_with(&mut self, rest: Self) {
        self.body = rest.body;
    }

    /// Limits the time for reading the body.
    pub(crate) fn within(mut self, deadline: Deadline) -> Self {
        self.body = deadline.limit(self.body);
        self
    }

    /// Returns the status code.
    pub fn status(&self) -> StatusCode {
        self.head.status()
    }

    /// Returns the headers as the origin sent them.
    ///
    /// The `Age` and `Cache-Status` of this cache are not among them; see [`age`](Self::age) and
    /// [`cache_status`](Self::cache_status).
    pub fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    /// Returns the URL of the response: the last one of a redirect chain.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the redirects that were followed, from the first URL to that of the response.
    pub fn redirects(&self) -> &[Redirect] {
        &self.redirects
    }

    /// Returns the URL to which the requested one has moved permanently. `None` if it has not.
    ///
    /// It is the one to request from now on: that of the last in an unbroken row of redirects with
    /// 301 or 308, from the first one on. [`url`](Self::url) may be another one, after a temporary
    /// redirect. A page that is gone has the status 410.
    ///
    /// ```no_run
    /// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
    /// let response = client.get("https://example.com/old.xml").send().await?;
    /// if let Some(moved) = response.moved_to() {
    ///     println!("replace the link by {moved}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// RFC 9110 §15.4.2, §15.4.9.
    pub fn moved_to(&self) -> Option<&Url> {
        let permanent = self.redirects.iter().take_while(|redirect| redirect.is_permanent());
        permanent.last().map(Redirect::location)
    }

    /// Returns the HTTP version of the origin's response.
    ///
    /// It is HTTP/1.1 for a response from the cache, of which the version is not known.
    pub fn version(&self) -> Version {
        self.head.origin_version().unwrap_or_default()
    }

    /// Returns the address of the server. `None` if it has not sent the response to this request,
    /// such as for a hit.
    ///
    /// ```no_run
    /// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
    /// let response = client.get("https://example.com/").send().await?;
    /// println!("{:?} {:?}", response.version(), response.remote_addr());
    /// # Ok(())
    /// # }
    /// ```
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.extensions().get::<RemoteAddr>().map(|address| address.0)
    }

    /// Returns the extensions of the response. They are never stored.
    pub fn extensions(&self) -> &Extensions {
        self.head.origin_extensions()
    }

    /// Returns the extensions of the response as a mutable reference.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        self.head.origin_extensions_mut()
    }

    /// Returns the cookies in the response, also in one from the cache. Invalid ones are left out.
    ///
    /// ```no_run
    /// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
    /// let response = client.get("https://example.com/").send().await?;
    /// let session = response.cookies().find(|cookie| cookie.name() == "session");
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "cookies")]
    pub fn cookies(&self) -> impl Iterator<Item = reqwest::cookie::Cookie<'_>> {
        let parsed = self.cookies.get_or_init(|| {
            let mut response = http::Response::new("");
            for cookie in self.headers().get_all(http::header::SET_COOKIE) {
                response.headers_mut().append(http::header::SET_COOKIE, cookie.clone());
            }
            Box::new(response.into())
        });
        parsed.cookies()
    }

    /// Returns the length of the rest of the body in bytes, if it is known.
    pub fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Returns how the cache handled the request, such as a hit or a miss.
    pub fn outcome(&self) -> CacheOutcome {
        self.head.cache_status().outcome()
    }

    /// Returns how the cache handled the request, in detail (RFC 9211).
    pub fn cache_status(&self) -> &CacheStatus {
        self.head.cache_status()
    }

    /// Returns the age of the response in whole seconds (RFC 9111 §5.1).
    ///
    /// `None` if the origin sent or revalidated the response for this request. A cache between the
    /// client and the origin may have set an `Age` header nevertheless.
    pub fn age(&self) -> Option<Duration> {
        self.head.age().map(|age| Duration::from_secs(age.as_secs()))
    }

    /// Returns this response, or an error if its status is an error.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Status`](ErrorKind::Status) if the status is 400 or above.
    pub fn error_for_status(self) -> Result<Self, Error> {
        self.error_for_status_ref()?;
        Ok(self)
    }

    /// Returns a reference to this response, or an error if its status is an error.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Status`](ErrorKind::Status) if the status is 400 or above.
    pub fn error_for_status_ref(&self) -> Result<&Self, Error> {
        let status = self.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(Error::new(ErrorKind::Status(status), Some(&self.url)));
        }
        Ok(self)
    }

    /// Reads the whole body. A hit in memory returns the stored bytes without a copy.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Body`](ErrorKind::Body) or [`Timeout`](ErrorKind::Timeout) if
    /// the body ends early, and of kind [`BodyTooLarge`](ErrorKind::BodyTooLarge) if it is longer
    /// than [`max_body`](crate::CachedClientBuilder::max_body), by default 256 MiB.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        self.max_body.get_or_insert(DEFAULT_MAX_IN_MEMORY);
        self.collect().await
    }

    /// Reads the rest of the body.
    async fn collect(&mut self) -> Result<Bytes, Error> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let remaining = self.body.size_hint().lower().min(DEFAULT_MAX_IN_MEMORY);
        let remaining = usize::try_from(remaining).unwrap_or(0);
        let mut all = BytesMut::with_capacity(first.len() + second.len() + remaining);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Reads the whole body as text, in the charset of its `Content-Type` (feature `charset`) or as
    /// UTF-8.
    ///
    /// Invalid sequences become U+FFFD.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the body cannot be read; see [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, Error> {
        let content_type = self.headers().get(http::header::CONTENT_TYPE).cloned();
        Ok(crate::text::decode(content_type.as_ref(), self.bytes().await?))
    }

    /// Reads the whole body as JSON.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the body cannot be read (see [`bytes`](Self::bytes)), and of kind
    /// [`Decode`](ErrorKind::Decode) if it is not valid JSON or does not match the type.
    #[cfg(feature = "json")]
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        let url = self.url.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(ErrorKind::Decode, Some(&url)).with_source(error))
    }

    /// Reads the next chunk of the body. Returns `None` at the end.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Body`](ErrorKind::Body) or [`Timeout`](ErrorKind::Timeout) if
    /// the body ends early, and of kind [`BodyTooLarge`](ErrorKind::BodyTooLarge) if it is longer
    /// than [`max_body`](crate::CachedClientBuilder::max_body), by default unlimited.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point; no chunk is lost.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await.transpose()
    }

    /// Polls for the next chunk, and checks the limit.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let chunk = match ready!(self.body.poll_chunk(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(Error::reading(error, &self.url)))),
            Some(Ok(chunk)) => chunk,
        };
        self.read += chunk.len() as u64;
        if let Some(max) = self.max_body.filter(|max| self.read > *max) {
            self.body = Body::empty();
            return Poll::Ready(Some(Err(Error::new(ErrorKind::BodyTooLarge(max), Some(&self.url)))));
        }
        Poll::Ready(Some(Ok(chunk)))
    }

    /// Converts the response into a stream of the chunks of its body.
    pub fn bytes_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        ChunkStream(self)
    }

    /// Reads the whole body into memory and returns the response with it.
    ///
    /// The response then occupies no connection, and its body can be read without waiting.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the body cannot be read; see [`bytes`](Self::bytes).
    pub async fn buffered(mut self) -> Result<Self, Error> {
        let limit = self.max_body;
        self.max_body.get_or_insert(DEFAULT_MAX_IN_MEMORY);
        self.body = Body::from(self.collect().await?);
        self.read = 0;
        self.max_body = limit;
        Ok(self)
    }

    /// Converts to an `http::Response`, with the `Age` and `Cache-Status` headers of the cache.
    pub fn into_http(mut self) -> http::Response<Body> {
        let (version, extensions) = (self.version(), std::mem::take(self.extensions_mut()));
        let mut response = self.cache.into_http(self.head).map(|_| self.body);
        *response.version_mut() = version;
        *response.extensions_mut() = extensions;
        response
    }

    /// Converts to a `reqwest::Response`, with the `Age` and `Cache-Status` headers of the cache.
    pub fn into_reqwest(self) -> reqwest::Response {
        let url = self.url.clone();
        reqwest_response(self.into_http(), url)
    }
}

/// Converts an `http` response to reqwest's type.
pub(crate) fn reqwest_response(response: http::Response<Body>, url: Url) -> reqwest::Response {
    let (parts, body) = response.into_parts();
    let built = http::Response::builder().url(url).body(to_reqwest_body(body));
    let (mut head, body) = built.expect("a response with only a URL is valid").into_parts();
    head.status = parts.status;
    head.version = parts.version;
    head.headers = parts.headers;
    head.extensions.extend(parts.extensions);
    reqwest::Response::from(http::Response::from_parts(head, body))
}

/// The stream of a response's chunks.
struct ChunkStream(Response);

impl Stream for ChunkStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_chunk(cx)
    }
}
