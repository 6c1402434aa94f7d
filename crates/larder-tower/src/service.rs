//! The service: looks each request up in the cache, and calls the wrapped service on a miss.
//!
//! It translates types and computes the cache key. All caching rules are in `larder-core`.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::{CONTENT_TYPE, UPGRADE},
    request::Parts,
    uri::Authority,
};
use larder_core::{
    Body, BodyError, Bypass, Cache, CacheKey, Lookup, Miss, RequestHead,
    adapter::{KeyRules, ReceivedTarget, RequestTarget, is_steering, set_target_fields},
    policy::header_names,
};
use parking_lot::Mutex;
use tower::{Service, ServiceExt as _};

use crate::{
    CacheLayer,
    origin::{ServiceError, ServiceOrigin},
};

/// A service with an HTTP cache in front of it, created by [`CacheLayer`].
///
/// Its error type is that of the wrapped service. Other failures, such as the timeout of
/// [`Limits::origin_timeout`](larder_core::Limits::origin_timeout), become responses with status
/// 400, 502, 503 or 504.
///
/// # Cancel safety
///
/// The response future can be dropped at any point. A fetch that other requests wait for goes on,
/// and a body that has begun to arrive is stored.
#[derive(Clone)]
pub struct CacheService<S> {
    pub(crate) layer: CacheLayer,
    pub(crate) service: S,
}

impl<S> fmt::Debug for CacheService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheService").field("cache", &self.layer.cache).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for CacheService<S>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: fmt::Display + Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    /// Reports readiness at once. A hit does not need the wrapped service; a miss waits for its
    /// readiness in the response future.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (layer, service) = (self.layer.clone(), self.service.clone());
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let Some(key) = cache_key(&layer, &mut parts) else {
                let request = Request::from_parts(parts, Body::stream(body));
                return Ok(service.oneshot(request).await?.map(Body::stream));
            };
            match layer.cache.lookup(&key, &RequestHead::new(&parts.method, &parts.headers)).await {
                Lookup::Hit(response) => Ok(layer.cache.into_http(response)),
                Lookup::Miss(miss) => match miss.into_bypass() {
                    Ok(allowed) => {
                        let call = service.oneshot(Request::from_parts(parts, Body::stream(body)));
                        bypass(&layer.cache, allowed, call).await
                    }
                    // Boxed, so that the future of a hit does not reserve space for a fetch.
                    Err(miss) => {
                        let Ok(target) = key.target().parse() else {
                            let request = Request::from_parts(parts, Body::stream(body));
                            return Ok(service.oneshot(request).await?.map(Body::stream));
                        };
                        Box::pin(forward(layer, service, miss, target, parts, Body::stream(body))).await
                    }
                },
            }
        })
    }
}

/// Calls the service without the engine, if the key's last response could not be stored, and adds
/// `Cache-Status` to its response.
async fn bypass<R, E>(
    cache: &Cache,
    bypass: Bypass,
    call: impl Future<Output = Result<Response<R>, E>>,
) -> Result<Response<Body>, E>
where
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    match bypass.call(call).await {
        Ok(response) => {
            let mut response = response?.map(Body::stream);
            let status = bypass.record(response.status(), response.headers());
            if let Ok(value) = HeaderValue::from_maybe_shared(cache.status_bytes(&status)) {
                response.headers_mut().append(header_names::CACHE_STATUS, value);
            }
            Ok(response)
        }
        Err(error) => Ok(cache.into_http(cache.error_response(&error))),
    }
}

/// Fetches the response through the engine, with the service as its origin.
///
/// Returns the service's own error if the service failed and no stored response could be used
/// instead.
async fn forward<S, R>(
    layer: CacheLayer,
    service: S,
    miss: Miss,
    target: Uri,
    mut parts: Parts,
    body: Body,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: fmt::Display + Send>
        + Clone
        + Send
        + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    let uri = std::mem::replace(&mut parts.uri, target);
    let origin = Arc::new(ServiceOrigin { service: Mutex::new(service), uri });
    let error = match miss.fetch(Request::from_parts(parts, body), origin, &layer.options).await {
        Ok(response) => return Ok(layer.cache.into_http(response)),
        Err(error) => error,
    };
    match error.downcast_source::<ServiceError<S::Error>>() {
        Ok(service_error) => Err(service_error.into_inner()),
        Err(error) => Ok(layer.cache.into_http(layer.cache.error_response(&error))),
    }
}

/// Returns the cache key of a request, and removes the fields that steer the service from it.
///
/// Returns `None` for a request that does not go through the cache: an upgrade, gRPC, or a request
/// with an ambiguous host or target.
fn cache_key(layer: &CacheLayer, parts: &mut Parts) -> Option<CacheKey> {
    let is_grpc = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if parts.headers.contains_key(UPGRADE) || parts.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return None;
    }
    let uri = original_uri(parts);
    let scheme = parts.uri.scheme_str().unwrap_or(layer.scheme);
    let mut received = ReceivedTarget::of_uri(scheme, &parts.method, uri, parts.version);
    received.uri_authority = received.uri_authority.or(parts.uri.authority().map(Authority::as_str));
    let trusted = &layer.trust.proxies;
    let peer = (layer.trust.peer)(&parts.extensions);
    let target = RequestTarget::of(&received, &parts.headers, peer, trusted).ok()?;
    if target.has_dot_segments() {
        return None;
    }
    let key = KeyRules::default().key(&target).ok()?;
    if parts.headers.keys().any(|name| is_steering(name.as_str())) {
        let is_trusted = peer.is_some_and(|peer| trusted.contains(peer));
        let (scheme, authority) = (target.scheme, target.authority.into_owned());
        set_target_fields(&mut parts.headers, scheme, &authority, is_trusted);
    }
    Some(key)
}

/// Returns the URI of a request before a router removed the beginning of its path.
fn original_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get() {
        return uri;
    }
    &parts.uri
}
