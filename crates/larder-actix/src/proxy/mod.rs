//! The caching reverse proxy: the steps from a client's request to its response.
//!
//! It runs on actix-http, without actix-web and its routing. A hit is served without converting the
//! request's headers; only a request that has to be forwarded is converted to an `http` 1 request.
//!
//! Which requests are rejected is decided in `reject`, their target in `target`, their route in
//! `route`. Listening and shutdown are in `server`.

mod access;
mod forwarded;
mod reject;
mod route;
mod server;
mod target;
mod trace;

use std::{fmt, sync::Arc};

use actix_http::{HttpMessage as _, Request, Response, header::HeaderMap};
use actix_web::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use larder_core::{Body, Cache, CacheDetail, CacheKey, CacheResponse, CacheStatus, Lookup, Miss, Origin};
use tracing::Instrument as _;

pub use access::{Access, AccessLog};
pub use route::Route;
pub use server::{ProxyServer, Reloader, RunningProxy, ServerOptions, TlsError};

use self::{access::RequestStart, reject::reject, route::Routes, target::Target, trace::Trace};
use crate::{ResponseBody, bridge, convert, encoding::NegotiatedEncoding, respond::respond};

/// Options of a [`ReverseProxy`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// Whether clients use TLS. The scheme of their target URIs, and so of the cache keys, is then
    /// `https`. Also set it behind a load balancer that ends TLS. Default: false.
    pub https: bool,
    /// Whether `Forwarded`, `X-Forwarded-*` and similar headers of a request are trusted. Default:
    /// false.
    ///
    /// If false, they are removed, because any client can send them, and this proxy sets
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`. If true, they are forwarded,
    /// and the peer's address is appended to `X-Forwarded-For`. Set it only behind another proxy
    /// that sets these headers.
    pub trust_forwarded: bool,
    /// The log that receives a report of each request when its response has ended. Default: none.
    pub access_log: Option<Arc<dyn AccessLog>>,
}

impl ProxyOptions {
    /// Sets whether clients use TLS ([`https`](Self::https)).
    #[must_use]
    pub fn with_https(mut self, https: bool) -> Self {
        self.https = https;
        self
    }

    /// Sets whether `Forwarded`, `X-Forwarded-*` and similar headers of a request are trusted
    /// ([`trust_forwarded`](Self::trust_forwarded)).
    #[must_use]
    pub fn with_trust_forwarded(mut self, trust_forwarded: bool) -> Self {
        self.trust_forwarded = trust_forwarded;
        self
    }

    /// Sets the log that receives a report of each request when its response has ended
    /// ([`access_log`](Self::access_log)).
    #[must_use]
    pub fn with_access_log(mut self, access_log: Arc<dyn AccessLog>) -> Self {
        self.access_log = Some(access_log);
        self
    }
}

/// A reverse proxy that answers requests from a cache, and forwards the others to an origin.
///
/// [`ProxyServer`] runs it. Clones share the cache and the origins.
///
/// ```
/// use std::sync::Arc;
/// use larder_actix::{ProxyOptions, ReverseProxy, Route};
/// use larder_core::{Cache, Origin};
///
/// fn proxy(cache: Cache, site: Arc<dyn Origin>, api: Arc<dyn Origin>) -> ReverseProxy {
///     let options = ProxyOptions::default().with_https(true);
///     let routes = vec![Route::to(site), Route::to(api).prefix("/api")];
///     ReverseProxy::with_routes(cache, routes, options)
/// }
/// ```
#[derive(Clone)]
pub struct ReverseProxy {
    cache: Cache,
    routes: Routes,
    options: ProxyOptions,
}

impl fmt::Debug for ReverseProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseProxy")
            .field("cache", &self.cache)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

impl ReverseProxy {
    /// Creates a proxy that forwards every request to `origin`.
    pub fn new(cache: Cache, origin: Arc<dyn Origin>, options: ProxyOptions) -> Self {
        Self::with_routes(cache, vec![Route::to(origin)], options)
    }

    /// Creates a proxy for several origins.
    ///
    /// Of the routes that match a request, the one with the longest prefix is taken. Among equal
    /// prefixes, a route for one host precedes a route for `*.` names, and that one precedes a
    /// route for all hosts. If two routes are still equal, the first in `routes` is taken. A
    /// request without a matching route receives 404.
    pub fn with_routes(cache: Cache, routes: Vec<Route>, options: ProxyOptions) -> Self {
        Self { cache, routes: Routes::new(routes), options }
    }

    /// Returns the cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Handles one request.
    ///
    /// Errors become responses: 4xx or 501 for a request that is rejected, and 502, 503 or 504 if
    /// the origin sent no response and no stored response can be served instead.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. A response that has reached the cache is still stored.
    pub async fn handle(&self, mut request: Request) -> Response<ResponseBody> {
        let Some(log) = &self.options.access_log else { return self.exchange(&mut request).await.response };
        let start = RequestStart::now(log);
        let ProxyExchange { response, cache_status, trace } = self.exchange(&mut request).await;
        start.attach_log(request, response, cache_status, trace)
    }

    /// Produces the response to a request, and what the log reports of it.
    async fn exchange(&self, request: &mut Request) -> ProxyExchange {
        if let Some(rejection) = reject(request.head()) {
            return self.rejected(rejection);
        }
        let method = convert::method_from_actix(request.method());
        let is_head = method == http::Method::HEAD;
        let scheme = if self.options.https { "https" } else { "http" };
        let target = match Target::of(scheme, request.head()) {
            Ok(target) => target,
            Err(rejection) => return self.rejected(rejection),
        };
        let Some(route) = self.routes.find(target.authority, target.path) else {
            return self.rejected(reject::not_found());
        };
        let key = match CacheKey::from_parts(scheme, target.authority, &route.ignored.strip(target.path)) {
            Ok(key) => key,
            Err(error) => return self.failed(&error.into(), is_head),
        };
        let headers = convert::ActixHeaders(request.headers());
        match route.encoding.lookup(&self.cache, &key, &method, &headers).await {
            (Lookup::Hit(response), _) => self.completed(response, is_head, None),
            (Lookup::Miss(miss), encoding) => {
                let Ok(uri) = http::Uri::from_maybe_shared(Bytes::from(target.uri(scheme))) else {
                    return self.rejected(reject::bad_request(
                        "400 Bad Request: the request target is not a valid URI\n",
                    ));
                };
                let mut forward = http::Request::new(Body::empty());
                *forward.method_mut() = method;
                *forward.uri_mut() = uri;
                // Boxed: the future of a hit should not have the size of a whole fetch, which is
                // copied when the future moves.
                Box::pin(self.forward(route, request, key, miss, encoding, forward)).await
            }
        }
    }

    /// Forwards a request to the origin of its route. `forward` has the method and the target; the
    /// rest is added here.
    async fn forward(
        &self,
        route: &Route,
        request: &mut Request,
        key: CacheKey,
        miss: Miss,
        encoding: NegotiatedEncoding,
        mut forward: http::Request<Body>,
    ) -> ProxyExchange {
        let is_head = forward.method() == http::Method::HEAD;
        let peer = request.peer_addr().map(|peer| peer.ip());
        let mut headers =
            convert::headers_from_actix(request.headers(), forwarded::forwardable(&self.options));
        forwarded::set_headers(&mut headers, &self.options, peer, forward.uri());
        let trace = Trace::continue_or_start(&mut headers);
        let origin = encoding.origin(Arc::clone(&route.origin), &self.cache, key, &mut headers);
        *forward.headers_mut() = headers;
        *forward.body_mut() = content(request);
        let span = tracing::info_span!(
            "request",
            method = %forward.method(),
            path = forward.uri().path(),
            trace_id = format_args!("{:032x}", trace.trace),
            span_id = format_args!("{:016x}", trace.span),
        );
        match miss.fetch(forward, origin, &route.options).instrument(span).await {
            Ok(response) => self.completed(response, is_head, Some(trace)),
            Err(error) => ProxyExchange { trace: Some(trace), ..self.failed(&error, is_head) },
        }
    }

    /// Converts a response of the engine.
    fn completed(&self, response: CacheResponse, is_head: bool, trace: Option<Trace>) -> ProxyExchange {
        let cache_status = self.cache.cache_status(&response);
        let response = respond(response, is_head, cache_status.clone());
        ProxyExchange { response, cache_status, trace }
    }

    /// Adds `Cache-Status` to the response to a rejected request, which never reached the cache.
    fn rejected(&self, mut response: Response<ResponseBody>) -> ProxyExchange {
        let mut status = CacheStatus::default();
        status.detail = Some(CacheDetail::Refused);
        let cache_status = status.to_bytes(self.cache.name());
        convert::insert_cache_headers(response.headers_mut(), None, cache_status.clone());
        ProxyExchange { response, cache_status, trace: None }
    }

    /// Converts an error of the engine to a response.
    fn failed(&self, error: &larder_core::FetchError, is_head: bool) -> ProxyExchange {
        tracing::debug!(%error, "no response from cache or origin");
        self.completed(self.cache.error_response(error), is_head, None)
    }
}

/// The response to a request, and what the log reports of it.
struct ProxyExchange {
    response: Response<ResponseBody>,
    cache_status: Bytes,
    trace: Option<Trace>,
}

/// Takes the content of a request; empty if it has none.
fn content(request: &mut Request) -> Body {
    let length = content_length(request.headers());
    if matches!(request.payload(), actix_http::Payload::None) || length == Some(0) {
        return Body::empty();
    }
    bridge::from_stream(request.take_payload(), length)
}

/// Returns the value of `Content-Length`.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
