//! The caching reverse proxy: the steps from a client's request to its response.
//!
//! It runs on actix-http, without actix-web and its routing. A hit is served without converting the
//! request's headers; only a request that has to be forwarded is converted to an `http` 1 request.
//!
//! Which requests are rejected is decided in `reject`, their route in `route`, and their target,
//! key and forwarded fields in [`larder_core::adapter`]. Listening and shutdown are in `server`.

mod access;
mod readings;
mod reject;
mod route;
mod server;
mod trace;

use std::{fmt, sync::Arc};

use actix_http::{HttpMessage as _, Request, RequestHead, Response, header::HeaderMap};
use actix_web::http::{Method, Version, header::CONTENT_LENGTH};
use bytes::Bytes;
use larder_core::{
    Body, Cache, CacheDetail, CacheKey, CacheResponse, CacheStatus, Lookup, Miss, Origin,
    adapter::{
        Forwarding, KeyParts, KeyRules, ReceivedTarget, RequestContent, RequestTarget, TrustedProxies,
    },
    policy::ClientDirectives,
};
use tracing::Instrument as _;

pub use access::{Access, AccessLog};
pub use route::Route;
pub use server::{ProxyServer, Reloader, RunningProxy, ServerOptions, TlsError};

use self::{access::RequestStart, reject::reject, route::Routes, trace::Trace};
use crate::{ResponseBody, bridge, convert, encoding::NegotiatedEncoding, respond::respond};

/// Options of a [`ReverseProxy`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// Whether clients use TLS. The scheme of their target URIs, and so of the cache keys, is then
    /// `https`. Also set it behind a load balancer that ends TLS. Default: false.
    pub https: bool,
    /// The proxies in front of this one, of which `Forwarded` and `X-Forwarded-*` are trusted.
    /// Default: none.
    ///
    /// The scheme and host that a trusted proxy has received are the target of the request, and so
    /// in the cache key; its `X-Forwarded-For` is continued. From any other peer these fields and
    /// similar ones are removed, because any client can send them. In both cases this proxy sets
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    pub trusted_proxies: TrustedProxies,
    /// The log that receives a report of each request when its response has ended. Default: none.
    pub access_log: Option<Arc<dyn AccessLog>>,
    /// Shared by the workers, so that a loop through another worker is detected.
    forwarding: Forwarding,
}

impl ProxyOptions {
    /// Sets whether clients use TLS ([`https`](Self::https)).
    #[must_use]
    pub fn with_https(mut self, https: bool) -> Self {
        self.https = https;
        self
    }

    /// Sets the proxies in front of this one, of which `Forwarded` and `X-Forwarded-*` are trusted
    /// ([`trusted_proxies`](Self::trusted_proxies)).
    #[must_use]
    pub fn with_trusted_proxies(mut self, trusted_proxies: TrustedProxies) -> Self {
        self.trusted_proxies = trusted_proxies;
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
    /// Of the routes that match a request, one for its host or for `*.` names precedes one for all
    /// hosts. Among those, the one with the longest prefix is taken, then one for its host over one
    /// for `*.` names, and the first in `routes` if two are still equal. A request without a
    /// matching route receives 404, and one with a path that origins could read as that of another
    /// route 400.
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
        let headers = convert::ActixHeaders(request.headers());
        let peer = request.peer_addr().map(|peer| peer.ip());
        let received = received_target(scheme, request.head());
        let target = match RequestTarget::of(&received, &headers, peer, &self.options.trusted_proxies) {
            Ok(target) => target,
            Err(rejection) => return self.rejected(reject::bad_target(rejection)),
        };
        let route = match self.routes.find(&target.authority, target.path) {
            Ok(route) => route,
            Err(no_route) => return self.rejected(reject::no_route(no_route)),
        };
        let url = match route.key_rules.key(&target) {
            Ok(url) => url,
            Err(error) => return self.failed(&error.into(), is_head),
        };
        let is_asterisk = target.path == "*";
        let mut forward = http::Request::new(Body::empty());
        let mut keyed = ProxiedKey { key: url.clone(), url: None, is_query: false, is_safe: false };
        if route.key_rules.has_parts() {
            if route.key_rules.is_query(&method) {
                keyed.is_safe = true;
                let limits = route.key_rules.content.unwrap_or_default();
                match RequestContent::read(content(request), &limits).await {
                    Ok(RequestContent::Whole(content)) => {
                        keyed.is_query = true;
                        *forward.body_mut() = Body::from(content);
                    }
                    Ok(RequestContent::Longer(content)) => *forward.body_mut() = content,
                    Err(error) => return self.rejected(reject::bad_content(&error)),
                }
            }
            let headers = convert::ActixHeaders(request.headers());
            keyed.extend(&route.key_rules, url, &headers, &method, forward.body());
        }
        let headers = convert::ActixHeaders(request.headers());
        for (name, value) in route.normalization.changes(&headers) {
            convert::set_value(request.headers_mut(), name, value);
        }
        let headers = convert::ActixHeaders(request.headers());
        let default = ClientDirectives::for_server(self.cache.rules().kind);
        let clients = route.client_directives.unwrap_or(default);
        // A query is looked up like a GET.
        let looked_up = if keyed.is_query { &http::Method::GET } else { &method };
        match route.encoding.lookup(&self.cache, &keyed.key, looked_up, &headers, clients).await {
            (Lookup::Hit(response), _) => self.completed(response, is_head, None),
            (Lookup::Miss(miss), encoding) => {
                // What is looked up is also requested: the normal form, without what the key lacks.
                // `OPTIONS *` is sent as a request for the whole server (RFC 9112 §3.2.4).
                let text = keyed.key.target();
                let text = if is_asterisk { text.trim_end_matches('*') } else { &text };
                let Ok(uri) = text.parse() else {
                    return self.rejected(reject::bad_request(
                        "400 Bad Request: the request target is not a valid URI\n",
                    ));
                };
                *forward.method_mut() = method;
                *forward.uri_mut() = uri;
                // Boxed: the future of a hit should not have the size of a whole fetch, which is
                // copied when the future moves.
                Box::pin(self.forward(route, request, keyed, miss, encoding, forward)).await
            }
        }
    }

    /// Forwards a request to the origin of its route. `forward` has the method, the target and the
    /// content of a query; the rest is added here.
    async fn forward(
        &self,
        route: &Route,
        request: &mut Request,
        keyed: ProxiedKey,
        miss: Miss,
        encoding: NegotiatedEncoding,
        mut forward: http::Request<Body>,
    ) -> ProxyExchange {
        let is_head = forward.method() == http::Method::HEAD;
        let peer = request.peer_addr().map(|peer| peer.ip());
        let mut headers = convert::headers_from_actix(request.headers(), |_| true);
        let scheme = forward.uri().scheme_str().unwrap_or("http");
        let authority = forward.uri().authority().map_or("", |authority| authority.as_str());
        let trusted = &self.options.trusted_proxies;
        if self.options.forwarding.prepare(&mut headers, scheme, authority, peer, trusted).is_err() {
            return self.rejected(reject::loop_detected());
        }
        let trace = Trace::continue_or_start(&mut headers);
        let origin = encoding.origin(Arc::clone(&route.origin), &self.cache, keyed.key, &mut headers);
        *forward.headers_mut() = headers;
        let mut options = route.options.clone();
        options.form_of = keyed.url;
        options.body_in_key = keyed.is_safe;
        if !keyed.is_safe {
            *forward.body_mut() = content(request);
        }
        let span = tracing::info_span!(
            "request",
            method = %forward.method(),
            path = forward.uri().path(),
            trace_id = format_args!("{:032x}", trace.trace),
            span_id = format_args!("{:016x}", trace.span),
        );
        match miss.fetch(forward, origin, &options).instrument(span).await {
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

/// The key of a request.
struct ProxiedKey {
    key: CacheKey,
    /// The key of the URL, if the key has more parts.
    url: Option<CacheKey>,
    /// Whether the content is a part of the key.
    is_query: bool,
    /// Whether the request is a query, also if its content is too long for a key.
    is_safe: bool,
}

impl ProxiedKey {
    /// Adds to the key of the URL what the rules name.
    fn extend(
        &mut self,
        rules: &KeyRules,
        url: CacheKey,
        headers: &convert::ActixHeaders<'_>,
        method: &http::Method,
        body: &Body,
    ) {
        let parts = KeyParts::new(headers);
        let parts = match body.as_bytes().filter(|_| self.is_query) {
            Some(content) => parts.with_query(method, content),
            None => parts,
        };
        self.key = rules.key_with(&url, &parts);
        self.url = Some(url);
    }
}

/// The response to a request, and what the log reports of it.
struct ProxyExchange {
    response: Response<ResponseBody>,
    cache_status: Bytes,
    trace: Option<Trace>,
}

/// Returns what the request names as its target.
fn received_target<'a>(scheme: &'a str, head: &'a RequestHead) -> ReceivedTarget<'a> {
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let mut received = ReceivedTarget::new(scheme, path);
    received.uri_scheme = head.uri.scheme_str();
    received.uri_authority = head.uri.authority().map(|authority| authority.as_str());
    received.is_http_2 = head.version >= Version::HTTP_2;
    received.is_http_1_0 = head.version <= Version::HTTP_10;
    received.is_options = head.method == Method::OPTIONS;
    received
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
