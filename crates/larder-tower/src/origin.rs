//! The wrapped service as the origin of the cache engine.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use larder_core::{Body, BodyError, Origin, OriginError, OriginErrorKind};
use parking_lot::Mutex;
use tower::{Service, ServiceExt as _};

/// Slot for the error of the wrapped service. The caller that waits for the response gets it
/// unchanged.
pub(crate) type ErrorSlot<E> = Arc<Mutex<Option<E>>>;

/// An origin that calls the wrapped service. Each call clones the service and waits until the clone
/// is ready.
pub(crate) struct ServiceOrigin<S, E> {
    pub(crate) service: Mutex<S>,
    pub(crate) error: ErrorSlot<E>,
    /// Whether the URI of the client's request contained no host. The service then gets the URI in
    /// the same form.
    pub(crate) relative: bool,
}

impl<S, E> fmt::Debug for ServiceOrigin<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceOrigin")
    }
}

#[async_trait]
impl<S, R> Origin for ServiceOrigin<S, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    R: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        if self.relative {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let path = Uri::from_maybe_shared(Bytes::copy_from_slice(path.as_bytes()));
            *request.uri_mut() =
                path.map_err(|error| OriginError::new(OriginErrorKind::Protocol).with_source(error))?;
        }
        let service = self.service.lock().clone();
        match service.oneshot(request).await {
            Ok(response) => Ok(response.map(Body::stream)),
            Err(error) => {
                *self.error.lock() = Some(error);
                Err(OriginError::new(OriginErrorKind::Protocol))
            }
        }
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
