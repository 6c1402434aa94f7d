//! An origin that can't leave its request: a messenger back to the request's own future.
//!
//! Some origins live only while a request is answered, or only on one thread: the rest of a middleware stack, a handler of
//! actix-web. The engine's [`Origin`] may do neither. So the engine gets a messenger; what it is asked for comes out of
//! [`OriginRequests`], in the future that called the engine, which does it there while it waits for the engine's answer.

use async_trait::async_trait;
use http::{Request, Response};
use tokio::sync::{mpsc, oneshot};

use crate::{Body, Origin, OriginError, OriginErrorKind};

/// What the engine asks for, on its way to whoever can do it.
#[derive(Debug)]
#[non_exhaustive]
pub struct OriginRequest {
    /// The request to send.
    pub request: Request<Body>,
    /// Where what comes of it goes. Dropped, the exchange is given up.
    pub responder: Responder,
}

/// Where the engine waits for what came of an origin_request.
#[derive(Debug)]
pub struct Responder(oneshot::Sender<Result<Response<Body>, OriginError>>);

/// Where origin_requests come out.
#[derive(Debug)]
pub struct OriginRequests(mpsc::UnboundedReceiver<Box<OriginRequest>>);

/// The engine's end. Never more than a few origin_requests: one for each time that a request asks its origin.
#[derive(Debug)]
struct LocalOrigin {
    /// Boxed: a channel makes room for thirty-two at once.
    requests: mpsc::UnboundedSender<Box<OriginRequest>>,
    background: bool,
}

/// An origin for one request, and where its origin_requests come out. `outlives`: somebody does origin_requests also after the request has
/// been answered ([`Origin::supports_background_revalidation`]).
pub fn local_origin(outlives: bool) -> (impl Origin, OriginRequests) {
    let (origin_requests, receiver) = mpsc::unbounded_channel();
    (LocalOrigin { requests: origin_requests, background: outlives }, OriginRequests(receiver))
}

impl Responder {
    /// Brings what came of it. Nothing happens if the engine has given up.
    pub fn send(self, result: Result<Response<Body>, OriginError>) {
        let _ = self.0.send(result);
    }
}

impl OriginRequests {
    /// The next one. `None` when the engine will send none.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point.
    pub async fn next(&mut self) -> Option<OriginRequest> {
        self.0.recv().await.map(|origin_request| *origin_request)
    }
}

#[async_trait]
impl Origin for LocalOrigin {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let (reply, response) = oneshot::channel();
        let closed = || OriginError::new(OriginErrorKind::Closed);
        let reply = Responder(reply);
        self.requests.send(Box::new(OriginRequest { request, responder: reply })).map_err(|_| closed())?;
        response.await.unwrap_or_else(|_| Err(closed()))
    }

    fn supports_background_revalidation(&self) -> bool {
        self.background
    }
}
