//! The caching middleware: the wrapped service is the origin.
//!
//! actix's services and requests stay on their thread, the engine's origin may leave it. So the origin that the engine gets
//! is only a messenger ([`larder_core::errands`]): what it is asked for comes back to the request's own future, which
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
use larder_core::{Body, CacheKey, Errand, Errands, Found, Lookup, errands};
use tokio::sync::oneshot;

use crate::{AnswerBody, Cache, body::Begun, channel, encoding::Chosen, http02, respond::respond};

/// The service that [`Cache`] makes of another.
#[derive(Debug)]
pub struct CacheMiddleware<S> {
    pub(crate) settings: Rc<Cache>,
    pub(crate) service: Rc<S>,
}

type Answering<B> = Pin<Box<dyn Future<Output = Result<ServiceResponse<EitherBody<B, AnswerBody>>, Error>>>>;

impl<S, B> Service<ServiceRequest> for CacheMiddleware<S>
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
            let method = http02::method(request.method());
            let is_head = method == http::Method::HEAD;
            let fields = http02::ActixFields(request.headers());
            match settings.encoding.lookup(&settings.cache, &key, &method, &fields).await {
                (Lookup::Answered(answer), _) => {
                    let (request, _) = request.into_parts();
                    let cache_status = settings.cache.cache_status(&answer);
                    let response = respond(answer, is_head, cache_status);
                    Ok(ServiceResponse::new(request, response.into()).map_into_right_body())
                }
                (Lookup::Forward(found), chosen) if found.may_ask_directly() && chosen.is_none() => {
                    ask_directly(&settings.cache, &found, &service, request).await
                }
                (Lookup::Forward(found), chosen) => {
                    let asking = Asking { settings, service, method, key, chosen };
                    // Boxed: a hit's future should not carry the room for a whole fetch.
                    Box::pin(asking.resume(found, request)).await
                }
            }
        })
    }
}

/// The key; `None` for a request that the cache keeps out of.
fn key(request: &ServiceRequest, settings: &Cache) -> Option<CacheKey> {
    if request.headers().contains_key(UPGRADE) || is_reuse_with_content(request) || settings.passes(request) {
        return None;
    }
    let path = settings.ignored.left_out(request.uri().path_and_query()?.as_str());
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
    found: &Found,
    service: &S,
    request: ServiceRequest,
) -> Result<ServiceResponse<EitherBody<B, AnswerBody>>, Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    let mut response = cache.ask_directly(service.call(request)).await.map_err(|_| too_long())??;
    let status = http02::status_from(response.status());
    let cache_status = cache.asked_directly(found, status, &http02::ActixFields(response.headers()));
    http02::insert_own(response.headers_mut(), None, cache.status_bytes(&cache_status));
    Ok(response.map_into_left_body())
}

fn too_long() -> Error {
    InternalError::new("the handler took too long", actix_web::http::StatusCode::GATEWAY_TIMEOUT).into()
}

/// A request that needs its handler.
struct Asking<S> {
    settings: Rc<Cache>,
    service: Rc<S>,
    method: http::Method,
    key: CacheKey,
    chosen: Chosen,
}

impl<S, B> Asking<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    async fn resume(
        self,
        found: Found,
        request: ServiceRequest,
    ) -> Result<ServiceResponse<EitherBody<B, AnswerBody>>, Error> {
        let is_head = self.method == http::Method::HEAD;
        let mut forward = forward(&self.method, &request)?;
        let cache = self.settings.cache.clone();
        let (origin, mut errands) = errands(true);
        let origin = self.chosen.origin(Arc::new(origin), &cache, self.key, forward.headers_mut());
        let resuming = cache.resume(found, forward, origin, &self.settings.options);
        tokio::pin!(resuming);
        let mut waiting = Waiting::Here(Box::new(request));
        let result = loop {
            tokio::select! {
                // The handler's response goes first: the engine may be waiting for it.
                biased;
                called = waiting.called() => waiting = Waiting::Back(called?),
                Some(errand) = errands.next() => waiting = waiting.send(errand, &self.service, &self.settings),
                result = &mut resuming => break result,
            }
        };
        let mut begun = None;
        let request = match waiting {
            Waiting::Here(request) => {
                let request = request.into_parts().0;
                if result.as_ref().is_ok_and(|answer| answer.cache_status().hit) {
                    // Stale, and being made anew behind the answer: by the same request, once it is free again.
                    let (sender, free) = oneshot::channel();
                    begun = Some(Begun(Some(sender)));
                    let again = Again { request: request.clone(), free, service: self.service };
                    actix_rt::spawn(again.revalidate(errands, Rc::clone(&self.settings)));
                }
                request
            }
            Waiting::Back(request) => request,
            // The engine has given up on a handler that takes too long, and the request is still with it.
            Waiting::Called(_) => return Err(too_long()),
        };
        let answer = result.unwrap_or_else(|error| cache.error_answer(&error));
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
    *forward.headers_mut() = http02::fields_from(request.headers(), |_| true);
    Ok(forward)
}

/// Where the original request is.
enum Waiting {
    /// Not needed yet.
    Here(Box<ServiceRequest>),
    /// With the handler.
    Called(Pin<Box<dyn Future<Output = Result<HttpRequest, Error>>>>),
    /// The handler has answered.
    Back(HttpRequest),
}

impl Waiting {
    /// Resolves when the handler has answered; never, while it has not been called.
    async fn called(&mut self) -> Result<HttpRequest, Error> {
        match self {
            Self::Called(call) => call.await,
            _ => std::future::pending().await,
        }
    }

    /// Calls the handler with the original request, and what the engine has made of its fields.
    fn send<S, B>(self, errand: Errand, service: &Rc<S>, settings: &Rc<Cache>) -> Self
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
        B: MessageBody + 'static,
    {
        let Self::Here(request) = self else {
            // Asked a second time: there is one request, and its handler has had it. The errand is dropped.
            return self;
        };
        Self::Called(Box::pin(call(Rc::clone(service), *request, errand, Rc::clone(settings))))
    }
}

/// Calls the handler, with what the engine has made of the request's fields, and sends its response to the engine.
async fn call<S, B>(
    service: Rc<S>,
    mut request: ServiceRequest,
    errand: Errand,
    settings: Rc<Cache>,
) -> Result<HttpRequest, Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    http02::set_negotiated(request.headers_mut(), errand.request.headers());
    let (request, response) = service.call(request).await?.into_parts();
    let (head, body) = response.into_parts();
    let mut answer = http::Response::new(channel::from_message_body(body));
    *answer.status_mut() = http02::status_from(head.status());
    *answer.headers_mut() = http02::fields_from(head.headers(), |_| true);
    errand.reply.send(Ok(settings.completed(&request, answer)));
    Ok(request)
}

/// A request that was answered with a stale response, to have it made anew behind that.
struct Again<S> {
    request: HttpRequest,
    /// Tells when the framework has let go of the request: handlers want it for themselves.
    free: oneshot::Receiver<()>,
    service: Rc<S>,
}

impl<S, B> Again<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    async fn revalidate(self, mut errands: Errands, settings: Rc<Cache>) {
        // None, if another request has begun already.
        let Some(errand) = errands.next().await else { return };
        let _ = self.free.await;
        let request = ServiceRequest::from_parts(self.request, Payload::None);
        // A failure leaves what is stored as it is.
        let _ = call(self.service, request, errand, settings).await;
    }
}
