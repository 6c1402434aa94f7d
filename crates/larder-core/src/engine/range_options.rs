//! Defines how requests for ranges are fetched that no stored response answers. `miss/ranges`
//! applies the options.

/// How requests for ranges of bytes are fetched that no stored response answers. A part of
/// [`FetchOptions`](crate::FetchOptions).
///
/// The first such request for a URL goes to the origin as it is, since the length of the
/// representation is not known, and of a film the client may want only the last kilobyte. Its 206
/// is stored and states the length. The next request for other bytes fetches the whole
/// representation if that is short, and gets its range while the rest arrives. `bytes=0-` fetches
/// the whole at once. Requests at the same time share one fetch.
///
/// ```
/// use larder_core::{FetchOptions, RangeOptions};
///
/// let ranges = RangeOptions::default().with_whole_limit(64 << 20);
/// let options = FetchOptions::default().with_ranges(ranges);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RangeOptions {
    /// Longest representation that is fetched whole for a request for a range, in bytes. Default:
    /// 8 MiB. With 0, requests for ranges are forwarded as they are.
    ///
    /// It is also how far ahead of the arriving bytes of another request's fetch a range may begin.
    /// A request for a range that begins later is forwarded instead of waiting.
    pub whole_limit: u64,
    /// Size of the slices in which longer representations are fetched, in bytes, if they have a
    /// strong `ETag`. Default: none, so that requests for their ranges are forwarded as they are.
    ///
    /// A request for a range, other than the first, fetches the slices that contain it and are not
    /// stored, one after the other as the client reads. Each is stored on its own. If all are
    /// stored, requests for the whole are served from them, too (up to 1,024 slices). If the origin
    /// has another representation in the middle of a response, the response ends with an error.
    ///
    /// At least 64 KiB and at most 64 MiB; other sizes are replaced by the nearest of these, and by
    /// the longest body that may be stored if that is shorter. Origins that serve one request only
    /// ([`Origin::supports_background_revalidation`](crate::Origin::supports_background_revalidation))
    /// get no requests for slices.
    pub slice: Option<u64>,
}

impl Default for RangeOptions {
    fn default() -> Self {
        Self { whole_limit: 8 * 1024 * 1024, slice: None }
    }
}

impl RangeOptions {
    /// Smallest and largest size of slices.
    const SLICE_SIZES: (u64, u64) = (64 * 1024, 64 * 1024 * 1024);

    /// Sets the longest representation that is fetched whole for a request for a range, in bytes
    /// ([`whole_limit`](Self::whole_limit)).
    #[must_use]
    pub fn with_whole_limit(mut self, whole_limit: u64) -> Self {
        self.whole_limit = whole_limit;
        self
    }

    /// Sets the size of the slices in which longer representations are fetched, in bytes
    /// ([`slice`](Self::slice)).
    #[must_use]
    pub fn with_slice(mut self, slice: u64) -> Self {
        self.slice = Some(slice);
        self
    }

    /// Returns the size of slices within its limits, if slices are used.
    pub(super) fn slice_size(&self) -> Option<u64> {
        let (smallest, largest) = Self::SLICE_SIZES;
        self.slice.map(|size| size.clamp(smallest, largest))
    }
}
