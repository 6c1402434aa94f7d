//! The cassette as an origin, below a cache.

use async_trait::async_trait;
use http::{Request, Response};
use larder_core::{Body, Origin, OriginError, OriginErrorKind};

use crate::{Cassette, CassetteError, CassetteErrorKind, Played};

/// An [`Origin`] that answers from a [`Cassette`], and sends requests to another origin as the mode
/// permits; created by [`Cassette::origin`].
///
/// The [`CassetteError`] is the source of its errors.
#[derive(Debug)]
pub struct CassetteOrigin {
    cassette: Cassette,
    network: Box<dyn Origin>,
}

impl CassetteOrigin {
    /// Creates an origin with this network behind it.
    pub(crate) fn new(cassette: Cassette, network: impl Origin) -> Self {
        Self { cassette, network: Box::new(network) }
    }
}

#[async_trait]
impl Origin for CassetteOrigin {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        match self.cassette.play(request).await.map_err(origin_error)? {
            Played::Response(response) => Ok(response),
            Played::Network(request, recorder) => {
                recorder.record(self.network.fetch(request).await?).map_err(origin_error)
            }
        }
    }

    fn supports_background_revalidation(&self) -> bool {
        self.network.supports_background_revalidation()
    }
}

/// Converts an error of a cassette. No retry can succeed, so it is not one of the network.
fn origin_error(error: CassetteError) -> OriginError {
    let kind = match error.kind() {
        CassetteErrorKind::Request => OriginErrorKind::RequestBody,
        _ => OriginErrorKind::Internal,
    };
    OriginError::new(kind).with_source(error)
}
