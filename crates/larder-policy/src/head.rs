//! A stored response without its body, and the terms on which it may be reused.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::{ByteRange, CacheGroup, FreshnessLifetime, SelectingHeaders, Timestamp};

/// What is kept of a response besides its body (RFC 9111 §3.1). Immutable once stored: `Age` and `Cache-Status` are not
/// in it, they are written beside it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredHead {
    /// The status code as received.
    pub status: StatusCode,
    /// The fields as received, all lines, less those never stored and less `Age`, which is in the terms.
    pub fields: HeaderMap,
    /// The request's values of the fields that `Vary` nominates (§4.1).
    pub selecting: SelectingHeaders,
    /// All that a hit needs, computed already.
    pub freshness: FreshnessInfo,
    /// The groups it belongs to (RFC 9875).
    pub groups: Box<[CacheGroup]>,
    /// For a 206: which bytes of the representation the body is (§3.3).
    pub part: Option<ByteRange>,
}

impl StoredHead {
    /// A head put together again from what a store kept.
    pub fn from_stored(
        status: StatusCode,
        fields: HeaderMap,
        selecting: SelectingHeaders,
        terms: FreshnessInfo,
        groups: Box<[CacheGroup]>,
        part: Option<ByteRange>,
    ) -> Self {
        Self { status, fields, selecting, freshness: terms, groups, part }
    }

    /// About how many bytes of memory this takes: fields, selecting values, groups, and the bookkeeping of each.
    pub fn weight(&self) -> usize {
        // A map of n lines has room for up to 4n/3 entries of about 100 bytes, and an index.
        let lines: usize =
            self.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 140).sum();
        let groups: usize =
            self.groups.iter().map(|group| group.origin().len() + group.name().len() + 32).sum();
        size_of::<Self>() + lines + groups + self.selecting.weight()
    }
}

/// All that a hit needs, computed when the response was stored or last confirmed (§4.2). A hit compares integers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FreshnessInfo {
    /// When the request was sent.
    pub request_time: Timestamp,
    /// When the response arrived.
    pub response_time: Timestamp,
    /// The age it had by then (§4.2.3).
    pub corrected_initial_age: Duration,
    /// How long it is fresh (§4.2.1).
    pub lifetime: FreshnessLifetime,
    /// Its `Date`, or when it arrived.
    pub date: Timestamp,
    /// Stale, it must not be served without the origin's word (§5.2.2.2; in a shared cache also §5.2.2.8, §5.2.2.10).
    pub must_revalidate: bool,
    /// It must not be served without the origin's word at all (§5.2.2.4).
    pub no_cache: bool,
    /// While it is fresh it does not change (RFC 8246).
    pub immutable: bool,
    /// How long past its lifetime it may be served while it is revalidated (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// How long past its lifetime it may stand in for an error (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}
