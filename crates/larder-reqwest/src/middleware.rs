//! The cache as a middleware of `reqwest-middleware`, for programs that already stack retries and tracing.

use std::sync::Arc;

use async_trait::async_trait;
use http::Extensions;
use larder_core::{
    Cache, CacheMode, CacheResponse, FetchOptions, Lookup, Miss, OverrideFn, Overrides, RequestHead,
    Responder, local_origin,
};
use parking_lot::Mutex;
use reqwest::{Request, Response, Url};
use reqwest_middleware::{Error, Middleware, Next};

use crate::{
    origin::{from_reqwest, origin_error, to_reqwest},
    parts::key_of,
    replayable_body::ReplayableBody,
    response::reqwest_response,
};

/// The cache as a middleware of `reqwest-middleware`. What stands behind it in the stack is its origin.
///
/// A [`CacheMode`] and [`FetchOptions`] among a request's extensions are heeded
/// (`client.get(url).with_extension(CacheMode::Reload)`).
///
/// Build the client with `redirect(Policy::none())` if redirects are to be cached: what reqwest has followed by itself is
/// passed on and not stored, since its answer belongs to another URL. Fields that the client adds by itself, such as
/// `default_headers` and cookies, are not seen by the cache; where the server's `Vary` names one of them, add it in the stack.
#[derive(Debug, Clone)]
pub struct CachingMiddleware {
    cache: Cache,
}

impl CachingMiddleware {
    /// The middleware, on this cache. For one user's requests build it with
    /// [`Rules::private`](larder_core::Rules::private), on a store that is that user's alone: nothing here tells users apart.
    pub fn new(cache: Cache) -> Self {
        Self { cache }
    }
}

#[async_trait]
impl Middleware for CachingMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        if let Some(mode) = extensions.get::<CacheMode>() {
            mode.apply(request.headers_mut());
        }
        let key = key_of(request.url()).map_err(Error::middleware)?;
        let head = RequestHead::new(request.method(), request.headers());
        match self.cache.lookup(&key, &head).await {
            Lookup::Hit(answer) => {
                let url = request.url().clone();
                Ok(self.respond(answer, url))
            }
            // Boxed: a hit's future should not carry the room for a whole fetch.
            Lookup::Miss(found) => Box::pin(self.forward(found, request, extensions, next)).await,
        }
    }
}

impl CachingMiddleware {
    async fn forward(
        &self,
        found: Miss,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let url = request.url().clone();
        // Where the client's own redirects have led, if they have.
        let elsewhere = Arc::new(Mutex::new(None));
        let options = options(extensions, Arc::clone(&elsewhere));
        let mut content = ReplayableBody::of(&mut request);
        let forward = http::Request::<reqwest::Body>::try_from(request)?.map(|_| content.take());
        let (origin, mut origin_requests) = local_origin(false);
        let resuming = self.cache.resume(found, forward, Arc::new(origin), &options);
        tokio::pin!(resuming);
        // A failure of the rest of the stack, as it said it.
        let mut failure = None;
        let result = loop {
            let origin_request = tokio::select! {
                biased;
                Some(origin_request) = origin_requests.next() => origin_request,
                result = &mut resuming => break result,
            };
            let sending = send(
                origin_request.request,
                origin_request.responder,
                next.clone(),
                extensions,
                &url,
                &elsewhere,
            );
            tokio::select! {
                biased;
                failed = sending => failure = failed.or(failure),
                // It has stopped waiting for the origin.
                result = &mut resuming => break result,
            }
        };
        match (result, failure) {
            (Ok(answer), _) => Ok(self.respond(answer, elsewhere.lock().take().unwrap_or(url))),
            (Err(_), Some(failure)) => Err(failure),
            (Err(error), None) => Err(Error::middleware(error)),
        }
    }

    fn respond(&self, answer: CacheResponse, url: Url) -> Response {
        reqwest_response(self.cache.into_http(answer), url)
    }
}

/// Asks the rest of the stack.
async fn send(
    request: http::Request<larder_core::Body>,
    reply: Responder,
    next: Next<'_>,
    extensions: &mut Extensions,
    url: &Url,
    elsewhere: &Mutex<Option<Url>>,
) -> Option<Error> {
    let request = match to_reqwest(request) {
        Ok(request) => request,
        Err(error) => {
            reply.send(Err(error));
            return None;
        }
    };
    match next.run(request, extensions).await {
        Ok(response) => {
            if response.url() != url {
                *elsewhere.lock() = Some(response.url().clone());
            }
            reply.send(Ok(from_reqwest(response)));
            None
        }
        Err(Error::Reqwest(error)) => {
            reply.send(Err(origin_error(error)));
            None
        }
        Err(error) => {
            reply.send(Err(larder_core::OriginError::new(larder_core::OriginErrorKind::Protocol)));
            Some(error)
        }
    }
}

fn options(extensions: &Extensions, elsewhere: Arc<Mutex<Option<Url>>>) -> FetchOptions {
    let mut options = extensions.get::<FetchOptions>().cloned().unwrap_or_default();
    let redirected = OverrideFn::by(move |_| {
        let mut overrides = Overrides::default();
        overrides.no_store = elsewhere.lock().is_some();
        overrides
    });
    options.overrides = Some(redirected.or(options.overrides.take()));
    options
}
