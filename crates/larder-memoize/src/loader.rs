//! Adapts a load function to the engine's [`Origin`]: a value becomes a response with JSON, an
//! error becomes a response with status 500.
//!
//! The error itself goes to the caller through a shared slot, since a response cannot carry it.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use larder_core::{Body, Origin, OriginError, policy::set_max_age};
use parking_lot::Mutex;
use serde::Serialize;

use crate::{JsonError, ValueError};

/// Slot through which a [`Loader`] returns the error of a load to its caller.
pub(crate) type ErrorSlot<E> = Arc<Mutex<Option<ValueError<E>>>>;

/// An origin that runs a load function for each request.
pub(crate) struct Loader<F, T, E> {
    pub(crate) load: F,
    pub(crate) error: ErrorSlot<E>,
    /// How long a failed load is cached. `None`: not at all.
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) value: PhantomData<fn() -> T>,
}

impl<F, T, E> fmt::Debug for Loader<F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loader")
    }
}

#[async_trait]
impl<F, Fut, T, E> Origin for Loader<F, T, E>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + Send + 'static,
    E: Send + 'static,
{
    async fn fetch(&self, _: Request<Body>) -> Result<Response<Body>, OriginError> {
        let loaded = match (self.load)().await {
            Ok(value) => serde_json::to_vec(&value).map_err(|error| ValueError::Json(JsonError::new(error))),
            Err(error) => Err(ValueError::Load(error)),
        };
        let mut response = Response::new(Body::empty());
        match loaded {
            Ok(json) => *response.body_mut() = Body::from(bytes::Bytes::from(json)),
            Err(error) => {
                *self.error.lock() = Some(error);
                // For the engine this is a server error: it is not stored without a lifetime, and a
                // stale value is served instead if `stale_if_error` allows it.
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                if let Some(ttl) = self.negative_ttl {
                    set_max_age(response.headers_mut(), ttl);
                }
            }
        }
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
