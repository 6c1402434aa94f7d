//! Computes the freshness lifetime (RFC 9111 §4.2.1, §4.2.2): how long a response may be reused
//! without validation.
//!
//! The [`FreshnessLifetime`] is computed once, when the response is stored. A hit only compares it
//! with the current age. The source of the lifetime is stored with it, for diagnostics. The `stale`
//! module decides whether a *stale* response may still be served.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::{
    CacheKind, Rules, Timestamp,
    age::CLOCK_TOLERANCE,
    dates::parse_http_date,
    directives::EffectiveDirectives,
    header_names::{EXPIRES, LAST_MODIFIED},
};

/// The freshness lifetime of a response and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FreshnessLifetime {
    /// Lifetime, counted from the time at which the origin generated the response.
    pub lifetime: Duration,
    /// Source of the lifetime.
    pub from: LifetimeSource,
}

/// The source of a freshness lifetime, in the order of precedence of RFC 9111 §4.2.1.
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LifetimeSource {
    /// `s-maxage`, in a shared cache (§5.2.2.10).
    SMaxage,
    /// `max-age` (§5.2.2.1).
    MaxAge,
    /// `Expires` minus `Date` (§5.3).
    Expires,
    /// A percentage of the time since `Last-Modified` (§4.2.2).
    Heuristic,
    /// A setting of this cache ([`Overrides`](crate::Overrides)).
    Override,
    /// No source: the response is stale on arrival.
    #[default]
    Unspecified,
}

impl LifetimeSource {
    /// Returns whether the response or an override specified the lifetime (§4.2.1). A heuristic
    /// lifetime is not explicit.
    pub fn is_explicit(self) -> bool {
        matches!(self, Self::SMaxage | Self::MaxAge | Self::Expires | Self::Override)
    }

    /// Returns a description of the source for people, such as `max-age (§5.2.2.1)`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SMaxage => "s-maxage (§5.2.2.10)",
            Self::MaxAge => "max-age (§5.2.2.1)",
            Self::Expires => "Expires (§5.3)",
            Self::Heuristic => "heuristic (§4.2.2)",
            Self::Override => "an override in the cache configuration",
            Self::Unspecified => "no source (§4.2.1)",
        }
    }
}

/// Returns whether a response with this status code may have a heuristic lifetime (RFC 9110 §15.1).
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

impl Rules {
    /// Returns the lifetime of a response from the first source that is present (§4.2.1).
    ///
    /// `Expires` does not count if a targeted field replaces it (RFC 9213 §2.2). `received` is the
    /// time at which the response arrived.
    pub(crate) fn freshness_lifetime(
        &self,
        effective: &EffectiveDirectives,
        status: StatusCode,
        fields: &HeaderMap,
        date_value: Timestamp,
        received: Timestamp,
    ) -> FreshnessLifetime {
        let directives = &effective.directives;
        if let (CacheKind::Shared, Some(lifetime)) = (self.kind, directives.s_maxage) {
            return FreshnessLifetime { lifetime, from: LifetimeSource::SMaxage };
        }
        if let Some(lifetime) = directives.max_age {
            return FreshnessLifetime { lifetime, from: LifetimeSource::MaxAge };
        }
        if !effective.targeted
            && let Some(lifetime) = expires_lifetime(fields, date_value)
        {
            return FreshnessLifetime { lifetime, from: LifetimeSource::Expires };
        }
        let heuristic = directives.public || is_heuristically_cacheable(status);
        if !heuristic || !effective.may_guess {
            return FreshnessLifetime::default();
        }
        self.heuristic_lifetime(fields, date_value, received)
    }

    /// Returns a percentage of the time since `Last-Modified` (§4.2.2), or no lifetime without it.
    ///
    /// The lifetime is zero if a clock is ahead: if `Last-Modified` is later than `Date`
    /// (RFC 9110 §8.8.2.1), or `Date` later than the time at which the response was received. How
    /// long ago the resource was modified is then unknown.
    fn heuristic_lifetime(
        &self,
        fields: &HeaderMap,
        date_value: Timestamp,
        received: Timestamp,
    ) -> FreshnessLifetime {
        let modified =
            fields.get(LAST_MODIFIED).and_then(|value| parse_http_date(value.as_bytes(), date_value));
        let Some(modified) = modified else { return FreshnessLifetime::default() };
        let unchanged = if date_value > received.saturating_add(CLOCK_TOLERANCE) {
            Duration::ZERO
        } else {
            date_value.since(modified)
        };
        let lifetime = unchanged.saturating_mul(u32::from(self.heuristic_percent)) / 100;
        FreshnessLifetime { lifetime: lifetime.min(self.heuristic_max), from: LifetimeSource::Heuristic }
    }
}

/// Returns `Expires` minus `Date`, or `None` without `Expires`. An invalid date or several lines
/// count as already expired (§5.3).
fn expires_lifetime(fields: &HeaderMap, date_value: Timestamp) -> Option<Duration> {
    let mut lines = fields.get_all(EXPIRES).iter();
    let first = lines.next()?;
    let expires = if lines.next().is_none() { parse_http_date(first.as_bytes(), date_value) } else { None };
    Some(expires.map_or(Duration::ZERO, |expires| {
        // Both have whole seconds, except a `Date` that was taken from this cache's clock.
        Timestamp::from_secs(expires.as_millis() / 1000).since(date_value)
    }))
}
