//! Describes how a request was handled, as the `Cache-Status` field (RFC 9211) and as a single
//! outcome. The caller fills in what happened.

use std::fmt;

use http::{HeaderValue, StatusCode};

use crate::{NotStorable, StatusReason, reasons};

/// How the cache handled a request: the parameters of `Cache-Status` (RFC 9211).
///
/// The header field, events and logs are derived from this value. [`outcome`](Self::outcome)
/// summarizes it in one word.
///
/// ```
/// use larder_policy::{CacheStatus, ForwardReason};
///
/// assert_eq!(CacheStatus::hit(30).to_value("larder"), "larder; hit; ttl=30");
/// assert_eq!(CacheStatus::forwarded(ForwardReason::Stale).to_string(), "fwd=stale");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStatus {
    /// Whether the response came from the cache, without the origin (§2.1).
    pub hit: bool,
    /// Reason why the request was forwarded to the origin (§2.2).
    pub fwd: Option<ForwardReason>,
    /// Status code of the origin's response (§2.3).
    pub fwd_status: Option<StatusCode>,
    /// Remaining freshness in seconds, negative if the response is stale (§2.4).
    pub ttl: Option<i64>,
    /// Whether the origin's response has been stored (§2.5). A response that is being stored while
    /// it is sent has [`CacheDetail::Storing`] instead.
    pub stored: bool,
    /// Whether the request was collapsed: the response was fetched for another request (§2.6).
    pub collapsed: bool,
    /// Further detail (§2.8).
    pub detail: Option<CacheDetail>,
}

/// A further detail of how a request was handled (RFC 9211 §2.8).
///
/// ```
/// use larder_policy::{CacheDetail, NotStorable};
///
/// assert_eq!(CacheDetail::NotStored(NotStorable::NoStore).token(), "no-store");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheDetail {
    /// The response was not stored, for this reason.
    NotStored(NotStorable),
    /// The response is being stored, and will be stored if its body and the store are complete
    /// and sound.
    Storing,
    /// A stale response was served because the origin failed (RFC 5861 §4).
    StaleIfError,
    /// The request had `only-if-cached`, and no stored response satisfies it.
    OnlyIfCached,
    /// The target of the request cannot be fetched.
    BadTarget,
    /// The origin could not be reached.
    OriginUnreachable,
    /// The connection to the origin was lost, or the origin sent something that is not HTTP.
    OriginProtocolError,
    /// The origin did not respond in time.
    OriginTimeout,
    /// Too many requests to the origin were in progress or waiting.
    OriginBusy,
    /// The request's body failed while it was being sent.
    RequestBodyFailed,
    /// The exchange was cancelled, for example by a shutdown.
    Closing,
    /// The request was rejected before it reached the cache.
    Refused,
    /// The request is to switch protocols, which the cache does not handle (RFC 9110 §7.8).
    Upgrade,
}

impl CacheDetail {
    /// All details in declaration order, but for those of [`NotStorable::ALL`].
    pub const ALL_BUT_NOT_STORED: [Self; 12] = [
        Self::Storing,
        Self::StaleIfError,
        Self::OnlyIfCached,
        Self::BadTarget,
        Self::OriginUnreachable,
        Self::OriginProtocolError,
        Self::OriginTimeout,
        Self::OriginBusy,
        Self::RequestBodyFailed,
        Self::Closing,
        Self::Refused,
        Self::Upgrade,
    ];

    /// Returns what the detail means, and what to do about it.
    pub fn reason(self) -> StatusReason {
        reasons::of_detail(self)
    }

    /// Returns the detail as a token, such as `stale-if-error`.
    pub fn token(self) -> &'static str {
        match self {
            Self::NotStored(reason) => reason.token(),
            Self::Storing => "storing",
            Self::StaleIfError => "stale-if-error",
            Self::OnlyIfCached => "only-if-cached",
            Self::BadTarget => "bad-target",
            Self::OriginUnreachable => "origin-unreachable",
            Self::OriginProtocolError => "origin-protocol-error",
            Self::OriginTimeout => "origin-timeout",
            Self::OriginBusy => "origin-busy",
            Self::RequestBodyFailed => "request-body-failed",
            Self::Closing => "closing",
            Self::Refused => "refused",
            Self::Upgrade => "upgrade",
        }
    }
}

impl fmt::Display for CacheDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// The reason why a request was forwarded to the origin (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardReason {
    /// The cache was configured not to handle the request.
    Bypass,
    /// The semantics of the method require it.
    Method,
    /// No response is stored for the URI.
    UriMiss,
    /// The responses stored for the URI have other selecting header values.
    VaryMiss,
    /// No usable response is stored.
    Miss,
    /// The directives or conditions of the request require it.
    Request,
    /// The stored response is stale.
    Stale,
    /// Only a part of the response is stored.
    Partial,
}

impl ForwardReason {
    /// All reasons, in declaration order.
    pub const ALL: [Self; 8] = [
        Self::Bypass,
        Self::Method,
        Self::UriMiss,
        Self::VaryMiss,
        Self::Miss,
        Self::Request,
        Self::Stale,
        Self::Partial,
    ];

    /// Returns what the reason means, and what to change so that the cache answers such requests.
    pub fn reason(self) -> StatusReason {
        reasons::of_forward(self)
    }

    /// Returns the token of RFC 9211 §2.2.
    pub fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// The outcome of a request in one word; [`CacheStatus`] has the details.
///
/// Metrics use it as a label, and clients as a summary of one response.
///
/// ```
/// use larder_policy::{CacheOutcome, CacheStatus};
///
/// assert_eq!(CacheStatus::hit(30).outcome(), CacheOutcome::Hit);
/// assert_eq!(CacheStatus::hit(-5).outcome().to_string(), "stale");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheOutcome {
    /// Served from the cache with a fresh response.
    Hit,
    /// Served from the cache with a stale response: because it is being revalidated, because the
    /// request allowed it, or because the origin failed.
    Stale,
    /// Served from the cache after the origin validated the stored response with a 304.
    Revalidated,
    /// Served with a response that was fetched for another request.
    Collapsed,
    /// Served by the origin, because no stored response could be used.
    Miss,
    /// Served by the origin, because the method or the directives of the request bypass the cache.
    Pass,
    /// Failed: the origin gave no response, and no stored response could replace it.
    Failed,
}

impl CacheOutcome {
    /// All outcomes, in declaration order.
    pub const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Collapsed, Self::Miss, Self::Pass, Self::Failed];

    /// Returns the name in lower case, such as `hit`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for CacheOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl CacheStatus {
    /// Returns the outcome that this status amounts to.
    pub fn outcome(&self) -> CacheOutcome {
        let stale = self.ttl.is_some_and(|ttl| ttl < 0);
        match self.fwd {
            _ if self.hit && stale => CacheOutcome::Stale,
            _ if self.hit => CacheOutcome::Hit,
            _ if self.collapsed => CacheOutcome::Collapsed,
            Some(_) if self.detail == Some(CacheDetail::StaleIfError) => CacheOutcome::Stale,
            Some(_) if self.fwd_status == Some(StatusCode::NOT_MODIFIED) => CacheOutcome::Revalidated,
            Some(ForwardReason::Method | ForwardReason::Request | ForwardReason::Bypass)
                if self.fwd_status.is_some() =>
            {
                CacheOutcome::Pass
            }
            Some(_) if self.fwd_status.is_some() => CacheOutcome::Miss,
            _ => CacheOutcome::Failed,
        }
    }

    /// Returns whether the origin's response has been stored, or is being stored.
    pub fn is_stored_or_storing(&self) -> bool {
        self.stored || self.detail == Some(CacheDetail::Storing)
    }

    /// Records that the origin's response has been stored, or is being stored.
    pub fn set_storing(&mut self, is_stored: bool) {
        self.stored = is_stored;
        if !is_stored {
            self.detail.get_or_insert(CacheDetail::Storing);
        }
    }

    /// Creates the status of a request served from the cache, with the remaining freshness in
    /// seconds.
    pub fn hit(ttl: i64) -> Self {
        Self { hit: true, ttl: Some(ttl), ..Self::default() }
    }

    /// Creates the status of a request that was forwarded to the origin.
    pub fn forwarded(fwd: ForwardReason) -> Self {
        Self { fwd: Some(fwd), ..Self::default() }
    }

    /// Returns the value of `Cache-Status` for the cache named `cache`, which must be a token.
    pub fn to_value(&self, cache: &str) -> HeaderValue {
        // A token as name and the parameters always form a valid value.
        HeaderValue::from_maybe_shared(self.to_bytes(cache)).unwrap_or(HeaderValue::from_static("larder"))
    }

    /// Returns the value of `Cache-Status` as bytes, for other libraries' header maps.
    pub fn to_bytes(&self, cache: &str) -> bytes::Bytes {
        let mut text = Vec::with_capacity(96);
        text.extend_from_slice(cache.as_bytes());
        self.write(&mut text);
        text.into()
    }

    /// Appends the parameters, each preceded by a semicolon.
    fn write(&self, text: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        if self.hit {
            text.extend_from_slice(b"; hit");
        }
        if let Some(fwd) = self.fwd {
            text.extend_from_slice(b"; fwd=");
            text.extend_from_slice(fwd.token().as_bytes());
        }
        if let Some(status) = self.fwd_status {
            text.extend_from_slice(b"; fwd-status=");
            text.extend_from_slice(status.as_str().as_bytes());
        }
        if let Some(ttl) = self.ttl {
            text.extend_from_slice(b"; ttl=");
            // Structured integers have at most fifteen digits (RFC 9651 §3.3.1).
            text.extend_from_slice(
                number.format(ttl.clamp(-999_999_999_999_999, 999_999_999_999_999)).as_bytes(),
            );
        }
        if self.stored {
            text.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            text.extend_from_slice(b"; collapsed");
        }
        if let Some(detail) = self.detail {
            text.extend_from_slice(b"; detail=");
            text.extend_from_slice(detail.token().as_bytes());
        }
    }
}

/// Writes the parameters without the cache's name, such as `hit; ttl=30`.
impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(96);
        self.write(&mut text);
        f.write_str(String::from_utf8_lossy(&text).trim_start_matches("; "))
    }
}
