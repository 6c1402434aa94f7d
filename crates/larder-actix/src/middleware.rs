//! The service that the caching middleware creates; its origin is the wrapped service.
//!
//! actix's services and requests stay on their thread, and the engine's origin may leave it. So the
//! engine gets a [`local_origin`], which sends its requests through a channel to the future that
//! handles the client's request. That future calls the wrapped service, on its thread and with the
//! original request, and sends the head of the response to the engine. The body follows in a
//! separate task ([`crate::bridge`]), so that storing continues after the client has disconnected.
//!
//! The options are in [`crate::settings`], the key of a request in [`crate::target`], and its
//! content in [`crate::content`].

use std::{fmt, pin::Pin, rc::Rc, sync::Arc};

use actix_http::{body::EitherBody, body::MessageBody};
use actix_service::Service;
use actix_web::{
    Error, HttpRequest,
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::InternalError,
};
use bytes::Bytes;
use larder_core::{
    Body, Bypass, CacheKey, CacheResponse, Lookup, Miss, OriginRequest, OriginRequests, local_origin,
};
use tokio::sync::oneshot;

use crate::{
    CacheMiddleware, ResponseBody, bridge, content, convert,
    encoding::NegotiatedEncoding,
    respond::respond,
    target::{RequestKey, set_target},
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
            let Some(keyed) = RequestKey::of(&mut request, &settings) else {
                return Ok(service.call(request).await?.map_into_left_body());
            };
            if keyed.differs {
                set_target(&mut request, &keyed.key, &settings);
            }
            let method = convert::method_from_actix(request.method());
            if settings.key_rules.is_query(&method) {
                // Boxed: the future of a hit should not have the size of a query.
                return Box::pin(query(settings, service, request, method, keyed)).await;
            }
            let headers = convert::ActixHeaders(request.headers());
            let directives = settings.client_directives;
            match settings.encoding.lookup(&settings.cache, &keyed.key, &method, &headers, directives).await {
                (Lookup::Hit(response), _) => Ok(hit(&settings, request, &method, response)),
                (Lookup::Miss(miss), encoding) => {
                    let allowed = if encoding.is_none() { miss.into_bypass() } else { Err(miss) };
                    let miss = match allowed {
                        Ok(allowed) => return bypass(&settings.cache, allowed, &service, request).await,
                        Err(miss) => miss,
                    };
                    let context = MissContext { settings, service, method, keyed, encoding, query: None };
                    // Boxed: the future of a hit should not have the size of a whole fetch.
                    Box::pin(context.resume(miss, request)).await
                }
            }
        })
    }
}

/// Handles a request of which the content is a part of the key.
async fn query<S, B>(
    settings: Rc<CacheMiddleware>,
    service: Rc<S>,
    mut request: ServiceRequest,
    method: http::Method,
    mut keyed: RequestKey,
) -> Result<ServiceResponse<EitherBody<B, ResponseBody>>, Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    let limits = settings.key_rules.content.unwrap_or_default();
    let content = content::read(&mut request, &limits).await.map_err(|error| {
        let status = convert::status_to_actix(error.status());
        InternalError::new(error.to_string(), status)
    })?;
    let Some(content) = content else {
        // Longer than the limit.
        return Ok(service.call(request).await?.map_into_left_body());
    };
    keyed.add_query(&request, &settings, &method, &content);
    let headers = convert::ActixHeaders(request.headers());
    let (method_in_key, directives) = (http::Method::GET, settings.client_directives);
    match settings.encoding.lookup(&settings.cache, &keyed.key, &method_in_key, &headers, directives).await {
        (Lookup::Hit(response), _) => Ok(hit(&settings, request, &method, response)),
        (Lookup::Miss(miss), encoding) => {
            let context = MissContext { settings, service, method, keyed, encoding, query: Some(content) };
            context.resume(miss, request).await
        }
    }
}

/// Creates the response to a hit.
fn hit<B>(
    settings: &CacheMiddleware,
    request: ServiceRequest,
    method: &http::Method,
    response: CacheResponse,
) -> ServiceResponse<EitherBody<B, ResponseBody>> {
    let (request, _) = request.into_parts();
    let cache_status = settings.cache.cache_status(&response);
    let response = respond(response, *method == http::Method::HEAD, cache_status);
    ServiceResponse::new(request, response.into()).map_into_right_body()
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
    keyed: RequestKey,
    encoding: NegotiatedEncoding,
    /// The content, if it is a part of the key.
    query: Option<Bytes>,
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
        mut request: ServiceRequest,
    ) -> Result<ServiceResponse<EitherBody<B, ResponseBody>>, Error> {
        let is_head = self.method == http::Method::HEAD;
        if self.query.is_none() && content::is_get_with_content(&mut request).await {
            return Ok(self.service.call(request).await?.map_into_left_body());
        }
        let mut options = self.settings.options.clone();
        options.body_in_key = self.query.is_some();
        options.form_of = self.keyed.url;
        let mut forward = forward(&self.method, &self.keyed.key, self.query, &request)?;
        let cache = self.settings.cache.clone();
        let (origin, mut origin_requests) = local_origin(true);
        let origin = self.encoding.origin(Arc::new(origin), &cache, self.keyed.key, forward.headers_mut());
        let resuming = miss.fetch(forward, origin, &options);
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
                    start_signal = Some(sender);
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
            response = response.map_body(|_, body| body.with_start_signal(signal));
        }
        Ok(ServiceResponse::new(request, response.into()).map_into_right_body())
    }
}

/// Converts the request for the engine. Its content is left out, unless it is a part of the key:
/// the handler reads it from the original request.
fn forward(
    method: &http::Method,
    key: &CacheKey,
    query: Option<Bytes>,
    request: &ServiceRequest,
) -> Result<http::Request<Body>, Error> {
    let mut forward = http::Request::new(query.map_or_else(Body::empty, Body::from));
    *forward.method_mut() = method.clone();
    *forward.uri_mut() =
        key.target().parse().map_err(actix_web::error::ErrorBadRequest::<http::uri::InvalidUri>)?;
    *forward.headers_mut() = convert::headers_from_actix(request.headers());
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
    *converted.headers_mut() = convert::headers_from_actix(head.headers());
    origin_request.responder.send(Ok(settings.additions.add_to(request.path(), converted)));
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
