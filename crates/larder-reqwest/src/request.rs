//! A request that is being put together: reqwest's methods, and what it wants of the cache.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use larder_core::{CacheMode, Overrides};

use crate::{CachedClient, Error, Response, request_options::RequestOptions};

/// A request that is being put together. What is wrong with it is said by [`send`](Self::send).
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: CachedClient,
    request: reqwest::RequestBuilder,
    /// The client's, unless this request has its own.
    options: Option<Box<RequestOptions>>,
}

impl RequestBuilder {
    pub(crate) fn new(client: CachedClient, request: reqwest::RequestBuilder) -> Self {
        Self { client, request, options: None }
    }

    fn map(mut self, set: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        self.request = set(self.request);
        self
    }

    fn with_option(mut self, set: impl FnOnce(&mut RequestOptions)) -> Self {
        let of_client = || Box::new(self.client.inner.options.clone());
        set(self.options.get_or_insert_with(of_client));
        self
    }

    // The request, as with reqwest.

    /// Adds a field.
    pub fn header<K, V>(self, key: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.map(|request| request.header(key, value))
    }

    /// Adds fields, in place of those of the same name.
    pub fn headers(self, fields: HeaderMap) -> Self {
        self.map(|request| request.headers(fields))
    }

    /// Basic authentication.
    pub fn basic_auth(self, user: impl std::fmt::Display, password: Option<impl std::fmt::Display>) -> Self {
        self.map(|request| request.basic_auth(user, password))
    }

    /// A bearer token.
    pub fn bearer_auth(self, token: impl std::fmt::Display) -> Self {
        self.map(|request| request.bearer_auth(token))
    }

    /// The content.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// How long the exchange with the origin may take, from connecting to the end of the body.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|request| request.timeout(timeout))
    }

    /// Adds parameters to the URL's query.
    #[cfg(feature = "form")]
    pub fn query<T: serde::Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|request| request.query(query))
    }

    /// Sends a form.
    #[cfg(feature = "form")]
    pub fn form<T: serde::Serialize + ?Sized>(self, form: &T) -> Self {
        self.map(|request| request.form(form))
    }

    /// Sends JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, json: &T) -> Self {
        self.map(|request| request.json(json))
    }

    // What it wants of the cache.

    /// What this request wants of the cache.
    pub fn mode(self, mode: CacheMode) -> Self {
        self.with_option(|wishes| wishes.mode = mode)
    }

    /// Asks the origin, whatever is stored. What is unchanged is confirmed (304) and not sent again.
    pub fn reload(self) -> Self {
        self.mode(CacheMode::Reload)
    }

    /// Only what is stored and fresh; an error of kind [`NotCached`](crate::ErrorKind::NotCached) otherwise.
    pub fn only_if_cached(self) -> Self {
        self.mode(CacheMode::OnlyIfCached)
    }

    /// What is stored, however stale; the origin only where there is nothing.
    pub fn prefer_stale(self) -> Self {
        self.mode(CacheMode::PreferStale)
    }

    /// Not stored, nor answered from what is stored without the origin's word.
    pub fn no_store(self) -> Self {
        self.mode(CacheMode::NoStore)
    }

    /// How long the response is fresh, where the server says nothing.
    pub fn default_freshness(self, freshness: Duration) -> Self {
        self.with_option(|wishes| wishes.overrides.default_freshness = Some(freshness))
    }

    /// How long the response is fresh, whatever the server says; see [`Overrides::freshness`]. It counts when the response
    /// comes: what is stored already keeps the lifetime that it has.
    pub fn override_freshness(self, freshness: Duration) -> Self {
        self.with_option(|wishes| wishes.overrides.freshness = Some(freshness))
    }

    /// Whatever else is said of the response, over what the server says.
    pub fn overrides(self, overrides: Overrides) -> Self {
        self.with_option(|wishes| wishes.overrides = overrides.or(std::mem::take(&mut wishes.overrides)))
    }

    /// More that the response is found by: a tenant, a user. Several add up, in their order.
    pub fn key(self, extra: impl AsRef<[u8]>) -> Self {
        self.with_option(|wishes| wishes.extra.push(Bytes::copy_from_slice(extra.as_ref())))
    }

    /// A field of the request that selects the response, though the server's `Vary` does not nominate it.
    pub fn vary(self, name: HeaderName) -> Self {
        self.with_option(|wishes| wishes.overrides.vary.push(name))
    }

    /// The request only asks, though its method may change things: a search by POST. Its response is stored and reused for
    /// the same method, content type and content, if the server or this request gives it a lifetime; and nothing is
    /// invalidated. Content of more than 64 KiB, or that streams, goes to the origin each time.
    pub fn as_query(self) -> Self {
        self.with_option(|wishes| wishes.query = true)
    }

    /// The longest body that the response may have, in bytes; see
    /// [`CachedClientBuilder::max_body`](crate::CachedClientBuilder::max_body).
    pub fn max_body(self, bytes: u64) -> Self {
        self.with_option(|wishes| wishes.max_body = Some(bytes))
    }

    /// The request as reqwest has it, without what it wants of the cache.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn build(self) -> Result<reqwest::Request, Error> {
        Ok(self.request.build()?)
    }

    /// The same again, if its content can be sent again.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        let (client, wishes) = (self.client.clone(), self.options.clone());
        self.request.try_clone().map(|request| Self { client, request, options: wishes })
    }

    /// Sends it: to the cache, and where that is needed to the origin.
    ///
    /// # Errors
    ///
    /// What is wrong with the request; why the origin gave no response, if nothing stored could stand in for it; and
    /// [`NotCached`](crate::ErrorKind::NotCached) where the origin was not to be asked. An error status is a response.
    ///
    /// # Cancel safety
    ///
    /// As for [`CachedClient::execute`].
    pub async fn send(self) -> Result<Response, Error> {
        let request = self.request.build()?;
        match self.options {
            Some(wishes) => self.client.send(request, &wishes).await,
            None => self.client.execute(request).await,
        }
    }
}
