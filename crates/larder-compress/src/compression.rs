//! Defines the settings of the compression, and their defaults.
//!
//! They are applied elsewhere: `coding` chooses among the codings, `convert` encodes at the levels,
//! and `origin` decides by the length.

use larder_core::RequestHeaders;

use crate::{
    coders::Coders,
    coding::{Coding, choose},
};

/// Settings of the compression: which responses are encoded, in which codings and at which levels.
///
/// The defaults suit responses that are encoded once and served often. Levels above their maximum
/// are lowered to it.
///
/// ```
/// use larder_compress::{Coding, Compression};
///
/// let compression = Compression::default()
///     .with_codings([Coding::Zstd, Coding::Gzip])
///     .with_min_length(1024);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Compression {
    /// Shortest content that is encoded, in bytes. Shorter content is passed on unchanged; content
    /// of unknown length is encoded. Default: 256.
    pub min_length: u64,
    /// Codings that may be chosen, in order of preference: among those that a client accepts with
    /// equal weight, the first one is taken. With an empty list nothing is encoded. Default: `br`,
    /// `zstd`, `gzip`, from the smallest encoded page to the largest at the default levels.
    pub codings: Vec<Coding>,
    /// Quality of Brotli, 0 to 11. Default: 5.
    pub brotli: u8,
    /// Level of Zstandard, 1 to 22. Default: 9.
    pub zstd: u8,
    /// Level of gzip, 1 to 9. Default: 6.
    pub gzip: u8,
    /// Most bodies that are encoded, or decoded for another coding, while they are sent, at the
    /// same time. Default: 64. Beyond it, responses are sent without a content coding, and stored
    /// responses are not converted but requested from the origin. That is logged as a warning.
    ///
    /// Each of them needs up to 6 MiB for as long as the client takes to read; Brotli at levels
    /// above 9 up to 12 MiB, and to decode it up to 16 MiB. Content that has arrived whole does not
    /// count: it is encoded at once, in as many threads as there are cores. Clones of the settings
    /// count together.
    pub max_encoders: usize,
    pub(crate) coders: Coders,
}

impl Default for Compression {
    fn default() -> Self {
        let codings = vec![Coding::Brotli, Coding::Zstd, Coding::Gzip];
        let coders = Coders::default();
        Self { min_length: 256, codings, brotli: 5, zstd: 9, gzip: 6, max_encoders: 64, coders }
    }
}

impl Compression {
    /// Chooses the coding for a request with these headers.
    ///
    /// Returns the coding with the highest weight in `Accept-Encoding`, and among equal weights the
    /// first one in [`codings`](Self::codings). Returns [`Coding::Identity`] if there is no
    /// `Accept-Encoding`, if it accepts no configured coding, or if it lists `identity` with a
    /// higher weight than all of them.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue};
    /// use larder_compress::{Coding, Compression};
    ///
    /// let mut request = HeaderMap::new();
    /// request.insert("accept-encoding", HeaderValue::from_static("gzip, deflate, br;q=0.5"));
    /// assert_eq!(Compression::default().negotiate(&request), Coding::Gzip);
    /// ```
    ///
    /// RFC 9110 §12.5.3.
    pub fn negotiate(&self, request: &impl RequestHeaders) -> Coding {
        choose(&self.codings, request)
    }

    /// Sets the shortest content that is encoded, in bytes ([`min_length`](Self::min_length)).
    #[must_use]
    pub fn with_min_length(mut self, min_length: u64) -> Self {
        self.min_length = min_length;
        self
    }

    /// Sets the codings that may be chosen, in order of preference ([`codings`](Self::codings)).
    #[must_use]
    pub fn with_codings(mut self, codings: impl IntoIterator<Item = Coding>) -> Self {
        self.codings = codings.into_iter().collect();
        self
    }

    /// Sets the quality of Brotli, 0 to 11 ([`brotli`](Self::brotli)).
    #[must_use]
    pub fn with_brotli(mut self, brotli: u8) -> Self {
        self.brotli = brotli;
        self
    }

    /// Sets the level of Zstandard, 1 to 22 ([`zstd`](Self::zstd)).
    #[must_use]
    pub fn with_zstd(mut self, zstd: u8) -> Self {
        self.zstd = zstd;
        self
    }

    /// Sets how many bodies may be encoded at the same time while they are sent
    /// ([`max_encoders`](Self::max_encoders)).
    #[must_use]
    pub fn with_max_encoders(mut self, max_encoders: usize) -> Self {
        self.max_encoders = max_encoders;
        self
    }

    /// Sets the level of gzip, 1 to 9 ([`gzip`](Self::gzip)).
    #[must_use]
    pub fn with_gzip(mut self, gzip: u8) -> Self {
        self.gzip = gzip;
        self
    }
}
