//! The caching reverse proxy.
//!
//! It runs on actix-http, below actix-web's routing, which it does not need. A hit goes from the request's head to the
//! stored response without converting either; only a request that has to be forwarded becomes an `http` 1 request.

mod forwarded;
mod refuse;
mod server;
mod target;

use std::sync::Arc;

use actix_http::{HttpMessage as _, Request, Response, header::HeaderMap};
use actix_web::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use larder_core::{Body, Cache, CacheKey, CacheStatus, FetchOptions, Lookup, Origin, RequestHead};

pub use server::{ProxyServer, RunningProxy, ServerOptions, TlsError};

use self::{refuse::refuse, target::Target};
use crate::{AnswerBody, channel, http02, respond::respond};

/// How a [`ReverseProxy`] treats requests.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// Clients reach it over TLS: their target URIs have the scheme `https`. Default: no.
    pub https: bool,
    /// What stands before it is trusted: the `X-Forwarded-*` and `Forwarded` fields that a request comes with are kept,
    /// and added to. Default: no; they are replaced, since any client can write them.
    pub trust_forwarded: bool,
}

/// Answers requests from a cache, and asks an origin where it has to.
///
/// [`ProxyServer`] runs it. Cloning shares cache and origin.
#[derive(Debug, Clone)]
pub struct ReverseProxy {
    cache: Cache,
    origin: Arc<dyn Origin>,
    options: ProxyOptions,
}

impl ReverseProxy {
    /// A proxy of `origin`.
    pub fn new(cache: Cache, origin: Arc<dyn Origin>, options: ProxyOptions) -> Self {
        Self { cache, origin, options }
    }

    /// The cache that it answers from.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Answers one request. Never fails: what goes wrong is a response, too.
    pub async fn answer(&self, mut request: Request) -> Response<AnswerBody> {
        if let Some(refusal) = refuse(request.head()) {
            return self.refused(refusal);
        }
        let method = http02::method(request.method());
        let is_head = method == http::Method::HEAD;
        let scheme = if self.options.https { "https" } else { "http" };
        let target = match Target::of(scheme, request.head()) {
            Ok(target) => target,
            Err(refusal) => return self.refused(refusal),
        };
        let key = match CacheKey::of_parts(scheme, target.authority, target.path) {
            Ok(key) => key,
            Err(error) => return self.failed(&error.into(), is_head),
        };
        let fields = http02::ActixFields(request.headers());
        let found = match self.cache.lookup(&key, &RequestHead::new(&method, &fields)).await {
            Lookup::Answered(answer) => return respond(&self.cache, answer, is_head),
            Lookup::Forward(found) => found,
        };
        let Ok(uri) = http::Uri::from_maybe_shared(Bytes::from(target.uri(scheme))) else {
            return self.refused(refuse::bad_request("400 Bad Request: the target is not a URI\n"));
        };
        let peer = request.peer_addr().map(|peer| peer.ip());
        let mut fields = http02::fields_from(request.headers());
        forwarded::rewrite(&mut fields, &self.options, peer, &uri);
        let body = content(&mut request);
        let mut forward = http::Request::new(body);
        *forward.method_mut() = method;
        *forward.uri_mut() = uri;
        *forward.headers_mut() = fields;
        // Boxed: a hit's future should not carry, and be moved with, the room for a whole fetch.
        let options = FetchOptions::default();
        let origin = Arc::clone(&self.origin);
        match Box::pin(self.cache.resume(found, forward, origin, &options)).await {
            Ok(answer) => respond(&self.cache, answer, is_head),
            Err(error) => self.failed(&error, is_head),
        }
    }

    /// Also what never came near the cache says so.
    fn refused(&self, mut refusal: Response<AnswerBody>) -> Response<AnswerBody> {
        let mut status = CacheStatus::default();
        status.detail = Some("refused");
        http02::insert_own(refusal.headers_mut(), None, status.to_bytes(self.cache.name()));
        refusal
    }

    fn failed(&self, error: &larder_core::FetchError, is_head: bool) -> Response<AnswerBody> {
        tracing::debug!(%error, "no response");
        respond(&self.cache, self.cache.error_answer(error), is_head)
    }
}

/// The request's content, if it has any.
fn content(request: &mut Request) -> Body {
    let length = announced_length(request.headers());
    if matches!(request.payload(), actix_http::Payload::None) || length == Some(0) {
        return Body::empty();
    }
    channel::from_stream(request.take_payload(), length)
}

fn announced_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
