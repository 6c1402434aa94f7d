//! Stale responses (RFC 9111 §4.2.4, RFC 5861): when one may be served all the same.

use std::time::Duration;

use http::StatusCode;

use crate::{
    FreshnessInfo, Permission, RequestHead, RequestHeaders, Rules, StoredHead, Timestamp,
    directives::{MaxStale, RequestDirectives},
    request::HeaderFlags,
};

/// Why the origin gave no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It could not be reached, or broke off: this cache is *disconnected* (§4.2.4).
    Disconnected,
    /// It answered with this status code.
    Status(StatusCode),
}

impl FreshnessInfo {
    /// How long the response has been stale; zero while it is fresh.
    pub(crate) fn staleness(&self, age: Duration) -> Duration {
        age.saturating_sub(self.lifetime.lifetime)
    }

    /// Whether a directive forbids serving it stale, whatever else allows it (§4.2.4).
    pub(crate) fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.no_cache
    }

    /// Whether it may be served now, and revalidated beside (RFC 5861 §3).
    pub(crate) fn may_serve_while_revalidating(&self, age: Duration) -> bool {
        !self.forbids_stale()
            && self.stale_while_revalidate.is_some_and(|window| self.staleness(age) < window)
    }

    /// Whether the request takes it as stale as it is (§5.2.1.2).
    pub(crate) fn is_within(&self, max_stale: Option<MaxStale>, age: Duration) -> bool {
        !self.forbids_stale()
            && match max_stale {
                None => false,
                Some(MaxStale::Any) => true,
                Some(MaxStale::AtMost(most)) => self.staleness(age) <= most,
            }
    }
}

impl Rules {
    /// Whether this stored response may stand in for an answer that did not come (§4.2.4, RFC 5861 §4).
    ///
    /// Never against a directive that forbids it, nor for a request that asks for the origin's word or for a
    /// freshness of its own. A status code counts as a failure only where RFC 5861 §4 says so: 500, 502, 503, 504.
    pub fn stale_on_failure<F: RequestHeaders>(
        &self,
        request: &RequestHead<'_, F>,
        stored: &StoredHead,
        now: Timestamp,
        failure: Failure,
    ) -> Option<Permission> {
        let terms = &stored.freshness;
        let age = terms.current_age(now)?;
        let asked = request.lines(HeaderFlags::CACHE_CONTROL, "cache-control").map(RequestDirectives::parse);
        let asked = asked.unwrap_or_default();
        let wants_fresh = asked.no_cache || asked.max_age.is_some() || asked.min_fresh.is_some();
        if terms.forbids_stale() || wants_fresh && asked.max_stale.is_none() {
            return None;
        }
        let staleness = terms.staleness(age);
        let window = terms.stale_if_error.max(asked.stale_if_error);
        if window.is_some_and(|window| staleness <= window) && failure.counts_as_error() {
            return Some(Permission::IfError);
        }
        let disconnected = failure == Failure::Disconnected && staleness <= self.stale_when_disconnected;
        disconnected.then_some(Permission::Disconnected)
    }
}

impl Failure {
    fn counts_as_error(self) -> bool {
        match self {
            Self::Disconnected => true,
            Self::Status(status) => matches!(status.as_u16(), 500 | 502 | 503 | 504),
        }
    }
}
