//! The cassette as a tower layer, for services that are clients.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use larder_core::{Body, BodyError};
use tower::{Layer, Service, ServiceExt as _};

use crate::{Cassette, Played};

/// A tower layer that puts a [`Cassette`] in front of a client (feature `tower`).
///
/// Its services take requests with any body, and return responses with [`Body`]. The error is
/// boxed: it is that of the wrapped service, or a [`CassetteError`](crate::CassetteError). URLs
/// have to be absolute, or relative with a `Host` header.
///
/// ```
/// use http::{Request, Response};
/// use larder_cassette::{Cassette, CassetteLayer, Mode};
/// use larder_core::Body;
/// use tower::{Service, ServiceBuilder};
///
/// fn client<S>(http: S) -> Result<impl Service<Request<Body>>, larder_cassette::CassetteError>
/// where
///     S: Service<Request<Body>, Response = Response<Body>, Future: Send> + Clone + Send + 'static,
///     S::Error: std::error::Error + Send + Sync,
/// {
///     let cassette = Cassette::open("tests/cassettes/users", Mode::Replay)?;
///     Ok(ServiceBuilder::new().layer(CassetteLayer::new(cassette)).service(http))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct CassetteLayer {
    cassette: Cassette,
}

/// A client with a [`Cassette`] in front of it, created by [`CassetteLayer`].
#[derive(Debug, Clone)]
pub struct CassetteService<S> {
    cassette: Cassette,
    service: S,
}

impl CassetteLayer {
    /// Creates the layer.
    pub fn new(cassette: Cassette) -> Self {
        Self { cassette }
    }
}

impl<S> Layer<S> for CassetteLayer {
    type Service = CassetteService<S>;

    fn layer(&self, service: S) -> CassetteService<S> {
        CassetteService { cassette: self.cassette.clone(), service }
    }
}

impl<S, B, R> Service<Request<B>> for CassetteService<S>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: Into<BodyError>>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = BodyError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BodyError>> + Send>>;

    /// Reports readiness at once. A request that has to be sent waits for the wrapped service.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (cassette, service) = (self.cassette.clone(), self.service.clone());
        Box::pin(async move {
            match cassette.play(request.map(Body::stream)).await? {
                Played::Response(response) => Ok(response),
                Played::Network(request, recorder) => {
                    let response = service.oneshot(request).await.map_err(Into::into)?;
                    Ok(recorder.record(response.map(Body::stream))?)
                }
            }
        })
    }
}
