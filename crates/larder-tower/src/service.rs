//! The service: looks each request up in the cache, and calls the wrapped service on a miss.
//!
//! It translates types; `target` computes the cache key. All caching rules are in `larder-core`.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, request::Parts};
use larder_core::{
    Body, BodyError, Bypass, Cache, Lookup, Miss, Origin, RequestHead, adapter::RequestContent,
    policy::header_names,
};
use parking_lot::Mutex;
use tower::{Service, ServiceExt as _};

use crate::{
    CacheLayer,
    origin::{ServiceError, ServiceOrigin},
    target::RequestKey,
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
            let Some(keyed) = RequestKey::of(&layer, &mut parts) else {
                let request = Request::from_parts(parts, Body::stream(body));
                return Ok(service.oneshot(request).await?.map(Body::stream));
            };
            if layer.key_rules.is_query(&parts.method) {
                // Boxed, so that the future of a hit does not reserve space for a query.
                return Box::pin(query(layer, service, keyed, parts, Body::stream(body))).await;
            }
            let head = RequestHead::new(&parts.method, &parts.headers)
                .with_client_directives(layer.client_directives);
            match layer.cache.lookup(&keyed.key, &head).await {
                Lookup::Hit(response) => {
                    let rest = || origin_of_rest(service, &keyed, parts);
                    Ok(layer.cache.into_http(response.with_origin(rest)))
                }
                Lookup::Miss(miss) => match miss.into_bypass() {
                    Ok(allowed) => {
                        let call = service.oneshot(Request::from_parts(parts, Body::stream(body)));
                        bypass(&layer.cache, allowed, call).await
                    }
                    // Boxed, so that the future of a hit does not reserve space for a fetch.
                    Err(miss) => {
                        let request = Request::from_parts(parts, Body::stream(body));
                        Box::pin(forward(layer, service, miss, keyed, request, false)).await
                    }
                },
            }
        })
    }
}

/// Returns the service as the origin of a request that was a hit, and the request as it would be
/// forwarded, for the rest of a body that the store cannot read.
fn origin_of_rest<S, R>(
    service: S,
    keyed: &RequestKey,
    mut parts: Parts,
) -> Option<(Request<()>, Arc<dyn Origin>)>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: fmt::Display + Send>
        + Clone
        + Send
        + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    let uri = std::mem::replace(&mut parts.uri, keyed.key.target().parse().ok()?);
    let origin = ServiceOrigin { service: Mutex::new(service), uri };
    Some((Request::from_parts(parts, ()), Arc::new(origin)))
}

/// Handles a request of which the content is a part of the key.
async fn query<S, R>(
    layer: CacheLayer,
    service: S,
    mut keyed: RequestKey,
    parts: Parts,
    body: Body,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: fmt::Display + Send>
        + Clone
        + Send
        + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    let limits = layer.key_rules.content.unwrap_or_default();
    let content = match RequestContent::read(body, &limits).await {
        Ok(RequestContent::Whole(content)) => content,
        Ok(RequestContent::Longer(body)) => {
            let request = Request::from_parts(parts, body);
            return Ok(service.oneshot(request).await?.map(Body::stream));
        }
        Err(error) => {
            let mut response = Response::new(Body::from(format!("{error}\n")));
            *response.status_mut() = error.status();
            return Ok(response);
        }
    };
    keyed.add_query(&layer, &parts, &content);
    // A query is looked up like a GET.
    let head = RequestHead::new(&Method::GET, &parts.headers).with_client_directives(layer.client_directives);
    match layer.cache.lookup(&keyed.key, &head).await {
        Lookup::Hit(response) => Ok(layer.cache.into_http(response)),
        Lookup::Miss(miss) => {
            let request = Request::from_parts(parts, Body::from(content));
            forward(layer, service, miss, keyed, request, true).await
        }
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
/// instead. `is_query`: the content of the request is a part of the key.
async fn forward<S, R>(
    layer: CacheLayer,
    service: S,
    miss: Miss,
    keyed: RequestKey,
    mut request: Request<Body>,
    is_query: bool,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: fmt::Display + Send>
        + Clone
        + Send
        + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    let Ok(target) = keyed.key.target().parse() else {
        return Ok(service.oneshot(request).await?.map(Body::stream));
    };
    let uri = std::mem::replace(request.uri_mut(), target);
    let origin = Arc::new(ServiceOrigin { service: Mutex::new(service), uri });
    let mut options = layer.options.clone();
    options.body_in_key |= is_query;
    options.form_of = keyed.url;
    let error = match miss.fetch(request, origin, &options).await {
        Ok(response) => return Ok(layer.cache.into_http(response)),
        Err(error) => error,
    };
    match error.downcast_source::<ServiceError<S::Error>>() {
        Ok(service_error) => Err(service_error.into_inner()),
        Err(error) => Ok(layer.cache.into_http(layer.cache.error_response(&error))),
    }
}
