//! The wrapped service as the origin of the cache engine.

use std::fmt;

use async_trait::async_trait;
use http::{Request, Response, Uri};
use larder_core::{Body, BodyError, Origin, OriginError, OriginErrorKind};
use parking_lot::Mutex;
use tower::{Service, ServiceExt as _};

/// The error of the wrapped service, on its way through the engine. The caller that waits for the
/// response gets it back unchanged.
pub(crate) struct ServiceError<E> {
    text: String,
    /// Never locked: it makes the error `Sync`.
    error: Mutex<E>,
}

impl<E: fmt::Display> ServiceError<E> {
    /// Creates an error from that of the wrapped service.
    fn new(error: E) -> Self {
        Self { text: error.to_string(), error: Mutex::new(error) }
    }

    /// Returns the error of the wrapped service.
    pub(crate) fn into_inner(self) -> E {
        self.error.into_inner()
    }
}

impl<E> fmt::Debug for ServiceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E> fmt::Display for ServiceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E> std::error::Error for ServiceError<E> {}

/// An origin that calls the wrapped service. Each call clones the service and waits until the clone
/// is ready.
pub(crate) struct ServiceOrigin<S> {
    pub(crate) service: Mutex<S>,
    /// The URI of the client's request. The service gets it unchanged: a router in front may have
    /// removed the beginning of its path.
    pub(crate) uri: Uri,
}

impl<S> fmt::Debug for ServiceOrigin<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceOrigin")
    }
}

#[async_trait]
impl<S, R> Origin for ServiceOrigin<S>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: fmt::Display + Send>
        + Clone
        + Send
        + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        *request.uri_mut() = self.uri.clone();
        let service = self.service.lock().clone();
        match service.oneshot(request).await {
            Ok(response) => Ok(response.map(Body::stream)),
            Err(error) => {
                Err(OriginError::new(OriginErrorKind::Protocol).with_source(ServiceError::new(error)))
            }
        }
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
