//! An origin that returns responses without content codings, for clients.
//!
//! Which codings are decoded is a setting in [`crate::decoding`].

use std::fmt;

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use larder_core::{Body, Origin, OriginError};

use crate::{Decoding, tags};

/// An origin that requests responses of another origin in content codings, and decodes them before
/// they are stored.
///
/// The cache sees requests as the client made them, and responses as [`Decoding`] describes. What
/// is stored has no coding, so that it suits each request and each program on the same store,
/// whatever codings it decodes. The other way round, a program without codings may have stored a
/// response with one: decode what comes out of the cache as well ([`Decoding::decode_parts`]).
///
/// A weak entity tag in `If-None-Match` or `If-Match` may stand for a strong one of the origin,
/// which is sent in addition. The origin's 304 then has the tag of the request.
///
/// ```
/// use std::sync::Arc;
/// use larder_compress::{Decoding, DecodingOrigin};
/// use larder_core::Origin;
///
/// fn decode(origin: Arc<dyn Origin>) -> Arc<dyn Origin> {
///     Arc::new(DecodingOrigin::new(origin, Decoding::default()))
/// }
/// ```
///
/// RFC 9110 §8.4, §8.8.3.3.
pub struct DecodingOrigin<O> {
    inner: O,
    decoding: Decoding,
}

impl<O: fmt::Debug> fmt::Debug for DecodingOrigin<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodingOrigin")
            .field("inner", &self.inner)
            .field("decoding", &self.decoding)
            .finish()
    }
}

impl<O: Origin> DecodingOrigin<O> {
    /// Creates an origin that decodes the responses of `inner`.
    pub fn new(inner: O, decoding: Decoding) -> Self {
        Self { inner, decoding }
    }
}

#[async_trait]
impl<O: Origin> Origin for DecodingOrigin<O> {
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        if self.decoding == Decoding::none() {
            return self.inner.fetch(request).await;
        }
        self.decoding.set_accept_encoding(request.headers_mut());
        let requested_tags = tags::add_strong_conditions(request.headers_mut());
        let mut response = self.decoding.decode(self.inner.fetch(request).await?);
        if response.status() == StatusCode::NOT_MODIFIED {
            tags::restore_weakness(response.headers_mut(), &requested_tags);
        }
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        self.inner.supports_background_revalidation()
    }
}
