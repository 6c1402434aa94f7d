//! The content codings that a client decodes, by the crate's features. They are decoded here and
//! not by reqwest: all of the content, before it is stored.

use std::sync::Arc;

use larder_core::{CacheResponse, Origin};

#[cfg(any(feature = "brotli", feature = "deflate", feature = "gzip", feature = "zstd"))]
type Settings = larder_compress::Decoding;
#[cfg(not(any(feature = "brotli", feature = "deflate", feature = "gzip", feature = "zstd")))]
type Settings = ();

/// The content codings that a client decodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codings(pub(crate) Settings);

#[cfg(any(feature = "brotli", feature = "deflate", feature = "gzip", feature = "zstd"))]
impl Default for Codings {
    /// Returns those of the enabled features.
    fn default() -> Self {
        let none = larder_compress::Decoding::none();
        Self(
            none.with_brotli(cfg!(feature = "brotli"))
                .with_deflate(cfg!(feature = "deflate"))
                .with_gzip(cfg!(feature = "gzip"))
                .with_zstd(cfg!(feature = "zstd")),
        )
    }
}

#[cfg(any(feature = "brotli", feature = "deflate", feature = "gzip", feature = "zstd"))]
impl Codings {
    /// Returns an origin that decodes the responses of this one.
    pub(crate) fn decoding(self, origin: impl Origin) -> Arc<dyn Origin> {
        Arc::new(larder_compress::DecodingOrigin::new(origin, self.0))
    }

    /// Decodes a stored response, which a client without these codings has stored.
    pub(crate) fn decode(self, response: &mut CacheResponse) {
        let status = response.status();
        if self.0.is_decoded(status, response.headers()) {
            let body = std::mem::take(response.body_mut());
            *response.body_mut() = self.0.decode_parts(status, response.headers_mut(), body);
        }
    }
}

#[cfg(not(any(feature = "brotli", feature = "deflate", feature = "gzip", feature = "zstd")))]
impl Default for Codings {
    /// Returns none: no feature is enabled.
    fn default() -> Self {
        Self(())
    }
}

#[cfg(not(any(feature = "brotli", feature = "deflate", feature = "gzip", feature = "zstd")))]
impl Codings {
    /// Returns the origin unchanged.
    pub(crate) fn decoding(self, origin: impl Origin) -> Arc<dyn Origin> {
        Arc::new(origin)
    }

    /// Leaves the response unchanged.
    pub(crate) fn decode(self, _: &mut CacheResponse) {}
}
