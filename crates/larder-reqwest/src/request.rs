//! The builder of a request: reqwest's methods, and the cache options of the request.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use larder_core::{CacheMode, Overrides};

use crate::{
    CachedClient, Download, Error, Response, Retry, hosts::Pauses, rate::Rates,
    request_options::RequestOptions,
};

/// A builder of a request, with the methods of reqwest's builder and the cache options. Invalid
/// parts are reported by [`send`](Self::send).
///
/// ```no_run
/// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
/// use std::time::Duration;
///
/// let response = client
///     .get("https://example.com/api")
///     .header("accept", "application/json")
///     .default_freshness(Duration::from_secs(60))
///     .send()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: CachedClient,
    request: reqwest::RequestBuilder,
    /// The cache options of this request. `None`: those of the client.
    options: Option<Box<RequestOptions>>,
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder").field("request", &self.request).finish_non_exhaustive()
    }
}

impl RequestBuilder {
    /// Creates a builder from one of reqwest.
    pub(crate) fn new(client: CachedClient, request: reqwest::RequestBuilder) -> Self {
        Self { client, request, options: None }
    }

    /// Changes reqwest's builder.
    fn map(mut self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        self.request = change(self.request);
        self
    }

    /// Changes this request's copy of the cache options.
    fn with_option(mut self, set: impl FnOnce(&mut RequestOptions)) -> Self {
        let client_options = || Box::new(self.client.inner.options.clone());
        set(self.options.get_or_insert_with(client_options));
        self
    }

    /// Adds limits on the rate of requests.
    pub(crate) fn with_rates(self, rates: &Arc<Rates>) -> Self {
        self.with_option(|options| options.rates.push(Arc::clone(rates)))
    }

    /// Sets the pauses of hosts that the request waits for.
    pub(crate) fn with_pauses(self, pauses: Pauses) -> Self {
        self.with_option(|options| options.pauses = Some(pauses))
    }

    // Methods of reqwest.

    /// Adds a header. Existing headers of the same name are retained.
    pub fn header<K, V>(self, key: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.map(|request| request.header(key, value))
    }

    /// Adds headers. They replace existing headers of the same name.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.map(|request| request.headers(headers))
    }

    /// Sets an `Authorization` header for Basic authentication.
    pub fn basic_auth(self, user: impl std::fmt::Display, password: Option<impl std::fmt::Display>) -> Self {
        self.map(|request| request.basic_auth(user, password))
    }

    /// Sets an `Authorization` header with a bearer token.
    pub fn bearer_auth(self, token: impl std::fmt::Display) -> Self {
        self.map(|request| request.bearer_auth(token))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// Sets how long the caller waits, from sending the request to the end of the response's body.
    ///
    /// When it has passed, the result is an error of kind
    /// [`Timeout`](crate::ErrorKind::Timeout), also if the request waits for the fetch of another
    /// one. It does not end a fetch that other requests share. Default: no limit except that of the
    /// client for the exchange with the origin
    /// ([`CachedClientBuilder::timeout`](crate::CachedClientBuilder::timeout)), which a longer
    /// `timeout` replaces.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|request| request.timeout(timeout))
    }

    /// Adds parameters to the query of the URL.
    #[cfg(feature = "form")]
    pub fn query<T: serde::Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|request| request.query(query))
    }

    /// Sets a URL-encoded form as the body.
    #[cfg(feature = "form")]
    pub fn form<T: serde::Serialize + ?Sized>(self, form: &T) -> Self {
        self.map(|request| request.form(form))
    }

    /// Sets a form with files as the body, and its `Content-Type` and `Content-Length`.
    ///
    /// ```no_run
    /// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
    /// use larder_reqwest::reqwest::multipart::{Form, Part};
    ///
    /// let report = Part::text("a,b\n1,2\n").file_name("report.csv");
    /// let form = Form::new().text("title", "Report").part("file", report);
    /// let response = client.post("https://example.com/upload").multipart(form).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "multipart")]
    pub fn multipart(self, form: reqwest::multipart::Form) -> Self {
        self.map(|request| request.multipart(form))
    }

    /// Sets the HTTP version of the request. Default: that which client and server agree on.
    pub fn version(self, version: Version) -> Self {
        self.map(|request| request.version(version))
    }

    /// Sets JSON as the body.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, json: &T) -> Self {
        self.map(|request| request.json(json))
    }

    // Cache options.

    /// Sets how the request uses the cache. Default: the mode of the client.
    pub fn mode(self, mode: CacheMode) -> Self {
        self.with_option(|options| options.mode = mode)
    }

    /// Revalidates the stored response with the origin, even if it is fresh.
    ///
    /// If the response is unchanged, the origin replies with 304 and does not send the body again.
    /// Without a stored response, it is fetched.
    pub fn reload(self) -> Self {
        self.mode(CacheMode::Reload)
    }

    /// Uses only a fresh stored response, and never the network.
    ///
    /// Without one, the result is an error of kind [`NotCached`](crate::ErrorKind::NotCached). To
    /// accept stale responses too, use [`mode`](Self::mode) with [`CacheMode::Offline`].
    pub fn only_if_cached(self) -> Self {
        self.mode(CacheMode::OnlyIfCached)
    }

    /// Uses a stored response regardless of its age.
    ///
    /// The request is sent to the origin if none is stored, or if the stored one has
    /// `must-revalidate` or `no-cache` and is stale.
    pub fn prefer_stale(self) -> Self {
        self.mode(CacheMode::PreferStale)
    }

    /// Prevents storing of the response. A response that is already stored is used only after
    /// revalidation.
    pub fn no_store(self) -> Self {
        self.mode(CacheMode::NoStore)
    }

    /// Sets how long the response is fresh, if the server specifies neither a lifetime nor
    /// `no-cache`.
    pub fn default_freshness(self, freshness: Duration) -> Self {
        self.with_option(|options| options.overrides.default_freshness = Some(freshness))
    }

    /// Sets how long the response is fresh, in place of what the server specifies; see
    /// [`Overrides::freshness`].
    ///
    /// It applies when the response arrives: a response that is already stored retains its
    /// lifetime.
    pub fn override_freshness(self, freshness: Duration) -> Self {
        self.with_option(|options| options.overrides.freshness = Some(freshness))
    }

    /// Adds overrides of the response's caching directives. They take precedence over overrides
    /// added before and over those of the client.
    pub fn overrides(self, overrides: Overrides) -> Self {
        self.with_option(|options| options.overrides = overrides.or(std::mem::take(&mut options.overrides)))
    }

    /// Adds a part to the cache key, such as a tenant or user. Several parts are appended in the
    /// order of the calls.
    pub fn key_part(self, extra: impl AsRef<[u8]>) -> Self {
        self.with_option(|options| options.extra.push(Bytes::copy_from_slice(extra.as_ref())))
    }

    /// Adds the name of a request header that selects the response, in addition to those in the
    /// response's `Vary`.
    pub fn vary(self, name: HeaderName) -> Self {
        self.with_option(|options| options.overrides.vary.push(name))
    }

    /// Marks the request as a safe query although its method is not safe, such as a search by POST.
    ///
    /// Its response is stored, if the server or this request specifies a lifetime, and reused for
    /// requests with the same method, content type and body. Nothing is invalidated. Requests with
    /// a body longer than 64 KiB or a streamed body are sent to the origin each time. A purge of
    /// the URL removes the responses to all its queries.
    pub fn safe_query(self) -> Self {
        self.with_option(|options| options.query = true)
    }

    /// Sets the longest response body, in bytes; see
    /// [`CachedClientBuilder::max_body`](crate::CachedClientBuilder::max_body). Default: that of
    /// the client.
    pub fn max_body(self, bytes: u64) -> Self {
        self.with_option(|options| options.max_body = Some(bytes))
    }

    /// Builds reqwest's request, without the cache options.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if a part of the request is invalid, such as its URL or a header.
    pub fn build(self) -> Result<reqwest::Request, Error> {
        Ok(self.request.build()?)
    }

    /// Sends the request, and returns a [`Download`], which continues a body that breaks off.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if there is no response; see [`send`](Self::send). `retry` concerns
    /// only the body.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point; see [`send`](Self::send).
    pub async fn download(self, retry: impl Into<Retry>) -> Result<Download, Error> {
        let again = self.try_clone();
        Ok(Download::new(again, self.send().await?, retry))
    }

    /// Returns whether the method is GET and every part of the request is valid.
    pub(crate) fn is_get(&self) -> bool {
        let request = self.request.try_clone().and_then(|request| request.build().ok());
        request.is_some_and(|request| request.method() == Method::GET)
    }

    /// Clones the request. Returns `None` if its body is a stream, which can be sent only once.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        let (client, options) = (self.client.clone(), self.options.clone());
        self.request.try_clone().map(|request| Self { client, request, options })
    }

    /// Sends the request. The response comes from the cache, or from the origin if the cache has
    /// none.
    ///
    /// A response with an error status is a response and not an error.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the request is invalid, if the origin sent no response and no stored
    /// response could replace it, if a redirect cannot be followed, and of kind
    /// [`NotCached`](crate::ErrorKind::NotCached) if the mode allows only stored responses.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. A fetch that other requests wait for goes on, and a response
    /// that has begun to arrive is stored.
    pub async fn send(self) -> Result<Response, Error> {
        let request = self.request.build()?;
        match self.options {
            Some(options) => self.client.inner.send(request, &options).await,
            None => self.client.execute(request).await,
        }
    }
}
