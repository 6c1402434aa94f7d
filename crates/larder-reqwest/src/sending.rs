//! Sends a request: looks it up in the cache, fetches it on a miss, and follows redirects.
//!
//! `redirect` computes the next request of a chain, `cookies` holds the jar, `codings` decodes
//! content.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use larder_core::{
    Body, Cache, CacheKey, CacheMode, CacheResponse, FetchError, FetchOptions, Lookup, Miss, Origin,
    RequestHead,
};
use reqwest::{Request, Url};

use crate::{
    Error, ErrorKind, RedirectPolicy, Response,
    codings::Codings,
    cookies::Cookies,
    deadline::Deadline,
    origin::origin_error,
    parts::{self, key_of},
    redirect::Chain,
    replayable_body::ReplayableBody,
    request_options::{RequestKeys, RequestOptions},
    unseen_redirects::{FinalUrl, UnseenRedirects},
};

/// The state that all clones of a client share.
pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    pub(crate) cache: Cache,
    pub(crate) origin: Arc<dyn Origin>,
    /// The part that separates this client's cache keys from those of other clients.
    pub(crate) partition: Option<Box<[u8]>>,
    /// What separates the responses for this client from those for others, as a digest in the key.
    pub(crate) client_partition: Option<Box<[u8]>>,
    pub(crate) default_headers: HeaderMap,
    pub(crate) cookies: Cookies,
    pub(crate) codings: Codings,
    pub(crate) options: RequestOptions,
    pub(crate) redirect: RedirectPolicy,
    /// Whether `Referer` is set on redirects.
    pub(crate) referer: bool,
    /// Whether requests that are not https are rejected, also those that a redirect leads to.
    pub(crate) https_only: bool,
    /// Whether `http` was built outside, so that it may follow redirects itself.
    pub(crate) is_foreign: bool,
    /// Longest time of an exchange with the origin, as far as it is known.
    pub(crate) timeout: Option<Duration>,
}

impl Inner {
    /// Returns the cache key of a URL, including the client's partition.
    pub(crate) fn key(&self, url: &Url) -> Result<CacheKey, Error> {
        let key =
            key_of(url).map_err(|error| Error::new(ErrorKind::Request, Some(url)).with_source(error))?;
        let partition = self.partition.as_deref();
        let key = partition.map_or_else(|| key.clone(), |partition| key.with_extra(partition));
        Ok(parts::key_of_client(&key, self.client_partition.as_deref()))
    }

    /// Sends a request through the cache and follows its redirects, within the request's limit.
    pub(crate) async fn send(
        &self,
        mut request: Request,
        options: &RequestOptions,
    ) -> Result<Response, Error> {
        match request.timeout_mut().take() {
            None => self.follow(request, options).await,
            // Boxed, so that a future without a limit does not reserve space for one with it.
            Some(limit) => Box::pin(self.send_within(limit, request, options)).await,
        }
    }

    /// Sends a request of a caller that waits for at most `limit`, to the end of the response's
    /// body.
    async fn send_within(
        &self,
        limit: Duration,
        mut request: Request,
        options: &RequestOptions,
    ) -> Result<Response, Error> {
        let deadline = Deadline::start(limit);
        // Other callers may share the exchange with the origin: a limit may lengthen it, but not
        // shorten it.
        *request.timeout_mut() = self.timeout.is_some_and(|usual| limit > usual).then_some(limit);
        let url = request.url().clone();
        let repeat =
            request.timeout().and_then(|_| request.try_clone()).filter(|_| request.method().is_safe());
        let sending = async {
            match (self.follow(request, options).await, repeat) {
                // Perhaps that of another caller, who had the shorter limit of the client.
                (Err(error), Some(repeat)) if error.kind() == ErrorKind::Timeout => {
                    self.follow(repeat, options).await
                }
                (result, _) => result,
            }
        };
        match deadline.wait(sending).await {
            Ok(result) => result.map(|response| response.within(deadline)),
            Err(passed) => Err(Error::new(ErrorKind::Timeout, Some(&url)).with_source(passed)),
        }
    }

    /// Sends a request through the cache and follows its redirects.
    async fn follow(&self, mut request: Request, options: &RequestOptions) -> Result<Response, Error> {
        let mut body = ReplayableBody::take_from(&mut request);
        self.prepare(&mut request, options.mode);
        let mut chain = Chain::new(self.redirect, self.referer, request.headers());
        loop {
            if self.https_only && request.url().scheme() != "https" {
                let kind = if chain.is_empty() { ErrorKind::Request } else { ErrorKind::Redirect };
                return Err(Error::new(kind, Some(request.url())).with_source("only https is allowed"));
            }
            let response = self.send_once(&mut request, &mut body, options).await?;
            self.cookies.store_from(&response, request.url());
            if !chain.follow(&response, &mut request, &mut body)? {
                let reached = response.origin_extensions().get::<FinalUrl>().map(|url| url.0.clone());
                let (cache, url) = (self.cache.clone(), reached.unwrap_or_else(|| request.url().clone()));
                return Ok(Response::new(cache, url, response, options.max_body).with_redirects(chain));
            }
        }
    }

    /// Sends a request through the cache, without following redirects.
    async fn send_once(
        &self,
        request: &mut Request,
        body: &mut ReplayableBody,
        options: &RequestOptions,
    ) -> Result<CacheResponse, Error> {
        self.cookies.add_to(request);
        let target = parts::target(request).ok_or_else(|| {
            Error::new(ErrorKind::Request, Some(request.url())).with_source("the Host header is not a host")
        })?;
        let RequestKeys { key, form_of, is_query } = options.keys(self.key(&target)?, request, body);
        // A safe query is looked up like a GET.
        let method = if is_query { &Method::GET } else { request.method() };
        let mut looked_up = self.cache.lookup(&key, &RequestHead::new(method, request.headers())).await;
        if let Lookup::Miss(_) = &looked_up
            && options.has_waits()
            && Box::pin(options.wait_for_turn(request.url())).await?
        {
            // Another request may have fetched it meanwhile.
            let head = RequestHead::new(method, request.headers());
            looked_up = Box::pin(self.cache.lookup(&key, &head)).await;
        }
        let mut response = match looked_up {
            Lookup::Hit(response) => {
                response.with_origin(|| Some((parts::head_of(request)?, Arc::clone(&self.origin))))
            }
            Lookup::Miss(miss) => {
                let content = options.content(body);
                let is_safe = is_query || options.query && !content.is_empty();
                let mut fetch_options = options.fetch_options(is_safe, form_of);
                let mut origin = Arc::clone(&self.origin);
                if self.is_foreign {
                    let overrides = fetch_options.overrides.take();
                    (origin, fetch_options.overrides) = UnseenRedirects::wrap(origin, overrides);
                }
                // Boxed, so that the future of a hit does not reserve space for a fetch.
                let fetching = Box::pin(self.fetch(miss, request, content, origin, &fetch_options));
                fetching.await.map_err(|error| Error::fetching(error, request.url()))?
            }
        };
        // The cache's own 504 becomes an error; it is not a response of the origin.
        if response.is_not_cached() {
            return Err(Error::new(ErrorKind::NotCached, Some(request.url())));
        }
        self.codings.decode(&mut response);
        Ok(response)
    }

    /// Fetches a response from the origin through the engine.
    async fn fetch(
        &self,
        miss: Miss,
        request: &Request,
        body: Body,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
    ) -> Result<CacheResponse, FetchError> {
        // A copy, since a redirect may need the request again. It includes the extensions, such as
        // the timeout.
        let copy = request.try_clone().expect("a request without body can be cloned");
        let request = http::Request::<reqwest::Body>::try_from(copy).map_err(origin_error)?.map(|_| body);
        miss.fetch(request, origin, options).await
    }

    /// Adds the client's default headers and the mode to a request. This happens once and not for
    /// each redirect, since headers that a redirect removes must not come back.
    pub(crate) fn prepare(&self, request: &mut Request, mode: CacheMode) {
        parts::add_missing(request.headers_mut(), &self.default_headers);
        mode.apply(request.headers_mut());
        parts::use_userinfo(&self.http, request);
    }
}
