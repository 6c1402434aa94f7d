//! The client: a request goes through the cache, and along its redirects.

use std::sync::Arc;

use http::{HeaderMap, Method, header::Entry};
use larder_core::{
    Body, Cache, CacheKey, CacheMode, CacheResponse, FetchError, FetchOptions, Lookup, Miss, Origin,
    RequestHead,
};
use reqwest::{IntoUrl, Request, Url};

use crate::{
    CachedClientBuilder, Error, ErrorKind, RedirectPolicy, RequestBuilder, Response, cookies::Cookies,
    origin::origin_error, parts::key_of, redirect, replayable_body::ReplayableBody,
    request_options::RequestOptions,
};

/// A `reqwest::Client` with a memory. Cloning shares connections and cache.
///
/// ```no_run
/// # async fn example() -> Result<(), larder_reqwest::Error> {
/// let client = larder_reqwest::CachedClient::new()?;
/// let page = client.get("https://example.com/").send().await?;
/// println!("{} ({})", page.status(), page.cache_status());
/// let text = page.text().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CachedClient {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    pub(crate) cache: Cache,
    pub(crate) origin: Arc<dyn Origin>,
    /// What makes this client's keys its own.
    pub(crate) partition: Option<Box<[u8]>>,
    pub(crate) default_headers: HeaderMap,
    pub(crate) cookies: Cookies,
    pub(crate) options: RequestOptions,
    pub(crate) redirect: RedirectPolicy,
}

impl CachedClient {
    /// A client with a private cache of its own in memory: what one browser would keep for one user, for as long as the
    /// client lives.
    ///
    /// # Errors
    ///
    /// If TLS can't be set up.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A client with another store, another kind of cache, other limits.
    pub fn builder() -> CachedClientBuilder {
        CachedClientBuilder::new()
    }

    /// A GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A HEAD request; answered from a stored response to GET, too.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A POST request. It goes to the origin, and what is stored of its target is invalidated (RFC 9111 §4.4); see
    /// [`RequestBuilder::as_query`] for one that only asks.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request; what is stored of its target is invalidated.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A PATCH request; what is stored of its target is invalidated.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A DELETE request; what is stored of its target is invalidated.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A request. What is wrong with the URL is said when it is sent.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), self.inner.http.request(method, url))
    }

    /// Sends a request that was built before.
    ///
    /// # Errors
    ///
    /// As for [`RequestBuilder::send`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point. A fetch that others wait for is handed over; what has begun to arrive is stored.
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        self.send(request, &self.inner.options).await
    }

    /// The cache: to purge, and to wait for what goes on in the background ([`Cache::drain`]) before the process ends.
    pub fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// The key under which this client finds a URL.
    ///
    /// # Errors
    ///
    /// If the URL is not one of http or https.
    pub fn key(&self, url: &Url) -> Result<CacheKey, Error> {
        let key =
            key_of(url).map_err(|error| Error::new(ErrorKind::Request, Some(url)).with_source(error))?;
        Ok(match &self.inner.partition {
            Some(partition) => key.with_extra(partition),
            None => key,
        })
    }

    /// Forgets what is stored of a URL. When it returns, no request gets it any more.
    ///
    /// # Errors
    ///
    /// If the URL is not one of http or https, or the store can't promise it.
    pub async fn purge(&self, url: impl IntoUrl) -> Result<(), Error> {
        let url = url.into_url()?;
        let purged = self.inner.cache.purge_key(&self.key(&url)?).await;
        purged.map_err(|error| Error::new(ErrorKind::Request, Some(&url)).with_source(error))
    }

    pub(crate) async fn send(
        &self,
        mut request: Request,
        wishes: &RequestOptions,
    ) -> Result<Response, Error> {
        let mut content = ReplayableBody::of(&mut request);
        self.prepare(&mut request, wishes.mode);
        let policy = self.inner.redirect;
        let mut followed = 0;
        loop {
            let answer = self.ask(&mut request, &mut content, wishes).await?;
            self.inner.cookies.take(&answer, request.url());
            if !policy.follows() || !redirect::follow(&answer, &mut request, &mut content)? {
                let url = request.url().clone();
                return Ok(Response::new(self.inner.cache.clone(), url, answer, wishes.max_body));
            }
            self.inner.cookies.forget(request.headers_mut());
            policy.check(followed, request.url())?;
            followed += 1;
        }
    }

    async fn ask(
        &self,
        request: &mut Request,
        content: &mut ReplayableBody,
        wishes: &RequestOptions,
    ) -> Result<CacheResponse, Error> {
        self.inner.cookies.give(request);
        let mut key = self.key(request.url())?;
        for extra in &wishes.extra {
            key = key.with_extra(extra);
        }
        let question = wishes.question(&key, request, content);
        let (key, method) = match &question {
            Some(key) => (key, &Method::GET),
            None => (&key, request.method()),
        };
        let answer = match self.inner.cache.lookup(key, &RequestHead::new(method, request.headers())).await {
            Lookup::Hit(answer) => answer,
            Lookup::Miss(found) => {
                let options = wishes.options(question.is_some());
                // Boxed: a hit's future should not carry the room for a whole fetch.
                let fetching = Box::pin(self.fetch(found, request, content.take(), &options));
                fetching.await.map_err(|error| Error::fetching(error, request.url()))?
            }
        };
        // 504 of our own making is not an answer.
        if answer.is_not_cached() {
            return Err(Error::new(ErrorKind::NotCached, Some(request.url())));
        }
        Ok(answer)
    }

    async fn fetch(
        &self,
        found: Miss,
        request: &Request,
        body: Body,
        options: &FetchOptions,
    ) -> Result<CacheResponse, FetchError> {
        // A copy: a redirect may need it again. Its own extensions, such as its timeout, go along.
        let copy = request.try_clone().expect("its body has been taken out");
        let request = http::Request::<reqwest::Body>::try_from(copy).map_err(origin_error)?.map(|_| body);
        self.inner.cache.resume(found, request, Arc::clone(&self.inner.origin), options).await
    }

    /// The client's own fields and the mode: once, since what a redirect takes off must stay off.
    fn prepare(&self, request: &mut Request, mode: CacheMode) {
        for (name, value) in &self.inner.default_headers {
            if let Entry::Vacant(place) = request.headers_mut().entry(name) {
                place.insert(value.clone());
            }
        }
        mode.apply(request.headers_mut());
    }
}
