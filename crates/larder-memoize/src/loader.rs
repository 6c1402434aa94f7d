//! A load, as the engine's origin.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use larder_core::{Body, Origin, OriginError, set_max_age};
use parking_lot::Mutex;
use serde::Serialize;

use crate::ValueError;

/// What a load failed with, for whoever asked for it.
pub(crate) type Failure<E> = Arc<Mutex<Option<ValueError<E>>>>;

/// Loads a value for each request.
pub(crate) struct Loader<F, T, E> {
    pub(crate) load: F,
    pub(crate) failure: Failure<E>,
    /// How long a failure is remembered.
    pub(crate) failed_for: Option<Duration>,
    pub(crate) loads: PhantomData<fn() -> T>,
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
            Ok(value) => serde_json::to_vec(&value).map_err(ValueError::Json),
            Err(error) => Err(ValueError::Load(error)),
        };
        let mut response = Response::new(Body::empty());
        match loaded {
            Ok(json) => *response.body_mut() = Body::from(bytes::Bytes::from(json)),
            Err(failure) => {
                *self.failure.lock() = Some(failure);
                // To the engine an error like a server's: not kept, and an old value stands in where that is allowed.
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                if let Some(time) = self.failed_for {
                    set_max_age(response.headers_mut(), time);
                }
            }
        }
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
