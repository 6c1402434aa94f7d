//! The caching reverse proxy.
//!
//! It runs on actix-http, below actix-web's routing, which it does not need. A hit goes from the request's head to the
//! stored response without converting either; only a request that has to be forwarded becomes an `http` 1 request.

mod access;
mod forwarded;
mod reject;
mod route;
mod server;
mod target;
mod trace;

use std::sync::Arc;

use actix_http::{HttpMessage as _, Request, Response, header::HeaderMap};
use actix_web::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use larder_core::{Body, Cache, CacheKey, CacheResponse, CacheStatus, Lookup, Miss, Origin};
use tracing::Instrument as _;

pub use access::{Access, AccessLog};
pub use route::Route;
pub use server::{ProxyServer, Reloader, RunningProxy, ServerOptions, TlsError};

use self::{access::Arrival, reject::reject, route::Routes, target::Target, trace::Trace};
use crate::{AnswerBody, bridge, convert, encoding::NegotiatedEncoding, respond::respond};

/// How a [`ReverseProxy`] treats requests.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// Clients reach it over TLS: their target URIs have the scheme `https`. Default: no.
    pub https: bool,
    /// What stands before it is trusted: the `X-Forwarded-*` and `Forwarded` fields that a request comes with are kept,
    /// and added to. Default: no; they are replaced, since any client can write them.
    pub trust_forwarded: bool,
    /// Who is told of each request whose answer is over. Default: nobody.
    pub access_log: Option<Arc<dyn AccessLog>>,
}

/// Answers requests from a cache, and asks an origin where it has to.
///
/// [`ProxyServer`] runs it. Cloning shares cache and origins.
#[derive(Debug, Clone)]
pub struct ReverseProxy {
    cache: Cache,
    routes: Routes,
    options: ProxyOptions,
}

impl ReverseProxy {
    /// A proxy of `origin`.
    pub fn new(cache: Cache, origin: Arc<dyn Origin>, options: ProxyOptions) -> Self {
        Self::with_routes(cache, vec![Route::to(origin)], options)
    }

    /// A proxy of several origins. The most particular route goes first: the one with the longest prefix, and of those one with
    /// a host. What no route is for is answered with 404.
    pub fn with_routes(cache: Cache, routes: Vec<Route>, options: ProxyOptions) -> Self {
        Self { cache, routes: Routes::new(routes), options }
    }

    /// The cache that it answers from.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Answers one request. Never fails: what goes wrong is a response, too.
    pub async fn answer(&self, mut request: Request) -> Response<AnswerBody> {
        let Some(log) = &self.options.access_log else { return self.handle(&mut request).await.response };
        let arrival = Arrival::now(log);
        let ProxyExchange { response, cache_status, trace } = self.handle(&mut request).await;
        arrival.attach_log(request, response, cache_status, trace)
    }

    async fn handle(&self, request: &mut Request) -> ProxyExchange {
        if let Some(refusal) = reject(request.head()) {
            return self.refused(refusal);
        }
        let method = convert::method(request.method());
        let is_head = method == http::Method::HEAD;
        let scheme = if self.options.https { "https" } else { "http" };
        let target = match Target::of(scheme, request.head()) {
            Ok(target) => target,
            Err(refusal) => return self.refused(refusal),
        };
        let Some(route) = self.routes.of(target.authority, target.path) else {
            return self.refused(reject::not_found());
        };
        let key = match CacheKey::of_parts(scheme, target.authority, &route.ignored.strip(target.path)) {
            Ok(key) => key,
            Err(error) => return self.failed(&error.into(), is_head),
        };
        let fields = convert::ActixFields(request.headers());
        match route.encoding.lookup(&self.cache, &key, &method, &fields).await {
            (Lookup::Hit(answer), _) => self.answered(answer, is_head, None),
            (Lookup::Miss(found), chosen) => {
                let Ok(uri) = http::Uri::from_maybe_shared(Bytes::from(target.uri(scheme))) else {
                    return self.refused(reject::bad_request("400 Bad Request: the target is not a URI\n"));
                };
                let mut forward = http::Request::new(Body::empty());
                *forward.method_mut() = method;
                *forward.uri_mut() = uri;
                // Boxed: a hit's future should not carry, and be moved with, the room for a whole fetch.
                Box::pin(self.forward(route, request, key, found, chosen, forward)).await
            }
        }
    }

    /// Asks the route's origin. `forward` has method and target.
    async fn forward(
        &self,
        route: &Route,
        request: &mut Request,
        key: CacheKey,
        found: Miss,
        chosen: NegotiatedEncoding,
        mut forward: http::Request<Body>,
    ) -> ProxyExchange {
        let is_head = forward.method() == http::Method::HEAD;
        let peer = request.peer_addr().map(|peer| peer.ip());
        let mut fields = convert::fields_from(request.headers(), forwarded::keeps(&self.options));
        forwarded::write(&mut fields, &self.options, peer, forward.uri());
        let trace = Trace::continue_or_start(&mut fields);
        let origin = chosen.origin(Arc::clone(&route.origin), &self.cache, key, &mut fields);
        *forward.headers_mut() = fields;
        *forward.body_mut() = content(request);
        let span = tracing::info_span!(
            "request",
            method = %forward.method(),
            path = forward.uri().path(),
            trace_id = format_args!("{:032x}", trace.trace),
            span_id = format_args!("{:016x}", trace.span),
        );
        match self.cache.resume(found, forward, origin, &route.options).instrument(span).await {
            Ok(answer) => self.answered(answer, is_head, Some(trace)),
            Err(error) => ProxyExchange { trace: Some(trace), ..self.failed(&error, is_head) },
        }
    }

    fn answered(&self, answer: CacheResponse, is_head: bool, trace: Option<Trace>) -> ProxyExchange {
        let cache_status = self.cache.cache_status(&answer);
        let response = respond(answer, is_head, cache_status.clone());
        ProxyExchange { response, cache_status, trace }
    }

    /// Also what never came near the cache says so.
    fn refused(&self, mut response: Response<AnswerBody>) -> ProxyExchange {
        let mut status = CacheStatus::default();
        status.detail = Some("refused");
        let cache_status = status.to_bytes(self.cache.name());
        convert::insert_own(response.headers_mut(), None, cache_status.clone());
        ProxyExchange { response, cache_status, trace: None }
    }

    fn failed(&self, error: &larder_core::FetchError, is_head: bool) -> ProxyExchange {
        tracing::debug!(%error, "no response");
        self.answered(self.cache.error_response(error), is_head, None)
    }
}

/// What became of a request.
struct ProxyExchange {
    response: Response<AnswerBody>,
    cache_status: Bytes,
    trace: Option<Trace>,
}

/// The request's content, if it has any.
fn content(request: &mut Request) -> Body {
    let length = announced_length(request.headers());
    if matches!(request.payload(), actix_http::Payload::None) || length == Some(0) {
        return Body::empty();
    }
    bridge::from_stream(request.take_payload(), length)
}

fn announced_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
