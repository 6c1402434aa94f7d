//! The caching reverse proxy: the steps from a client's request to its response.
//!
//! Which requests are rejected is decided in `reject`, their route in `route`, and their target,
//! key and forwarded fields in [`larder_core::adapter`]. `forward` does the rest of a miss.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, Version,
    header::{CONTENT_LENGTH, TRAILER},
    request::Parts,
};
use larder_core::{
    Body, BodyError, Cache, CacheDetail, CacheKey, CacheResponse, CacheStatus, FetchError, Lookup, Origin,
    OriginReport, Upgrade, Upgraded,
    adapter::{ReceivedTarget, RequestTarget, TrustedProxies},
    policy::{ClientDirectives, accepts_trailers, header_names::CACHE_STATUS},
};

use crate::{
    HttpsRedirect, ProxyBody, ProxyOptions, Route,
    access::{AnsweredBy, LoggedConnection, LoggedExchange, RequestStart, Sent},
    content::{ContentFailure, ContentLimits},
    encoding::NegotiatedEncoding,
    forward::{ForwardError, ForwardPlan, UpgradePlan, forward, origin_of_rest, pass_upgrade},
    keyed::{RequestBody, RequestKey},
    purging, reject,
    route::Routes,
    rules::RuleEffects,
};

/// A reverse proxy that answers requests from a cache, and forwards the others to an origin.
///
/// [`ProxyServer`](crate::ProxyServer) runs it. Clones share the cache and the origins.
///
/// ```
/// use std::sync::Arc;
/// use larder_core::{Cache, Origin};
/// use larder_proxy::{ProxyOptions, ReverseProxy, Route};
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

    /// Returns whether the forwarded fields of a peer are trusted.
    pub(crate) fn is_trusted(&self, peer: IpAddr) -> bool {
        self.options.trusted_proxies.contains(peer)
    }

    /// Handles one request of the client at `peer`.
    ///
    /// Errors become responses: 4xx, 501 or 508 for a request that is rejected, and 500, 502, 503
    /// or 504 if the origin sent no response and no stored response can be served instead.
    ///
    /// If the origin has switched to another protocol, such as WebSocket, the response is a 101
    /// with the origin's connection ([`Upgraded::detach`]), which a server of your own has to join
    /// with that of the client.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use larder_core::Body;
    /// use larder_proxy::{ProxyBody, ReverseProxy};
    ///
    /// /// Handles a request in a server of your own.
    /// async fn home(proxy: &ReverseProxy) -> Response<ProxyBody> {
    ///     let request = Request::get("http://example.com/").body(Body::empty()).expect("a request");
    ///     proxy.handle(request, Some([192, 0, 2, 7].into())).await
    /// }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. A response that has reached the cache is still stored.
    pub async fn handle<B>(&self, request: Request<B>, peer: Option<IpAddr>) -> Response<ProxyBody>
    where
        B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    {
        self.handle_from(request, Client { peer, ..Client::default() }).await
    }

    /// Handles one request that came over a connection of the server.
    pub(crate) async fn handle_from<B>(&self, request: Request<B>, client: Client<'_>) -> Response<ProxyBody>
    where
        B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    {
        let (mut head, content) = request.into_parts();
        let is_http_2 = head.version >= Version::HTTP_2;
        // A client of IPv4 has an IPv6 address on a listener of both.
        let peer = client.peer.map(|peer| peer.to_canonical());
        let client = Client { peer, ..client };
        let start = self.options.access_log.as_ref().map(RequestStart::now);
        let ProxyExchange { response, cache_status, origin, connection, has_trailers } =
            self.exchange(&mut head, content, client).await;
        let status = response.status();
        let logged = start.map(|RequestStart { log, started }| {
            let sent = Sent::default();
            LoggedExchange { log, request: head, peer, started, status, cache_status, origin, sent }
        });
        let mut response = response.map(|body| ProxyBody::new(body, is_http_2));
        if !has_trailers {
            response.headers_mut().remove(TRAILER);
            response = response.map(ProxyBody::without_trailers);
        }
        match (connection, logged) {
            (Some(connection), Some(logged)) => {
                Upgraded::new(LoggedConnection::new(connection, logged)).attach(&mut response);
            }
            (Some(connection), None) => connection.attach(&mut response),
            (None, Some(logged)) => response = response.map(|body| body.with_log(logged)),
            (None, None) => {}
        }
        response
    }

    /// Produces the response to a request, and what the log reports of it.
    async fn exchange<B>(&self, head: &mut Parts, content: B, client: Client<'_>) -> ProxyExchange
    where
        B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    {
        let Client { peer, is_tls, redirect } = client;
        let may_purge = self.options.purges.as_ref().is_some_and(|purges| purges.permits(head, peer));
        if let Some(rejection) = reject::reject(head, !content.is_end_stream(), may_purge) {
            return self.rejected(rejection, CacheDetail::Refused);
        }
        if may_purge {
            return Box::pin(self.purge(head)).await;
        }
        let is_head = head.method == Method::HEAD;
        let scheme = if self.options.https || is_tls { "https" } else { "http" };
        let received = ReceivedTarget::of_uri(scheme, &head.method, &head.uri, head.version);
        let target = match RequestTarget::of(&received, &head.headers, peer, &self.options.trusted_proxies) {
            Ok(target) => target,
            Err(rejection) => return self.rejected(reject::bad_target(rejection), CacheDetail::Refused),
        };
        let route = match self.routes.find(&target.authority, target.path) {
            Ok(route) => route,
            Err(no_route) => return self.rejected(reject::no_route(no_route), CacheDetail::Refused),
        };
        if let Some(response) = redirect.and_then(|redirect| redirect.response(head, &target)) {
            return self.rejected(response, CacheDetail::Refused);
        }
        let url = match route.key_rules.key(&target) {
            Ok(url) => url,
            Err(error) => return self.failed(&error.into(), is_head),
        };
        if let Some(upgrade) = Upgrade::of(head) {
            // Boxed, like the future of a fetch.
            return Box::pin(self.upgrade(head, upgrade, route, url, peer)).await;
        }
        let is_asterisk = target.path == "*";
        route.normalization.apply(&mut head.headers);
        let effects = route.rules.apply(&url, head);
        let limits = self.options.content_limits();
        let (keyed, content) = match make_key(route, url, effects.as_deref(), head, content, limits).await {
            Ok(keyed) => keyed,
            Err(failure) => return self.content_failed(failure, head),
        };
        let (miss, encoding) = if effects.as_ref().is_some_and(|effects| effects.bypass) {
            (self.cache.pass(&keyed.key), NegotiatedEncoding::none())
        } else {
            // A query is looked up like a GET.
            let method = if keyed.has_content { &Method::GET } else { &head.method };
            let default = ClientDirectives::for_server(self.cache.rules().kind);
            let clients = route.client_directives.unwrap_or(default);
            let lookup = route.encoding.lookup(&self.cache, &keyed.key, method, &head.headers, clients);
            match lookup.await {
                (Lookup::Hit(response), encoding) => {
                    let rest = || origin_of_rest(&self.options, head, route, (&keyed, &encoding), peer);
                    return self.completed(response.with_origin(rest), is_head);
                }
                (Lookup::Miss(miss), encoding) => (miss, encoding),
            }
        };
        // What is looked up is also requested: the normal form, without what the key lacks.
        // `OPTIONS *` is sent as a request for the whole server (RFC 9112 §3.2.4).
        let text = keyed.key.target();
        let text = if is_asterisk { text.trim_end_matches('*') } else { &text };
        let Ok(target) = text.parse() else {
            return self.rejected(reject::not_a_uri(), CacheDetail::Refused);
        };
        let content = match content.limited(limits) {
            Ok(content) => content,
            Err(failure) => return self.content_failed(failure, head),
        };
        let overrides = effects.and_then(|effects| effects.overrides);
        let plan = ForwardPlan { route, keyed, miss, encoding, overrides, target, peer };
        // Over HTTP/2, trailers need no consent: they are a part of its framing.
        let has_trailers = match head.version {
            Version::HTTP_10 => false,
            Version::HTTP_11 => accepts_trailers(&head.headers),
            _ => true,
        };
        // Boxed: the future of a hit should not have the size of a whole fetch, which is copied
        // when the future moves.
        let report = self.report();
        let forwarding =
            Box::pin(forward(&self.cache, &self.options, head, (content, report.as_ref()), plan));
        let exchange = match forwarding.await {
            Ok(response) => ProxyExchange { has_trailers, ..self.completed(response, is_head) },
            Err(error) => self.forward_failed(&error, head, is_head),
        };
        exchange.answered_by(report.as_ref())
    }

    /// Purges what a request names, and produces the response. Its host is that of the `Host`
    /// field, since the sender is no proxy.
    async fn purge(&self, head: &Parts) -> ProxyExchange {
        let received = ReceivedTarget::of_uri("http", &head.method, &head.uri, head.version);
        let target = match RequestTarget::of(&received, &head.headers, None, &TrustedProxies::default()) {
            Ok(target) => target,
            Err(rejection) => return self.rejected(reject::bad_target(rejection), CacheDetail::Refused),
        };
        let what = (&*target.authority, target.path);
        let response = purging::purge(&self.cache, self.routes.key_rules(), head, what).await;
        let cache_status = Bytes::new();
        ProxyExchange { response, cache_status, origin: None, connection: None, has_trailers: true }
    }

    /// Produces the response to a request to switch protocols, which passes the cache by.
    async fn upgrade(
        &self,
        head: &mut Parts,
        upgrade: Upgrade,
        route: &Route,
        key: CacheKey,
        peer: Option<IpAddr>,
    ) -> ProxyExchange {
        if !route.upgrades {
            return self.rejected(reject::no_upgrade(head.version), CacheDetail::Refused);
        }
        let Ok(target) = key.target().parse() else {
            return self.rejected(reject::not_a_uri(), CacheDetail::Refused);
        };
        let plan = UpgradePlan { route, key, target, peer };
        let report = self.report();
        let exchange =
            match pass_upgrade(&self.cache, &self.options, head, (upgrade, report.as_ref()), plan).await {
                Ok((response, connection)) => ProxyExchange { connection, ..self.completed(response, false) },
                Err(error) => self.forward_failed(&error, head, false),
            };
        exchange.answered_by(report.as_ref())
    }

    /// Creates a report of the origin, if there is a log for it.
    fn report(&self) -> Option<OriginReport> {
        self.options.access_log.as_ref().map(|_| OriginReport::default())
    }

    /// Creates the response to a request that could not be forwarded.
    fn forward_failed(&self, error: &ForwardError, head: &Parts, is_head: bool) -> ProxyExchange {
        match error {
            ForwardError::Loop => self.rejected(reject::loop_detected(), CacheDetail::Refused),
            ForwardError::Content(failure) => self.content_failed(*failure, head),
            ForwardError::Fetch(error) => self.failed(error, is_head),
        }
    }

    /// Converts a response of the engine. A response to HEAD keeps its length.
    fn completed(&self, response: CacheResponse, is_head: bool) -> ProxyExchange {
        let cache_status = match self.options.access_log {
            Some(_) => self.cache.cache_status(&response),
            None => Bytes::new(),
        };
        let length = is_head.then(|| response.content_length()).flatten();
        let mut response = self.cache.into_http(response);
        if is_head {
            *response.body_mut() = Body::empty();
            if let Some(length) = length {
                response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
            }
        }
        ProxyExchange { response, cache_status, origin: None, connection: None, has_trailers: true }
    }

    /// Adds `Cache-Status` to the response to a rejected request, for which there is no other.
    fn rejected(&self, mut response: Response<Body>, detail: CacheDetail) -> ProxyExchange {
        let mut status = CacheStatus::default();
        status.detail = Some(detail);
        let cache_status = self.cache.status_bytes(&status);
        if let Ok(value) = HeaderValue::from_maybe_shared(cache_status.clone()) {
            response.headers_mut().insert(CACHE_STATUS, value);
        }
        ProxyExchange { response, cache_status, origin: None, connection: None, has_trailers: true }
    }

    /// Creates the response to a request of which the content did not arrive.
    fn content_failed(&self, failure: ContentFailure, head: &Parts) -> ProxyExchange {
        self.rejected(reject::content(failure, head.version), CacheDetail::RequestBodyFailed)
    }

    /// Converts an error of the engine to a response.
    fn failed(&self, error: &FetchError, is_head: bool) -> ProxyExchange {
        tracing::debug!(%error, "no response from cache or origin");
        self.completed(self.cache.error_response(error), is_head)
    }
}

/// The connection that a request came over.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Client<'a> {
    pub(crate) peer: Option<IpAddr>,
    pub(crate) is_tls: bool,
    /// The redirection of the listener, if it has one.
    pub(crate) redirect: Option<&'a HttpsRedirect>,
}

/// Makes the key of a request, and returns the content to forward. Reads the content of a query.
async fn make_key<B>(
    route: &Route,
    url: CacheKey,
    effects: Option<&RuleEffects>,
    head: &Parts,
    content: B,
    limits: ContentLimits,
) -> Result<(RequestKey, RequestBody<B>), ContentFailure>
where
    B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    let has_parts = route.key_rules.has_parts();
    if effects.is_some_and(|effects| effects.bypass) {
        return Ok((RequestKey::of_bypass(url, has_parts), RequestBody::Unread(content)));
    }
    if !has_parts {
        return Ok((RequestKey::of_url(url), RequestBody::Unread(content)));
    }
    let rules =
        effects.map_or(Cow::Borrowed(&route.key_rules), |effects| effects.key_rules(&route.key_rules));
    let partition = effects.and_then(RuleEffects::partition);
    // Boxed, like the future of a fetch.
    Box::pin(RequestKey::with_parts(url, (&rules, partition), head, content, limits)).await
}

/// The response to a request, and what the log reports of it.
struct ProxyExchange {
    response: Response<Body>,
    cache_status: Bytes,
    /// The origin that the request was sent to, if there is a log for it.
    origin: Option<AnsweredBy>,
    /// The origin's connection, if it has switched to another protocol.
    connection: Option<Upgraded>,
    /// Whether the client accepts trailers, if the response may have some.
    has_trailers: bool,
}

impl ProxyExchange {
    /// Adds the origin that the request was sent to.
    fn answered_by(self, report: Option<&OriginReport>) -> Self {
        Self { origin: report.and_then(AnsweredBy::of), ..self }
    }
}
