//! The client as programs use it.
//!
//! `sending` sends its requests through the cache, `request_options` holds the cache options.
//! `batch` fetches many URLs, `refresh` on a schedule.

use std::{fmt, sync::Arc};

use futures_core::Stream;
use futures_util::stream;
use http::Method;
use larder_core::{Cache, CacheKey, Purged, Scope, StoreError, forms_of};
use reqwest::{IntoUrl, Request, Url};

use crate::{Batch, CachedClientBuilder, Error, ErrorKind, RequestBuilder, Response, sending::Inner};

/// A `reqwest::Client` with an HTTP cache (RFC 9111).
///
/// Clones share the connections and the cache.
///
/// ```no_run
/// # async fn example() -> Result<(), larder_reqwest::Error> {
/// let client = larder_reqwest::CachedClient::new()?;
/// let page = client.get("https://example.com/").send().await?;
/// println!("{} ({})", page.status(), page.cache_status());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CachedClient {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for CachedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedClient").field("cache", &self.inner.cache).finish_non_exhaustive()
    }
}

impl CachedClient {
    /// Creates a client with a private cache in memory, like that of a browser with one user.
    ///
    /// The cache holds up to 64 MiB and lives as long as the client. The client follows up to 10
    /// redirects.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if TLS cannot be initialized, or if the feature `memory` is disabled.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Creates a builder, to configure the store, the kind of cache, limits and connections.
    pub fn builder() -> CachedClientBuilder {
        CachedClientBuilder::new()
    }

    /// Creates a GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Creates a HEAD request. A stored response to GET can answer it.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Creates a POST request.
    ///
    /// It is sent to the origin, and a non-error response invalidates the stored responses of its
    /// URL (RFC 9111 §4.4). For a POST that changes nothing, such as a search, see
    /// [`RequestBuilder::safe_query`].
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Creates a PUT request. A non-error response invalidates the stored responses of its URL.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Creates a PATCH request. A non-error response invalidates the stored responses of its URL.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Creates a DELETE request. A non-error response invalidates the stored responses of its URL.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Creates a request with any method. An invalid URL is reported when the request is sent.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), self.inner.http.request(method, url))
    }

    /// Sends a request that was built with [`RequestBuilder::build`] or by reqwest.
    ///
    /// The client's cache options apply to it.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the origin sent no response and no stored response could replace it,
    /// if a redirect cannot be followed, and of kind [`NotCached`](ErrorKind::NotCached) if the
    /// client's mode allows only stored responses.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. A fetch that other requests wait for goes on, and a response
    /// that has begun to arrive is stored.
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        self.inner.send(request, &self.inner.options).await
    }

    /// Returns the cache.
    ///
    /// Use it to wait until background tasks have stored their responses before the process ends
    /// ([`Cache::drain`]).
    pub fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// Returns the cache key of a URL, including the client's partition.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the scheme of the URL is neither http nor https.
    pub fn key(&self, url: &Url) -> Result<CacheKey, Error> {
        self.inner.key(url)
    }

    /// Removes the stored responses of a URL in all their variants, and returns how many that were,
    /// as far as the store knows it.
    ///
    /// Requests that begin after this method has returned do not receive them. Only responses of
    /// this client's [partition](crate::CachedClientBuilder::partition) are removed. Those with a
    /// [`key_part`](RequestBuilder::key_part) or of a [`safe_query`](RequestBuilder::safe_query) are
    /// removed, too, and are not counted. [`purge`](Self::purge) removes other sets of responses.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Request`](ErrorKind::Request) if the URL is invalid or its
    /// scheme is neither http nor https, or if the store cannot confirm the removal.
    pub async fn purge_url(&self, url: impl IntoUrl) -> Result<Purged, Error> {
        let url = url.into_url()?;
        let key = self.key(&url)?;
        let purge = async {
            self.inner.cache.purge(Scope::Group(&forms_of(&key))).await?;
            self.inner.cache.purge(Scope::Key(&key)).await
        };
        purge.await.map_err(|error| purge_error(error, Some(&url)))
    }

    /// Marks the stored responses of a URL as stale in all their variants, and returns how many it
    /// has marked, as far as the store knows it.
    ///
    /// They are revalidated at their next request. It concerns the same responses as
    /// [`purge_url`](Self::purge_url).
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Request`](ErrorKind::Request) if the URL is invalid or its
    /// scheme is neither http nor https, or if the store cannot confirm that they are stale.
    pub async fn soft_purge_url(&self, url: impl IntoUrl) -> Result<Purged, Error> {
        let url = url.into_url()?;
        let key = self.key(&url)?;
        let mark = async {
            self.inner.cache.soft_purge(Scope::Group(&forms_of(&key))).await?;
            self.inner.cache.soft_purge(Scope::Key(&key)).await
        };
        mark.await.map_err(|error| purge_error(error, Some(&url)))
    }

    /// Removes all responses of `scope` from the client's cache, and returns how many that were,
    /// as far as the store knows it.
    ///
    /// It is not limited to this client's [partition](crate::CachedClientBuilder::partition).
    ///
    /// ```
    /// use larder_core::{CacheGroup, Scope};
    ///
    /// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
    /// client.purge(Scope::Group(&CacheGroup::new("https://example.com", "news"))).await?;
    /// client.purge(Scope::Prefix("https://example.com/blog/")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Request`](ErrorKind::Request) if the store cannot confirm the
    /// removal.
    pub async fn purge(&self, scope: Scope<'_>) -> Result<Purged, Error> {
        self.inner.cache.purge(scope).await.map_err(|error| purge_error(error, None))
    }

    /// Marks all responses of `scope` in the client's cache as stale, and returns how many it has
    /// marked, as far as the store knows it.
    ///
    /// They are revalidated at their next request, in every
    /// [partition](crate::CachedClientBuilder::partition).
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Request`](ErrorKind::Request) if the store cannot confirm that
    /// they are stale.
    pub async fn soft_purge(&self, scope: Scope<'_>) -> Result<Purged, Error> {
        self.inner.cache.soft_purge(scope).await.map_err(|error| purge_error(error, None))
    }

    /// Fetches many URLs concurrently with GET, each through the cache.
    ///
    /// Returns a [`Batch`]: configure it, then read it as a stream. Defaults: 32 concurrent
    /// requests, 6 to one host, no retries. An invalid URL is reported as the result of that URL.
    ///
    /// ```no_run
    /// # async fn example(client: larder_reqwest::CachedClient) {
    /// use futures_util::StreamExt as _;
    ///
    /// let urls = (1..=100).map(|n| format!("https://example.com/{n}"));
    /// let mut pages = client.fetch_all(urls).concurrency(32).per_host(6).retry(2);
    /// while let Some(page) = pages.next().await {
    ///     match page.result {
    ///         Ok(response) => println!("{} {}", page.url, response.outcome()),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn fetch_all<I>(&self, urls: I) -> Batch
    where
        I: IntoIterator<Item: Into<String> + 'static, IntoIter: Send + 'static>,
    {
        self.fetch_stream(stream::iter(urls.into_iter().map(Into::into)))
    }

    /// Fetches the URLs of a stream concurrently with GET, each through the cache.
    ///
    /// URLs are taken from the stream as slots become free. See [`fetch_all`](Self::fetch_all) for
    /// a list.
    pub fn fetch_stream(&self, urls: impl Stream<Item = String> + Send + 'static) -> Batch {
        Batch::new(self.clone(), Box::pin(urls))
    }

    /// Creates a builder of a [`Refresher`](crate::Refresher), which fetches pages on a schedule.
    #[cfg(feature = "refresh")]
    pub fn refresher(&self) -> crate::RefresherBuilder {
        crate::RefresherBuilder::new(self.clone())
    }
}

/// Adds a private cache in memory to a client, as
/// [`CachedClientBuilder::client`](crate::CachedClientBuilder::client) does.
///
/// ```
/// use larder_reqwest::{CachedClient, reqwest};
///
/// let client = CachedClient::from(reqwest::Client::new());
/// ```
#[cfg(feature = "memory")]
impl From<reqwest::Client> for CachedClient {
    fn from(client: reqwest::Client) -> Self {
        Self::builder().client(client).build().expect("a client that has been built, and a store in memory")
    }
}

/// Creates the error of a purge that the store could not confirm.
fn purge_error(error: StoreError, url: Option<&Url>) -> Error {
    Error::new(ErrorKind::Request, url).with_source(error)
}
