//! Defines the stored part of a response without its body: status code, header fields and freshness
//! information.
//!
//! The `storing` and `freshening` modules create these values; `reuse` and `stale` decide on them.
//! `age` computes the current age, `serving` the form in which a head is served, and `validation`
//! defines validators.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::{
    ByteRange, CacheGroup, FreshnessLifetime, RequestHead, RequestHeaders, SelectingHeaders, Serve,
    Timestamp, Validator,
    age::current_age,
    header_names::{ETAG, LAST_MODIFIED},
    partial, serving,
};

/// Longest time after its arrival that a response is kept.
const MAX_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a response with a validator is kept after it became stale: it can be revalidated.
const REVALIDATION_GRACE: Duration = Duration::from_secs(24 * 3600);
/// How long a response without a validator is kept after it became stale.
const NO_VALIDATOR_GRACE: Duration = Duration::from_secs(10);

/// The stored part of a response without its body (RFC 9111 §3.1).
///
/// It does not change once it is stored. `Age` and `Cache-Status` are not part of it; they are
/// added to each response that is served from it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredHead {
    /// Status code as received.
    pub status: StatusCode,
    /// Header fields as received, with all lines, except the fields that are never stored and
    /// `Age`. The age is part of `freshness`.
    pub fields: HeaderMap,
    /// Values of the request fields that `Vary` nominates (§4.1).
    pub selecting: SelectingHeaders,
    /// Freshness information, computed in advance.
    pub freshness: FreshnessInfo,
    /// Groups to which the response belongs (RFC 9875).
    pub groups: Box<[CacheGroup]>,
    /// For a 206, the range of bytes of the representation that the body contains (§3.3). `None`
    /// for a complete response.
    pub part: Option<ByteRange>,
}

impl StoredHead {
    /// Creates a head from parts that a store has read back.
    pub fn from_stored(
        status: StatusCode,
        fields: HeaderMap,
        selecting: SelectingHeaders,
        freshness: FreshnessInfo,
        groups: Box<[CacheGroup]>,
        part: Option<ByteRange>,
    ) -> Self {
        Self { status, fields, selecting, freshness, groups, part }
    }

    /// Returns the approximate memory use in bytes: fields, selecting header values, groups, and
    /// the bookkeeping of each.
    pub fn weight(&self) -> usize {
        // A map of n lines allocates up to 4n/3 entries of about 100 bytes each, and an index.
        let lines: usize =
            self.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 140).sum();
        let groups: usize =
            self.groups.iter().map(|group| group.origin().len() + group.name().len() + 32).sum();
        size_of::<Self>() + lines + groups + self.selecting.weight()
    }

    /// Returns the best validator of this response, if it has one.
    pub fn validator(&self) -> Option<Validator<'_>> {
        Validator::of(&self.fields)
    }

    /// Returns a copy of this head that becomes stale at `at`, as an invalidation at that time
    /// requires.
    ///
    /// Returns `None` if nothing changes: the response was already stale at `at`, or its request
    /// was sent after `at`.
    pub fn marked_stale(&self, at: Timestamp) -> Option<Self> {
        if self.freshness.request_time > at {
            return None;
        }
        let age = current_age(&self.freshness, at).unwrap_or_default();
        let mut stale = self.clone();
        let lifetime = &mut stale.freshness.lifetime.lifetime;
        // A response is fresh while its age is less than its lifetime (§4.2).
        let was_fresh = *lifetime > age;
        *lifetime = (*lifetime).min(age);
        was_fresh.then_some(stale)
    }

    /// Returns the time after which a cache has no use for this response, for stores that expire
    /// what they keep.
    ///
    /// It is fresh first; then it may be served stale (RFC 5861 §3, §4) or revalidated. It is kept
    /// for the longer of the two: the stale windows, or 24 h with a validator and 10 s without.
    /// Not longer than 30 days after the response arrived.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use http::{HeaderMap, HeaderValue, Method, StatusCode};
    /// use larder_policy::{Exchange, RequestHead, Rules, TargetUri, Timestamp};
    ///
    /// let (method, request) = (Method::GET, HeaderMap::new());
    /// let mut response = HeaderMap::new();
    /// response.insert("cache-control", HeaderValue::from_static("max-age=60"));
    /// let now = Timestamp::from_secs(1_700_000_000);
    /// let head = Rules::shared()
    ///     .storable(
    ///         &TargetUri::parse("http://example.com/").expect("a target"),
    ///         &RequestHead::new(&method, &request),
    ///         StatusCode::OK,
    ///         &response,
    ///         Exchange { request_time: now, response_time: now },
    ///     )
    ///     .expect("it may be stored");
    /// assert_eq!(head.keep_until().since(now), Duration::from_secs(60 + 10));
    /// ```
    pub fn keep_until(&self) -> Timestamp {
        let freshness = &self.freshness;
        let fresh = freshness.lifetime.lifetime.saturating_sub(freshness.corrected_initial_age);
        let stale = freshness.stale_while_revalidate.max(freshness.stale_if_error).unwrap_or_default();
        // Comparing the few names that there are costs less than two lookups.
        let has_validator = self.fields.keys().any(|name| *name == ETAG || *name == LAST_MODIFIED);
        let grace = if has_validator { REVALIDATION_GRACE } else { NO_VALIDATOR_GRACE };
        let kept = fresh.saturating_add(stale.max(grace)).min(MAX_KEPT);
        freshness.response_time.saturating_add(kept)
    }

    /// Returns the head of the whole representation, if this is the head of a part with a strong
    /// entity tag, of a whole of known length (§3.4).
    pub fn of_whole(&self) -> Option<Self> {
        partial::head_of_whole(self)
    }

    /// Returns the form in which this response is served for a request. Conditions are evaluated
    /// before the range.
    ///
    /// `length` is the length of the stored body in bytes, if it is known. Without it, a complete
    /// response is served whole.
    pub fn serve<F: RequestHeaders>(&self, request: &RequestHead<'_, F>, length: Option<u64>) -> Serve {
        serving::serve(self, request, length)
    }

    /// Returns the status code and header fields for a form of this response, without `Age` and
    /// `Cache-Status`.
    pub fn fields_for(&self, serve: &Serve) -> (StatusCode, HeaderMap) {
        serving::fields_in_form(self.status, &self.fields, serve)
    }
}

/// Freshness information of a stored response, computed when it was stored or last validated
/// (§4.2). A hit only compares integers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FreshnessInfo {
    /// Time at which the request was sent.
    pub request_time: Timestamp,
    /// Time at which the response arrived.
    pub response_time: Timestamp,
    /// Age of the response at its arrival (§4.2.3).
    pub corrected_initial_age: Duration,
    /// Freshness lifetime and its source (§4.2.1).
    pub lifetime: FreshnessLifetime,
    /// `Date` of the response, or its arrival time if `Date` is missing or invalid.
    pub date: Timestamp,
    /// Whether the response must not be served stale without successful validation (§5.2.2.2; in a
    /// shared cache also §5.2.2.8 and §5.2.2.10).
    pub must_revalidate: bool,
    /// Whether the response must not be served without successful validation, even while it is
    /// fresh (§5.2.2.4).
    pub no_cache: bool,
    /// Whether the response does not change while it is fresh (RFC 8246).
    pub immutable: bool,
    /// Time past the lifetime for which the response may be served while it is revalidated
    /// (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// Time past the lifetime for which the response may be served instead of an error
    /// (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}
