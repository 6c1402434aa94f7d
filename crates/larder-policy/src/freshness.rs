//! Freshness (RFC 9111 §4.2): how long a response may be reused without asking.
//!
//! The [`FreshnessLifetime`] is computed once, when the response is stored; a hit only compares it with the current
//! age. Where the lifetime came from is kept beside it, since `Cache-Status` and people want to know.
//! Whether a *stale* response may still be served is decided in `stale`.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::{
    CacheKind, Rules, Timestamp,
    dates::parse_http_date,
    directives::ResponseDirectives,
    header_names::{EXPIRES, LAST_MODIFIED},
};

/// How long after it was made a response is fresh, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FreshnessLifetime {
    /// The lifetime, from the origin's making of the response.
    pub lifetime: Duration,
    /// Where it comes from.
    pub from: LifetimeFrom,
}

/// Where a lifetime comes from, in the order of RFC 9111 §4.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LifetimeFrom {
    /// `s-maxage`, in a shared cache (§5.2.2.10).
    SMaxage,
    /// `max-age` (§5.2.2.1).
    MaxAge,
    /// `Expires` less `Date` (§5.3).
    Expires,
    /// A share of the time since `Last-Modified` (§4.2.2).
    Heuristic,
    /// This cache's user ([`Overrides`](crate::Overrides)).
    Override,
    /// Nobody: the response is stale at once.
    #[default]
    Unspecified,
}

impl LifetimeFrom {
    /// Whether somebody said it (§4.2.1), rather than this cache guessing.
    pub fn is_explicit(self) -> bool {
        matches!(self, Self::SMaxage | Self::MaxAge | Self::Expires | Self::Override)
    }

    /// The words that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::SMaxage => "s-maxage (§5.2.2.10)",
            Self::MaxAge => "max-age (§5.2.2.1)",
            Self::Expires => "Expires (§5.3)",
            Self::Heuristic => "heuristic (§4.2.2)",
            Self::Override => "this cache's settings",
            Self::Unspecified => "none (§4.2.1)",
        }
    }
}

/// Status codes that may be reused with a heuristic lifetime (RFC 9110 §15.1).
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

impl Rules {
    /// The first that is there counts (§4.2.1). `expires_counts`: no targeted field has taken the place of `Expires`.
    pub(crate) fn freshness_lifetime(
        &self,
        directives: &ResponseDirectives,
        expires_counts: bool,
        status: StatusCode,
        fields: &HeaderMap,
        date_value: Timestamp,
    ) -> FreshnessLifetime {
        if let (CacheKind::Shared, Some(lifetime)) = (self.kind, directives.s_maxage) {
            return FreshnessLifetime { lifetime, from: LifetimeFrom::SMaxage };
        }
        if let Some(lifetime) = directives.max_age {
            return FreshnessLifetime { lifetime, from: LifetimeFrom::MaxAge };
        }
        if expires_counts && let Some(lifetime) = expires_lifetime(fields, date_value) {
            return FreshnessLifetime { lifetime, from: LifetimeFrom::Expires };
        }
        if !directives.public && !is_heuristically_cacheable(status) {
            return FreshnessLifetime::default();
        }
        let modified =
            fields.get(LAST_MODIFIED).and_then(|value| parse_http_date(value.as_bytes(), date_value));
        modified.map_or_else(FreshnessLifetime::default, |modified| FreshnessLifetime {
            lifetime: (date_value.since(modified) * u32::from(self.heuristic_percent) / 100)
                .min(self.heuristic_max),
            from: LifetimeFrom::Heuristic,
        })
    }
}

/// `Expires` less `Date`. One line that is a date, or the response has expired already (§5.3).
fn expires_lifetime(fields: &HeaderMap, date_value: Timestamp) -> Option<Duration> {
    let mut lines = fields.get_all(EXPIRES).iter();
    let first = lines.next()?;
    let expires = if lines.next().is_none() { parse_http_date(first.as_bytes(), date_value) } else { None };
    Some(expires.map_or(Duration::ZERO, |expires| {
        // Both have whole seconds; a `Date` that was made up here has not.
        Timestamp::from_secs(expires.as_millis() / 1000).since(date_value)
    }))
}
