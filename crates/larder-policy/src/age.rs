//! Current age (RFC 9111 §4.2.3): how long ago the origin made or confirmed a response.
//!
//! The part that depends on other machines' clocks is settled once, on arrival, and becomes one number. A hit adds
//! the time the response has spent here and nothing else, so that a look-up costs one subtraction and a wrong `Date`
//! cannot make a response younger with each reuse.

use std::time::Duration;

use http::HeaderMap;

use crate::{
    FreshnessInfo, StoredHead, Timestamp,
    dates::parse_http_date,
    directives::delta_seconds,
    header_names::{AGE, DATE},
    request::members_of,
};

/// When a request was sent, and when the head of its response arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// When the request was sent.
    pub request_time: Timestamp,
    /// When the response's head was here.
    pub response_time: Timestamp,
}

impl Exchange {
    /// The age that the response had when it arrived: the greater of what its `Date` and its `Age` admit to.
    pub(crate) fn corrected_initial_age(self, date_value: Timestamp, age_value: Duration) -> Duration {
        // `Date` has whole seconds: the fraction of the second in which both fall is no age.
        let received = Timestamp::from_secs(self.response_time.as_millis() / 1000);
        let apparent_age = received.since(date_value);
        let response_delay = self.response_time.since(self.request_time);
        let corrected_age_value = age_value.saturating_add(response_delay);
        apparent_age.max(corrected_age_value)
    }
}

/// `Date`, or when it arrived for a response that has none that can be read (RFC 9110 §6.6.1).
pub(crate) fn date_value(fields: &HeaderMap, exchange: Exchange) -> Timestamp {
    let date = fields.get(DATE).and_then(|date| parse_http_date(date.as_bytes(), exchange.response_time));
    date.unwrap_or(exchange.response_time)
}

/// `Age` (§5.1): the first of several members, without parameters; zero if it is no number.
pub(crate) fn age_value(fields: &HeaderMap) -> Duration {
    let first = members_of(fields, &AGE).next();
    let number = first.and_then(|member| member.split(|byte| *byte == b';').next());
    number.map(<[u8]>::trim_ascii).and_then(delta_seconds).unwrap_or_default()
}

/// A clock may be set back by this much without consequence.
const TOLERANCE: Duration = Duration::from_secs(2);

impl StoredHead {
    /// The same, fresh for no longer than until `at`; `None` if it is stale by then anyhow, or was asked for after that.
    pub fn marked_stale(&self, at: Timestamp) -> Option<Self> {
        if self.freshness.request_time > at {
            return None;
        }
        let age = self.freshness.current_age(at).unwrap_or_default();
        let mut outdated = self.clone();
        let lifetime = &mut outdated.freshness.lifetime.lifetime;
        // Fresh is what is younger than its lifetime (§4.2).
        let was_fresh = *lifetime > age;
        *lifetime = (*lifetime).min(age);
        was_fresh.then_some(outdated)
    }
}

impl FreshnessInfo {
    /// The current age; `None` if the clock says that the response has not arrived yet, and nobody can tell.
    pub(crate) fn current_age(&self, now: Timestamp) -> Option<Duration> {
        if self.response_time > now.saturating_add(TOLERANCE) {
            return None;
        }
        let resident_time = now.since(self.response_time);
        Some(self.corrected_initial_age.saturating_add(resident_time))
    }
}
