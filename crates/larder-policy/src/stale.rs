//! Decides when a stale response may still be served (RFC 9111 §4.2.4, RFC 5861). `reuse` decides
//! on everything before a failure of the origin, and calls this module.

use std::time::Duration;

use http::StatusCode;

use crate::{
    ClientDirectives, FreshnessInfo, RequestHead, RequestHeaders, Rules, StalePermission, StoredHead,
    Timestamp, age::current_age, directives::MaxStale,
};

/// The reason why the origin gave no usable response.
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The origin could not be reached, or the connection broke: this cache is *disconnected*
    /// (§4.2.4).
    Disconnected,
    /// The origin responded with this status code.
    Status(StatusCode),
}

/// Returns the time for which a response of this age has been stale, or zero while it is fresh.
fn staleness(freshness: &FreshnessInfo, age: Duration) -> Duration {
    age.saturating_sub(freshness.lifetime.lifetime)
}

/// Returns whether a directive forbids serving the response stale, whatever else permits it
/// (§4.2.4).
fn forbids_stale(freshness: &FreshnessInfo) -> bool {
    freshness.must_revalidate || freshness.no_cache
}

/// Returns whether the response may be served now and revalidated in the background (RFC 5861 §3).
pub(crate) fn may_serve_while_revalidating(freshness: &FreshnessInfo, age: Duration) -> bool {
    !forbids_stale(freshness)
        && freshness.stale_while_revalidate.is_some_and(|window| staleness(freshness, age) < window)
}

/// Returns whether the request's `max-stale` accepts the response at this age (§5.2.1.2).
pub(crate) fn is_within_max_stale(
    freshness: &FreshnessInfo,
    max_stale: Option<MaxStale>,
    age: Duration,
) -> bool {
    !forbids_stale(freshness)
        && match max_stale {
            None => false,
            Some(MaxStale::Any) => true,
            Some(MaxStale::AtMost(limit)) => staleness(freshness, age) <= limit,
        }
}

impl Rules {
    /// Returns the permission to serve a stored response after the request to the origin failed, or
    /// `None` without one (§4.2.4, RFC 5861 §4).
    ///
    /// Permission lasts for `stale-if-error` of the response or the request, whichever is longer.
    /// If the origin cannot be reached, it also lasts for [`Rules::stale_when_disconnected`].
    ///
    /// There is no permission if a directive of the response forbids it, or if the request has
    /// `no-cache`, `max-age` or `min-fresh` without `max-stale` and the cache honors them
    /// ([`ClientDirectives::Honor`]). Of the status codes only 500, 502,
    /// 503 and 504 count as failures (RFC 5861 §4).
    pub fn stale_on_failure<F: RequestHeaders>(
        &self,
        request: &RequestHead<'_, F>,
        stored: &StoredHead,
        now: Timestamp,
        failure: Failure,
    ) -> Option<StalePermission> {
        let freshness = &stored.freshness;
        let age = current_age(freshness, now)?;
        let directives = request.cache_control().unwrap_or_default();
        let requires_freshness = request.client_directives() != ClientDirectives::Collapse
            && (directives.no_cache || directives.max_age.is_some() || directives.min_fresh.is_some());
        if forbids_stale(freshness) || requires_freshness && directives.max_stale.is_none() {
            return None;
        }
        let staleness = staleness(freshness, age);
        let window = freshness.stale_if_error.max(directives.stale_if_error);
        if window.is_some_and(|window| staleness <= window) && failure.counts_as_error() {
            return Some(StalePermission::IfError);
        }
        let disconnected = failure == Failure::Disconnected && staleness <= self.stale_when_disconnected;
        disconnected.then_some(StalePermission::Disconnected)
    }
}

impl Failure {
    /// Returns whether `stale-if-error` applies to this failure (RFC 5861 §4).
    fn counts_as_error(self) -> bool {
        match self {
            Self::Disconnected => true,
            Self::Status(status) => matches!(status.as_u16(), 500 | 502 | 503 | 504),
        }
    }
}
