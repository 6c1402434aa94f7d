//! An origin that can't leave its request: a messenger back to the request's own future.
//!
//! Some origins live only while a request is answered, or only on one thread: the rest of a middleware stack, a handler of
//! actix-web. The engine's [`Origin`] may do neither. So the engine gets a messenger; what it is asked for comes out of
//! [`Errands`], in the future that called the engine, which does it there while it waits for the engine's answer.

use async_trait::async_trait;
use http::{Request, Response};
use tokio::sync::{mpsc, oneshot};

use crate::{Body, Origin, OriginError, OriginErrorKind};

/// What the engine asks for, on its way to whoever can do it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Errand {
    /// The request to send.
    pub request: Request<Body>,
    /// Where what comes of it goes. Dropped, the exchange is given up.
    pub reply: Reply,
}

/// Where the engine waits for what came of an errand.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Result<Response<Body>, OriginError>>);

/// Where errands come out.
#[derive(Debug)]
pub struct Errands(mpsc::UnboundedReceiver<Box<Errand>>);

/// The engine's end. Never more than a few errands: one for each time that a request asks its origin.
#[derive(Debug)]
struct Messenger {
    /// Boxed: a channel makes room for thirty-two at once.
    errands: mpsc::UnboundedSender<Box<Errand>>,
    outlives: bool,
}

/// An origin for one request, and where its errands come out. `outlives`: somebody does errands also after the request has
/// been answered ([`Origin::outlives_request`]).
pub fn errands(outlives: bool) -> (impl Origin, Errands) {
    let (errands, receiver) = mpsc::unbounded_channel();
    (Messenger { errands, outlives }, Errands(receiver))
}

impl Reply {
    /// Brings what came of it. Nothing happens if the engine has given up.
    pub fn send(self, result: Result<Response<Body>, OriginError>) {
        let _ = self.0.send(result);
    }
}

impl Errands {
    /// The next one. `None` when the engine will send none.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point.
    pub async fn next(&mut self) -> Option<Errand> {
        self.0.recv().await.map(|errand| *errand)
    }
}

#[async_trait]
impl Origin for Messenger {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let (reply, response) = oneshot::channel();
        let closed = || OriginError::new(OriginErrorKind::Closed);
        let reply = Reply(reply);
        self.errands.send(Box::new(Errand { request, reply })).map_err(|_| closed())?;
        response.await.unwrap_or_else(|_| Err(closed()))
    }

    fn outlives_request(&self) -> bool {
        self.outlives
    }
}
