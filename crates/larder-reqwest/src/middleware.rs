//! The cache as a middleware of `reqwest-middleware`, for programs that already use its stack, for
//! example for retries and tracing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::Extensions;
use larder_core::{
    Body, Cache, CacheMode, FetchOptions, Lookup, Miss, OriginError, OriginErrorKind, OverrideFn, Overrides,
    RequestHead, Responder, local_origin,
};
use parking_lot::Mutex;
use reqwest::{Request, Response, Url};
use reqwest_middleware::{Error, Middleware, Next};

use crate::{
    codings::Codings,
    deadline::Deadline,
    origin::{error_kind, from_reqwest, to_reqwest},
    parts::key_of,
    replayable_body::ReplayableBody,
    response::reqwest_response,
};

/// The cache as a middleware of `reqwest-middleware`. The rest of the stack behind it is its
/// origin.
///
/// To set the cache mode or other options of one request, add a [`CacheMode`] or [`FetchOptions`]
/// to its extensions: `client.get(url).with_extension(CacheMode::Reload)`.
///
/// To cache redirects, build the client with `redirect(Policy::none())`. A response that reqwest
/// reached by following redirects is returned but not stored, since it belongs to another URL.
///
/// The cache does not see headers that the client adds to requests, such as `default_headers` and
/// cookies. If the server's `Vary` names one of them, add that header in a middleware in front of
/// the cache.
///
/// The timeout of a request (`client.get(url).timeout(limit)`) ends only that caller's wait, with a
/// [`larder_reqwest::Error`](crate::Error) of kind [`Timeout`](crate::ErrorKind::Timeout), and not
/// a fetch that other requests share. The rest of the stack sends the request with the timeout of
/// the `reqwest::Client`. Errors of the rest of the stack are returned unchanged.
///
/// ```
/// use std::sync::Arc;
/// use larder_core::{Cache, Rules};
/// use larder_memory::MemoryStore;
/// use larder_reqwest::{CachingMiddleware, reqwest};
/// use reqwest_middleware::ClientBuilder;
///
/// # fn main() -> Result<(), reqwest::Error> {
/// let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
/// let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::private()).build();
/// let client = ClientBuilder::new(http).with(CachingMiddleware::new(cache)).build();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CachingMiddleware {
    cache: Cache,
}

impl CachingMiddleware {
    /// Creates the middleware with this cache.
    ///
    /// The middleware does not separate users. A cache with
    /// [`Rules::private`](larder_core::Rules::private) needs a store that only one user's requests
    /// use.
    pub fn new(cache: Cache) -> Self {
        Self { cache }
    }
}

/// A response and its URL, which differs from that of the request if reqwest followed redirects.
type UrlResponse = (http::Response<Body>, Url);

#[async_trait]
impl Middleware for CachingMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let (response, url) = match request.timeout_mut().take() {
            None => self.respond(request, extensions, next).await?,
            // Boxed, so that a future without a limit does not reserve space for one with it.
            Some(limit) => Box::pin(self.respond_within(limit, request, extensions, next)).await?,
        };
        Ok(reqwest_response(response, url))
    }
}

impl CachingMiddleware {
    /// Returns the response to a request of a caller that waits for at most `limit`, to the end of
    /// the response's body.
    async fn respond_within(
        &self,
        limit: Duration,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<UrlResponse, Error> {
        let deadline = Deadline::start(limit);
        let requested = request.url().clone();
        match deadline.wait(self.respond(request, extensions, next)).await {
            Ok(result) => result.map(|(response, url)| (response.map(|body| deadline.limit(body)), url)),
            Err(passed) => Err(Error::middleware(
                crate::Error::new(crate::ErrorKind::Timeout, Some(&requested)).with_source(passed),
            )),
        }
    }

    /// Returns the response to a request and its URL, from the cache or from the rest of the stack.
    async fn respond(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<UrlResponse, Error> {
        if let Some(mode) = extensions.get::<CacheMode>() {
            mode.apply(request.headers_mut());
        }
        let key = key_of(request.url()).map_err(Error::middleware)?;
        let head = RequestHead::new(request.method(), request.headers());
        match self.cache.lookup(&key, &head).await {
            Lookup::Hit(mut response) => {
                let url = request.url().clone();
                Codings::default().decode(&mut response);
                Ok((self.cache.into_http(response), url))
            }
            // Boxed, so that the future of a hit does not reserve space for a fetch.
            Lookup::Miss(miss) => Box::pin(self.forward(miss, request, extensions, next)).await,
        }
    }

    /// Fetches the response through the engine. The engine's requests to the origin are sent from
    /// this future, since the rest of the stack is only borrowed.
    async fn forward(
        &self,
        miss: Miss,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<UrlResponse, Error> {
        let url = request.url().clone();
        // The final URL, if reqwest followed redirects.
        let final_url = Arc::new(Mutex::new(None));
        let options = options(extensions, Arc::clone(&final_url));
        let mut body = ReplayableBody::take_from(&mut request);
        let forward = http::Request::<reqwest::Body>::try_from(request)?.map(|_| body.take());
        let (origin, mut origin_requests) = local_origin(false);
        let codings = Codings::default();
        let resuming = miss.fetch(forward, codings.decoding(origin), &options);
        tokio::pin!(resuming);
        let result = loop {
            let origin_request = tokio::select! {
                biased;
                Some(origin_request) = origin_requests.next() => origin_request,
                result = &mut resuming => break result,
            };
            let sending = send_to_stack(
                origin_request.request,
                origin_request.responder,
                next.clone(),
                extensions,
                &url,
                &final_url,
            );
            tokio::select! {
                biased;
                () = sending => {}
                // The engine no longer waits for the origin.
                result = &mut resuming => break result,
            }
        };
        match result {
            Ok(mut response) => {
                codings.decode(&mut response);
                Ok((self.cache.into_http(response), final_url.lock().take().unwrap_or(url)))
            }
            // An error of the rest of the stack is returned unchanged.
            Err(error) => Err(error.downcast_source::<Error>().unwrap_or_else(Error::middleware)),
        }
    }
}

/// Sends a request of the engine to the rest of the stack, and its response or error to the engine.
async fn send_to_stack(
    request: http::Request<Body>,
    responder: Responder,
    next: Next<'_>,
    extensions: &mut Extensions,
    url: &Url,
    final_url: &Mutex<Option<Url>>,
) {
    let request = match to_reqwest(request) {
        Ok(request) => request,
        Err(error) => return responder.send(Err(error)),
    };
    match next.run(request, extensions).await {
        Ok(response) => {
            if response.url() != url {
                *final_url.lock() = Some(response.url().clone());
            }
            responder.send(Ok(from_reqwest(response)));
        }
        Err(error) => {
            let kind = match &error {
                Error::Reqwest(error) => error_kind(error),
                Error::Middleware(_) => OriginErrorKind::Protocol,
            };
            responder.send(Err(OriginError::new(kind).with_source(error)));
        }
    }
}

/// Returns the options of a request, with `no_store` for a response that was reached by redirects.
fn options(extensions: &Extensions, final_url: Arc<Mutex<Option<Url>>>) -> FetchOptions {
    let mut options = extensions.get::<FetchOptions>().cloned().unwrap_or_default();
    // The key is that of the URL, so the content is not in it.
    options.body_in_key = false;
    options.form_of = None;
    let redirected = OverrideFn::new(move |_| Overrides::default().with_no_store(final_url.lock().is_some()));
    options.overrides = Some(redirected.or(options.overrides.take()));
    options
}
