//! The caching middleware: the wrapped service is the origin.
//!
//! actix's services and requests stay on their thread, the engine's origin may leave it. So the origin that the engine gets
//! is only a messenger ([`larder_core::local_origin`]): what it is asked for comes back to the request's own future, which
//! calls the service there, with the original request, and sends the response's head over. The body follows by itself
//! ([`crate::channel`]), so that a fill goes on when the client has left.

use std::{pin::Pin, rc::Rc, sync::Arc};

use actix_http::{body::EitherBody, body::MessageBody};
use actix_service::Service;
use actix_web::{
    Error, HttpRequest,
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        Method,
        header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE},
    },
};
use larder_core::{Body, CacheKey, Lookup, Miss, OriginRequest, OriginRequests, local_origin};
use tokio::sync::oneshot;

use crate::{
    AnswerBody, CacheMiddleware, body::Begun, bridge, convert, encoding::NegotiatedEncoding, respond::respond,
};

/// The service that [`CacheMiddleware`] makes of another.
#[derive(Debug)]
pub struct CacheMiddlewareService<S> {
    pub(crate) settings: Rc<CacheMiddleware>,
    pub(crate) service: Rc<S>,
}

type Answering<B> = Pin<Box<dyn Future<Output = Result<ServiceResponse<EitherBody<B, AnswerBody>>, Error>>>>;

impl<S, B> Service<ServiceRequest> for CacheMiddlewareService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, AnswerBody>>;
    type Error = Error;
    type Future = Answering<B>;

    actix_service::forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (settings, service) = (Rc::clone(&self.settings), Rc::clone(&self.service));
        Box::pin(async move {
            let Some(key) = key(&request, &settings) else {
                return Ok(service.call(request).await?.map_into_left_body());
            };
            let method = convert::method(request.method());
            let is_head = method == http::Method::HEAD;
            let fields = convert::ActixFields(request.headers());
            match settings.encoding.lookup(&settings.cache, &key, &method, &fields).await {
                (Lookup::Hit(answer), _) => {
                    let (request, _) = request.into_parts();
                    let cache_status = settings.cache.cache_status(&answer);
                    let response = respond(answer, is_head, cache_status);
                    Ok(ServiceResponse::new(request, response.into()).map_into_right_body())
                }
                (Lookup::Miss(found), chosen) if found.can_bypass() && chosen.is_none() => {
                    ask_directly(&settings.cache, &found, &service, request).await
                }
                (Lookup::Miss(found), chosen) => {
                    let asking = MissContext { settings, service, method, key, chosen };
                    // Boxed: a hit's future should not carry the room for a whole fetch.
                    Box::pin(asking.resume(found, request)).await
                }
            }
        })
    }
}

/// The key; `None` for a request that the cache keeps out of.
fn key(request: &ServiceRequest, settings: &CacheMiddleware) -> Option<CacheKey> {
    if request.headers().contains_key(UPGRADE) || is_reuse_with_content(request) || settings.passes(request) {
        return None;
    }
    let path = settings.ignored.strip(request.uri().path_and_query()?.as_str());
    let key = CacheKey::of_parts(scheme(request), authority(request)?, &path).ok()?;
    Some(settings.with_extra(key, request))
}

/// A GET or HEAD with content: what it says is not in the key, and the engine does not see it here.
fn is_reuse_with_content(request: &ServiceRequest) -> bool {
    let reuses = matches!(*request.method(), Method::GET | Method::HEAD);
    let announced = request.headers().get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    reuses && (announced || request.headers().contains_key(TRANSFER_ENCODING))
}

fn authority(request: &ServiceRequest) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST)?.to_str().ok(),
    }
}

fn scheme(request: &ServiceRequest) -> &'static str {
    if request.app_config().secure() { "https" } else { "http" }
}

/// A request whose response refuses to be stored, as far as is known: the handler's own, with `Cache-Status`.
async fn ask_directly<S, B>(
    cache: &larder_core::Cache,
    found: &Miss,
    service: &S,
    request: ServiceRequest,
) -> Result<ServiceResponse<EitherBody<B, AnswerBody>>, Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    let mut response = cache.bypass(service.call(request)).await.map_err(|_| too_long())??;
    let status = convert::status_from(response.status());
    let cache_status = cache.record_bypass(found, status, &convert::ActixFields(response.headers()));
    convert::insert_own(response.headers_mut(), None, cache.status_bytes(&cache_status));
    Ok(response.map_into_left_body())
}

fn too_long() -> Error {
    InternalError::new("the handler took too long", actix_web::http::StatusCode::GATEWAY_TIMEOUT).into()
}

/// A request that needs its handler.
struct MissContext<S> {
    settings: Rc<CacheMiddleware>,
    service: Rc<S>,
    method: http::Method,
    key: CacheKey,
    chosen: NegotiatedEncoding,
}

impl<S, B> MissContext<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    async fn resume(
        self,
        found: Miss,
        request: ServiceRequest,
    ) -> Result<ServiceResponse<EitherBody<B, AnswerBody>>, Error> {
        let is_head = self.method == http::Method::HEAD;
        let mut forward = forward(&self.method, &request)?;
        let cache = self.settings.cache.clone();
        let (origin, mut origin_requests) = local_origin(true);
        let origin = self.chosen.origin(Arc::new(origin), &cache, self.key, forward.headers_mut());
        let resuming = cache.resume(found, forward, origin, &self.settings.options);
        tokio::pin!(resuming);
        let mut waiting = HandlerState::NotStarted(Box::new(request));
        let result = loop {
            tokio::select! {
                // The handler's response goes first: the engine may be waiting for it.
                biased;
                called = waiting.called() => waiting = HandlerState::Done(called?),
                Some(origin_request) = origin_requests.next() => waiting = waiting.send(origin_request, &self.service, &self.settings),
                result = &mut resuming => break result,
            }
        };
        let mut begun = None;
        let request = match waiting {
            HandlerState::NotStarted(request) => {
                let request = request.into_parts().0;
                if result.as_ref().is_ok_and(|answer| answer.cache_status().hit) {
                    // Stale, and being made anew behind the answer: by the same request, once it is free again.
                    let (sender, free) = oneshot::channel();
                    begun = Some(Begun(Some(sender)));
                    let again =
                        BackgroundRevalidation { request: request.clone(), free, service: self.service };
                    actix_rt::spawn(again.revalidate(origin_requests, Rc::clone(&self.settings)));
                }
                request
            }
            HandlerState::Done(request) => request,
            // The engine has given up on a handler that takes too long, and the request is still with it.
            HandlerState::Running(_) => return Err(too_long()),
        };
        let answer = result.unwrap_or_else(|error| cache.error_response(&error));
        let cache_status = cache.cache_status(&answer);
        let mut response = respond(answer, is_head, cache_status);
        if let Some(begun) = begun {
            response = response.map_body(|_, body| body.watched(Box::new(begun)));
        }
        Ok(ServiceResponse::new(request, response.into()).map_into_right_body())
    }
}

/// The request in the engine's form. Its content stays where it is: the handler reads it.
fn forward(method: &http::Method, request: &ServiceRequest) -> Result<http::Request<Body>, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = format!("{}://{}{path}", scheme(request), authority(request).unwrap_or_default());
    let mut forward = http::Request::new(Body::empty());
    *forward.method_mut() = method.clone();
    *forward.uri_mut() = uri.parse().map_err(actix_web::error::ErrorBadRequest::<http::uri::InvalidUri>)?;
    *forward.headers_mut() = convert::fields_from(request.headers(), |_| true);
    Ok(forward)
}

/// Where the original request is.
enum HandlerState {
    /// Not needed yet.
    NotStarted(Box<ServiceRequest>),
    /// With the handler.
    Running(Pin<Box<dyn Future<Output = Result<HttpRequest, Error>>>>),
    /// The handler has answered.
    Done(HttpRequest),
}

impl HandlerState {
    /// Resolves when the handler has answered; never, while it has not been called.
    async fn called(&mut self) -> Result<HttpRequest, Error> {
        match self {
            Self::Running(call) => call.await,
            _ => std::future::pending().await,
        }
    }

    /// Calls the handler with the original request, and what the engine has made of its fields.
    fn send<S, B>(
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
            // Asked a second time: there is one request, and its handler has had it. The origin_request is dropped.
            return self;
        };
        Self::Running(Box::pin(call(Rc::clone(service), *request, origin_request, Rc::clone(settings))))
    }
}

/// Calls the handler, with what the engine has made of the request's fields, and sends its response to the engine.
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
    let mut answer = http::Response::new(bridge::from_message_body(body));
    *answer.status_mut() = convert::status_from(head.status());
    *answer.headers_mut() = convert::fields_from(head.headers(), |_| true);
    origin_request.responder.send(Ok(settings.completed(&request, answer)));
    Ok(request)
}

/// A request that was answered with a stale response, to have it made anew behind that.
struct BackgroundRevalidation<S> {
    request: HttpRequest,
    /// Tells when the framework has let go of the request: handlers want it for themselves.
    free: oneshot::Receiver<()>,
    service: Rc<S>,
}

impl<S, B> BackgroundRevalidation<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    async fn revalidate(self, mut origin_requests: OriginRequests, settings: Rc<CacheMiddleware>) {
        // None, if another request has begun already.
        let Some(origin_request) = origin_requests.next().await else { return };
        let _ = self.free.await;
        let request = ServiceRequest::from_parts(self.request, Payload::None);
        // A failure leaves what is stored as it is.
        let _ = call(self.service, request, origin_request, settings).await;
    }
}
