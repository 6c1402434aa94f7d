//! The service: a request to the cache, and where that is needed to the service inside.

use std::{
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
use larder_core::{Body, BodyError, Cache, CacheKey, Lookup, Miss, RequestHead, header_names};
use parking_lot::Mutex;
use tower::{Service, ServiceExt as _};

use crate::{
    CacheLayer,
    origin::{Failure, ServiceOrigin},
};

/// A service with a cache around it; see [`CacheLayer`].
#[derive(Debug, Clone)]
pub struct CacheService<S> {
    pub(crate) layer: CacheLayer,
    pub(crate) service: S,
}

impl<S, B, R> Service<Request<B>> for CacheService<S>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    /// Always: a hit needs no service, and a miss waits for it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (layer, service) = (self.layer.clone(), self.service.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let Some(key) = key(&parts, layer.scheme) else {
                let request = Request::from_parts(parts, Body::stream(body));
                return Ok(service.oneshot(request).await?.map(Body::stream));
            };
            match layer.cache.lookup(&key, &RequestHead::new(&parts.method, &parts.headers)).await {
                Lookup::Hit(answer) => Ok(layer.cache.into_http(answer)),
                Lookup::Miss(found) if found.can_bypass() => {
                    let asking = service.oneshot(Request::from_parts(parts, Body::stream(body)));
                    ask_directly(&layer.cache, &found, asking).await
                }
                // Boxed: a hit's future should not carry the room for a whole fetch.
                Lookup::Miss(found) => {
                    Box::pin(forward(layer, service, found, parts, Body::stream(body))).await
                }
            }
        })
    }
}

/// A request whose response refuses to be stored, as far as is known: the service's own, with `Cache-Status`.
async fn ask_directly<R, E>(
    cache: &Cache,
    found: &Miss,
    asking: impl Future<Output = Result<Response<R>, E>>,
) -> Result<Response<Body>, E>
where
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    match cache.bypass(asking).await {
        Ok(response) => {
            let mut response = response?.map(Body::stream);
            let status = cache.record_bypass(found, response.status(), response.headers());
            if let Ok(value) = HeaderValue::from_maybe_shared(cache.status_bytes(&status)) {
                response.headers_mut().append(header_names::CACHE_STATUS, value);
            }
            Ok(response)
        }
        Err(error) => Ok(cache.into_http(cache.error_response(&error))),
    }
}

async fn forward<S, R>(
    layer: CacheLayer,
    service: S,
    found: Miss,
    mut parts: Parts,
    body: Body,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    let relative = parts.uri.authority().is_none();
    if relative && let Some(absolute) = absolute(&parts, layer.scheme) {
        parts.uri = absolute;
    }
    let failure: Failure<S::Error> = Arc::default();
    let origin = ServiceOrigin { service: Mutex::new(service), failure: Arc::clone(&failure), relative };
    let request = Request::from_parts(parts, body);
    match layer.cache.resume(found, request, Arc::new(origin), &layer.options).await {
        Ok(answer) => Ok(layer.cache.into_http(answer)),
        Err(error) => match failure.lock().take() {
            Some(failure) => Err(failure),
            None => Ok(layer.cache.into_http(layer.cache.error_response(&error))),
        },
    }
}

/// The key; `None` for a request that the cache keeps out of: an upgrade, gRPC, one whose host or target is unclear.
fn key(parts: &Parts, scheme: &str) -> Option<CacheKey> {
    let grpc = |kind: &http::HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
    if parts.headers.contains_key(UPGRADE) || parts.headers.get(CONTENT_TYPE).is_some_and(grpc) {
        return None;
    }
    let path = parts.uri.path_and_query()?.as_str();
    match (parts.uri.scheme_str(), parts.uri.authority()) {
        (Some(scheme), Some(authority)) => CacheKey::of_parts(scheme, authority.as_str(), path).ok(),
        (None, None) => CacheKey::of_parts(scheme, host(parts)?, path).ok(),
        _ => None,
    }
}

/// The one host that a request names (RFC 9112 §3.2).
fn host(parts: &Parts) -> Option<&str> {
    let mut lines = parts.headers.get_all(HOST).iter();
    let one = lines.next().filter(|_| lines.next().is_none())?;
    one.to_str().ok().filter(|host| !host.is_empty())
}

fn absolute(parts: &Parts, scheme: &str) -> Option<Uri> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Scheme::try_from(scheme).ok();
    uri.authority = host(parts)?.parse().ok();
    uri.path_and_query = Some(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
    Uri::from_parts(uri).ok()
}
