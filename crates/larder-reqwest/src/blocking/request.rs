//! The builder of a blocking request.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use larder_core::CacheMode;

use super::{BlockingResponse, client::ClientRuntime};
use crate::Error;

/// A builder of a request of a blocking client.
///
/// It has the common methods of [`RequestBuilder`](crate::RequestBuilder); [`with`](Self::with)
/// gives access to all others.
///
/// ```no_run
/// # fn example(client: larder_reqwest::BlockingClient) -> Result<(), larder_reqwest::Error> {
/// use std::time::Duration;
///
/// let response = client
///     .get("https://example.com/api")
///     .header("accept", "application/json")
///     .with(|request| request.default_freshness(Duration::from_secs(60)))
///     .send()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a request does nothing until it is sent"]
pub struct BlockingRequest {
    request: crate::RequestBuilder,
    runtime: Arc<ClientRuntime>,
}

impl fmt::Debug for BlockingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}

impl BlockingRequest {
    pub(super) fn new(request: crate::RequestBuilder, runtime: Arc<ClientRuntime>) -> Self {
        Self { request, runtime }
    }

    /// Changes the request with any method of the async builder.
    pub fn with(mut self, change: impl FnOnce(crate::RequestBuilder) -> crate::RequestBuilder) -> Self {
        self.request = change(self.request);
        self
    }

    /// Adds a header. Existing headers of the same name are retained.
    pub fn header<K, V>(self, key: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.with(|request| request.header(key, value))
    }

    /// Adds headers. They replace existing headers of the same name.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|request| request.headers(headers))
    }

    /// Sets an `Authorization` header with a bearer token.
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.with(|request| request.bearer_auth(token))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.with(|request| request.body(body))
    }

    /// Sets JSON as the body.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, json: &T) -> Self {
        self.with(|request| request.json(json))
    }

    /// Sets how long to wait, from sending the request to the end of the response's body. Default:
    /// no limit except those of the client and its cache.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|request| request.timeout(timeout))
    }

    /// Sets how the request uses the cache. Default: the mode of the client.
    pub fn mode(self, mode: CacheMode) -> Self {
        self.with(|request| request.mode(mode))
    }

    /// Sends the request, and waits for the head of its response.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`RequestBuilder::send`](crate::RequestBuilder::send).
    ///
    /// # Panics
    ///
    /// Panics in async code.
    pub fn send(self) -> Result<BlockingResponse, Error> {
        let response = self.runtime.get().block_on(self.request.send())?;
        Ok(BlockingResponse::new(response, self.runtime))
    }
}
