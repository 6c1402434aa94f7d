//! `Cache-Status` (RFC 9211): how a request was answered.

use std::fmt;

use http::{HeaderValue, StatusCode};

/// How a request was answered. The field, events and people read this same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStatus {
    /// It was answered from the cache, without the origin (§2.1).
    pub hit: bool,
    /// Why it went to the origin (§2.2).
    pub fwd: Option<ForwardReason>,
    /// What the origin answered (§2.3).
    pub fwd_status: Option<StatusCode>,
    /// Seconds of freshness that are left, negative when it is stale (§2.4).
    pub ttl: Option<i64>,
    /// What the origin answered is being stored (§2.5).
    pub stored: bool,
    /// The origin's answer to another request served this one, too (§2.6).
    pub collapsed: bool,
    /// More (§2.8): a token.
    pub detail: Option<&'static str>,
}

/// Why a request went to the origin (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardReason {
    /// The cache was told not to handle the request.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is, but for other selecting values.
    VaryMiss,
    /// Nothing usable is stored.
    Miss,
    /// The request asks for it.
    Request,
    /// What is stored is stale.
    Stale,
    /// Only a part is stored.
    Partial,
}

impl ForwardReason {
    /// The token of RFC 9211 §2.2.
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

/// Classifies how a request was answered; [`CacheStatus`] has the details.
///
/// Counters use it as a label, clients as a summary of one response.
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
    /// Answered from the cache with a fresh response.
    Hit,
    /// Answered from the cache with a stale response: while it is revalidated, because the request allowed it, or
    /// because the origin failed.
    Stale,
    /// Answered from the cache after the origin confirmed the stored response (304).
    Revalidated,
    /// Answered with the response that was fetched for another request.
    Collapsed,
    /// Answered by the origin, because nothing stored could be used.
    Miss,
    /// Answered by the origin, because the request's method or directives bypass the cache.
    Pass,
    /// Not answered: the origin gave no response, and no stored response could replace it.
    Failed,
}

impl CacheOutcome {
    /// Every outcome, in declaration order.
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
            Some(_) if self.detail == Some("stale-if-error") => CacheOutcome::Stale,
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

    /// Answered from the cache, with this much freshness left.
    pub fn hit(ttl: i64) -> Self {
        Self { hit: true, ttl: Some(ttl), ..Self::default() }
    }

    /// Sent to the origin.
    pub fn forwarded(fwd: ForwardReason) -> Self {
        Self { fwd: Some(fwd), ..Self::default() }
    }

    /// The list member of the cache called `cache`, which is a token.
    pub fn to_value(&self, cache: &str) -> HeaderValue {
        // Tokens and numbers only, if `cache` is a token.
        HeaderValue::from_maybe_shared(self.to_bytes(cache)).unwrap_or(HeaderValue::from_static("larder"))
    }

    /// The same for another library's header map.
    pub fn to_bytes(&self, cache: &str) -> bytes::Bytes {
        let mut text = Vec::with_capacity(96);
        text.extend_from_slice(cache.as_bytes());
        self.write(&mut text);
        text.into()
    }

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
            // Structured integers have fifteen digits at most (RFC 9651 §3.3.1).
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
            text.extend_from_slice(detail.as_bytes());
        }
    }
}

/// Without the cache's name: `hit; ttl=30`.
impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(96);
        self.write(&mut text);
        f.write_str(String::from_utf8_lossy(&text).trim_start_matches("; "))
    }
}
