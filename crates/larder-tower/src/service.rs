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
    header::{CONTENT_TYPE, HOST, UPGRADE},
    request::Parts,
    uri::{PathAndQuery, Scheme},
};
use larder_core::{
    Body, BodyError, Bypass, Cache, CacheKey, Lookup, Miss, RequestHead, policy::header_names,
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
            let (parts, body) = request.into_parts();
            let Some(key) = cache_key(&parts, layer.scheme) else {
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
                    Err(miss) => Box::pin(forward(layer, service, miss, parts, Body::stream(body))).await,
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
    let relative = parts.uri.authority().is_none();
    if relative && let Some(uri) = absolute_uri(&parts, layer.scheme) {
        parts.uri = uri;
    }
    let origin = Arc::new(ServiceOrigin { service: Mutex::new(service), relative });
    let error = match miss.fetch(Request::from_parts(parts, body), origin, &layer.options).await {
        Ok(response) => return Ok(layer.cache.into_http(response)),
        Err(error) => error,
    };
    match error.downcast_source::<ServiceError<S::Error>>() {
        Ok(service_error) => Err(service_error.into_inner()),
        Err(error) => Ok(layer.cache.into_http(layer.cache.error_response(&error))),
    }
}

/// Returns the cache key of a request.
///
/// Returns `None` for a request that does not go through the cache: an upgrade, gRPC, or a request
/// with an ambiguous host or target.
fn cache_key(parts: &Parts, scheme: &str) -> Option<CacheKey> {
    let is_grpc = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if parts.headers.contains_key(UPGRADE) || parts.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return None;
    }
    let path = parts.uri.path_and_query()?.as_str();
    match (parts.uri.scheme_str(), parts.uri.authority()) {
        (Some(scheme), Some(authority)) => CacheKey::from_parts(scheme, authority.as_str(), path).ok(),
        (None, None) => CacheKey::from_parts(scheme, host(parts)?, path).ok(),
        _ => None,
    }
}

/// Returns the value of the request's `Host` header, if there is exactly one and it is not empty
/// (RFC 9112 §3.2).
fn host(parts: &Parts) -> Option<&str> {
    let mut lines = parts.headers.get_all(HOST).iter();
    let only = lines.next().filter(|_| lines.next().is_none())?;
    only.to_str().ok().filter(|host| !host.is_empty())
}

/// Returns the request's URI in absolute form, with the host from its `Host` header.
fn absolute_uri(parts: &Parts, scheme: &str) -> Option<Uri> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Scheme::try_from(scheme).ok();
    uri.authority = host(parts)?.parse().ok();
    uri.path_and_query = Some(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
    Uri::from_parts(uri).ok()
}
