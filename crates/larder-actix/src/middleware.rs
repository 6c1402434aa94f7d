//! The service that the caching middleware creates; its origin is the wrapped service.
//!
//! actix's services and requests stay on their thread, and the engine's origin may leave it. So the
//! engine gets a [`local_origin`], which sends its requests through a channel to the future that
//! handles the client's request. That future calls the wrapped service, on its thread and with the
//! original request, and sends the head of the response to the engine. The body follows in a
//! separate task ([`crate::bridge`]), so that storing continues after the client has disconnected.
//!
//! The options are in [`crate::settings`].

use std::{borrow::Cow, fmt, pin::Pin, rc::Rc, sync::Arc};

use actix_http::{body::EitherBody, body::MessageBody};
use actix_service::Service;
use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    dev::{ConnectionInfo, Payload, ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        Method, Uri, Version,
        header::{
            CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE, X_FORWARDED_HOST, X_FORWARDED_PROTO,
        },
    },
};
use larder_core::{
    Body, Bypass, CacheKey, Lookup, Miss, OriginRequest, OriginRequests,
    adapter::{ReceivedTarget, RequestTarget, is_steering},
    local_origin,
};
use tokio::sync::oneshot;

use crate::{
    CacheMiddleware, ResponseBody, body::StartSignal, bridge, convert, encoding::NegotiatedEncoding,
    respond::respond,
};

/// A service behind a cache. [`CacheMiddleware`] creates it from the service that it wraps.
pub struct CacheMiddlewareService<S> {
    pub(crate) settings: Rc<CacheMiddleware>,
    pub(crate) service: Rc<S>,
}

impl<S> fmt::Debug for CacheMiddlewareService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheMiddlewareService").field("cache", &self.settings.cache).finish_non_exhaustive()
    }
}

type ResponseFuture<B> =
    Pin<Box<dyn Future<Output = Result<ServiceResponse<EitherBody<B, ResponseBody>>, Error>>>>;

impl<S, B> Service<ServiceRequest> for CacheMiddlewareService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, ResponseBody>>;
    type Error = Error;
    type Future = ResponseFuture<B>;

    actix_service::forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (settings, service) = (Rc::clone(&self.settings), Rc::clone(&self.service));
        Box::pin(async move {
            let Some((key, steered)) = cache_key(&request, &settings) else {
                return Ok(service.call(request).await?.map_into_left_body());
            };
            if steered {
                set_target(&mut request, &key, &settings);
            }
            let method = convert::method_from_actix(request.method());
            let is_head = method == http::Method::HEAD;
            let headers = convert::ActixHeaders(request.headers());
            match settings.encoding.lookup(&settings.cache, &key, &method, &headers).await {
                (Lookup::Hit(response), _) => {
                    let (request, _) = request.into_parts();
                    let cache_status = settings.cache.cache_status(&response);
                    let response = respond(response, is_head, cache_status);
                    Ok(ServiceResponse::new(request, response.into()).map_into_right_body())
                }
                (Lookup::Miss(miss), encoding) => {
                    let allowed = if encoding.is_none() { miss.into_bypass() } else { Err(miss) };
                    let miss = match allowed {
                        Ok(allowed) => return bypass(&settings.cache, allowed, &service, request).await,
                        Err(miss) => miss,
                    };
                    let context = MissContext { settings, service, method, key, encoding };
                    // Boxed: the future of a hit should not have the size of a whole fetch.
                    Box::pin(context.resume(miss, request)).await
                }
            }
        })
    }
}

/// Returns the cache key of a request, and whether the request differs from it: in fields that
/// steer the handler, or in ignored query parameters. `None` if it goes to its handler without the
/// cache.
fn cache_key(request: &ServiceRequest, settings: &CacheMiddleware) -> Option<(CacheKey, bool)> {
    if request.headers().contains_key(UPGRADE) || is_get_with_content(request) || settings.skips(request) {
        return None;
    }
    let head = request.head();
    let mut received = ReceivedTarget::new(scheme(request), head.uri.path_and_query()?.as_str());
    received.uri_scheme = head.uri.scheme_str();
    received.uri_authority = head.uri.authority().map(|authority| authority.as_str());
    received.is_http_2 = head.version >= Version::HTTP_2;
    received.is_http_1_0 = head.version <= Version::HTTP_10;
    let peer = request.peer_addr().map(|peer| peer.ip());
    let headers = convert::ActixHeaders(request.headers());
    let target = RequestTarget::of(&received, &headers, peer, &settings.trusted_proxies).ok()?;
    if target.has_dot_segments() {
        return None;
    }
    let steered = request.headers().keys().any(|name| is_steering(name.as_str()))
        || matches!(settings.key_rules.path(target.path), Cow::Owned(_));
    let key = settings.key_rules.key(&target).ok()?;
    Some((settings.extend_key(key, request), steered))
}

/// Makes the request what its key states, before a handler sees it: without ignored query
/// parameters, and with the scheme and host of the key in `X-Forwarded-*`, if a trusted proxy has
/// sent them, or without such fields.
fn set_target(request: &mut ServiceRequest, key: &CacheKey, settings: &CacheMiddleware) {
    let is_trusted = request.peer_addr().is_some_and(|peer| settings.trusted_proxies.contains(peer.ip()));
    let steering: Vec<_> =
        request.headers().keys().filter(|name| is_steering(name.as_str())).cloned().collect();
    for name in steering {
        if !is_trusted || name != "x-forwarded-for" {
            request.headers_mut().remove(name);
        }
    }
    if is_trusted && let Ok(target) = key.target().parse::<Uri>() {
        let scheme = HeaderValue::from_str(target.scheme_str().unwrap_or_default());
        let host = HeaderValue::from_str(target.authority().map_or("", |authority| authority.as_str()));
        if let (Ok(scheme), Ok(host)) = (scheme, host) {
            request.headers_mut().insert(X_FORWARDED_PROTO, scheme);
            request.headers_mut().insert(X_FORWARDED_HOST, host);
        }
    }
    // Computed by another middleware before, from the fields that are removed here.
    request.extensions_mut().remove::<ConnectionInfo>();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if let Cow::Owned(path) = settings.key_rules.path(path)
        && let Ok(path) = path.parse()
    {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(path);
        if let Ok(uri) = Uri::from_parts(parts) {
            request.head_mut().uri = uri;
        }
    }
}

/// Returns whether this is a GET or HEAD with content. The response may depend on the content,
/// which is not in the key and is not passed to the engine.
fn is_get_with_content(request: &ServiceRequest) -> bool {
    let get_or_head = matches!(*request.method(), Method::GET | Method::HEAD);
    let announced = request.headers().get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    get_or_head && (announced || request.headers().contains_key(TRANSFER_ENCODING))
}

/// Returns the scheme of the target URI: that of the listener.
fn scheme(request: &ServiceRequest) -> &'static str {
    if request.app_config().secure() { "https" } else { "http" }
}

/// Calls the handler without the engine, and adds `Cache-Status` to its response: for a key under
/// which the last response must not be stored (`no-store`, for example).
async fn bypass<S, B>(
    cache: &larder_core::Cache,
    bypass: Bypass,
    service: &S,
    request: ServiceRequest,
) -> Result<ServiceResponse<EitherBody<B, ResponseBody>>, Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    let mut response = bypass.call(service.call(request)).await.map_err(|_| handler_timeout())??;
    let status = convert::status_from_actix(response.status());
    let cache_status = bypass.record(status, &convert::ActixHeaders(response.headers()));
    convert::insert_cache_headers(response.headers_mut(), None, cache.status_bytes(&cache_status));
    Ok(response.map_into_left_body())
}

/// Creates the error for a handler that exceeds `Limits::origin_timeout`: 504.
fn handler_timeout() -> Error {
    InternalError::new("the handler did not respond in time", actix_web::http::StatusCode::GATEWAY_TIMEOUT)
        .into()
}

/// A request for which nothing usable is stored, and what is needed to call its handler.
struct MissContext<S> {
    settings: Rc<CacheMiddleware>,
    service: Rc<S>,
    method: http::Method,
    key: CacheKey,
    encoding: NegotiatedEncoding,
}

impl<S, B> MissContext<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    /// Lets the engine continue, and calls the handler when the engine requests it.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. A running handler is dropped with it; a response that has
    /// reached the engine is still stored.
    async fn resume(
        self,
        miss: Miss,
        request: ServiceRequest,
    ) -> Result<ServiceResponse<EitherBody<B, ResponseBody>>, Error> {
        let is_head = self.method == http::Method::HEAD;
        let mut forward = forward(&self.method, &self.key, &request)?;
        let cache = self.settings.cache.clone();
        let (origin, mut origin_requests) = local_origin(true);
        let origin = self.encoding.origin(Arc::new(origin), &cache, self.key, forward.headers_mut());
        let resuming = miss.fetch(forward, origin, &self.settings.options);
        tokio::pin!(resuming);
        let mut handler = HandlerState::NotStarted(Box::new(request));
        let result = loop {
            tokio::select! {
                // The handler is polled first: the engine may be waiting for its response.
                biased;
                request = handler.finished() => handler = HandlerState::Done(request?),
                Some(origin_request) = origin_requests.next() => handler = handler.start(origin_request, &self.service, &self.settings),
                result = &mut resuming => break result,
            }
        };
        let mut start_signal = None;
        let request = match handler {
            HandlerState::NotStarted(request) => {
                let request = request.into_parts().0;
                if result.as_ref().is_ok_and(|response| response.cache_status().hit) {
                    // The response is stale and may be revalidated in the background: with the same
                    // request, after the framework has released it.
                    let (sender, released) = oneshot::channel();
                    start_signal = Some(StartSignal(Some(sender)));
                    let revalidation =
                        BackgroundRevalidation { request: request.clone(), released, service: self.service };
                    actix_rt::spawn(revalidation.run(origin_requests, Rc::clone(&self.settings)));
                }
                request
            }
            HandlerState::Done(request) => request,
            // The engine's timeout has passed, and the handler still has the request.
            HandlerState::Running(_) => return Err(handler_timeout()),
        };
        let response = result.unwrap_or_else(|error| cache.error_response(&error));
        let cache_status = cache.cache_status(&response);
        let mut response = respond(response, is_head, cache_status);
        if let Some(signal) = start_signal {
            response = response.map_body(|_, body| body.with_observer(Box::new(signal)));
        }
        Ok(ServiceResponse::new(request, response.into()).map_into_right_body())
    }
}

/// Converts the request for the engine. Its content is left out: the handler reads it from the
/// original request.
fn forward(
    method: &http::Method,
    key: &CacheKey,
    request: &ServiceRequest,
) -> Result<http::Request<Body>, Error> {
    let mut forward = http::Request::new(Body::empty());
    *forward.method_mut() = method.clone();
    *forward.uri_mut() =
        key.target().parse().map_err(actix_web::error::ErrorBadRequest::<http::uri::InvalidUri>)?;
    *forward.headers_mut() = convert::headers_from_actix(request.headers(), |_| true);
    Ok(forward)
}

/// How far the handler is, and where the original request is.
enum HandlerState {
    /// The handler has not been called; the request is here.
    NotStarted(Box<ServiceRequest>),
    /// The handler is running, and owns the request.
    Running(Pin<Box<dyn Future<Output = Result<HttpRequest, Error>>>>),
    /// The handler has responded, and returned the request.
    Done(HttpRequest),
}

impl HandlerState {
    /// Waits until a running handler has responded. Never resolves in the other states.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point: the handler continues at the next call.
    async fn finished(&mut self) -> Result<HttpRequest, Error> {
        match self {
            Self::Running(call) => call.await,
            _ => std::future::pending().await,
        }
    }

    /// Calls the handler with the original request, in which the engine may have changed headers.
    fn start<S, B>(
        self,
        origin_request: OriginRequest,
        service: &Rc<S>,
        settings: &Rc<CacheMiddleware>,
    ) -> Self
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
        B: MessageBody + 'static,
    {
        let Self::NotStarted(request) = self else {
            // A second request from the engine can't be served: the handler has consumed the
            // original. Dropping `origin_request` fails it.
            return self;
        };
        Self::Running(Box::pin(call(Rc::clone(service), *request, origin_request, Rc::clone(settings))))
    }
}

/// Calls the handler with the conditional headers and the coding that the engine has set, and sends
/// its response to the engine. Returns the request.
async fn call<S, B>(
    service: Rc<S>,
    mut request: ServiceRequest,
    origin_request: OriginRequest,
    settings: Rc<CacheMiddleware>,
) -> Result<HttpRequest, Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    convert::set_negotiated(request.headers_mut(), origin_request.request.headers());
    let (request, response) = service.call(request).await?.into_parts();
    let (head, body) = response.into_parts();
    let mut converted = http::Response::new(bridge::from_message_body(body));
    *converted.status_mut() = convert::status_from_actix(head.status());
    *converted.headers_mut() = convert::headers_from_actix(head.headers(), |_| true);
    origin_request.responder.send(Ok(settings.finish(&request, converted)));
    Ok(request)
}

/// A request that was answered with a stale response, which its handler is to replace in the
/// background.
struct BackgroundRevalidation<S> {
    request: HttpRequest,
    /// Resolves when the framework has released the request: a handler needs the only reference to
    /// it.
    released: oneshot::Receiver<()>,
    service: Rc<S>,
}

impl<S, B> BackgroundRevalidation<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    /// Calls the handler, if the engine requests it.
    async fn run(self, mut origin_requests: OriginRequests, settings: Rc<CacheMiddleware>) {
        // Nothing to do if another request has begun the revalidation.
        let Some(origin_request) = origin_requests.next().await else { return };
        let _ = self.released.await;
        let request = ServiceRequest::from_parts(self.request, Payload::None);
        // After a failure the stored response stays as it is.
        let _ = call(self.service, request, origin_request, settings).await;
    }
}
