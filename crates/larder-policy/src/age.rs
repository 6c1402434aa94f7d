//! Computes the current age of a response (RFC 9111 §4.2.3): the time since its origin generated or
//! validated it.
//!
//! The part that depends on other machines' clocks is computed once, when the response arrives, and
//! stored as the corrected initial age. A hit adds only the time that the response has been stored
//! here. So a lookup costs one subtraction, and a wrong `Date` cannot make a response younger with
//! each reuse. The `freshness` module computes the lifetime that the age is compared with.

use std::time::Duration;

use http::HeaderMap;

use crate::{
    FreshnessInfo, Timestamp,
    dates::parse_http_date,
    directives::delta_seconds,
    header_names::{AGE, DATE},
    list::members_of,
};

/// The times at which a request was sent and the head of its response arrived.
///
/// ```
/// use larder_policy::{Exchange, Timestamp};
///
/// let sent = Timestamp::from_secs(1_700_000_000);
/// let received = Timestamp::from_secs(1_700_000_002);
/// let exchange = Exchange { request_time: sent, response_time: received };
/// assert_eq!(exchange.response_time.since(exchange.request_time).as_secs(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Time at which the request was sent.
    pub request_time: Timestamp,
    /// Time at which the head of the response had been received.
    pub response_time: Timestamp,
}

impl Exchange {
    /// Returns the age of the response when it arrived: the greater of the ages computed from
    /// `Date` and from `Age` (§4.2.3).
    pub(crate) fn corrected_initial_age(self, date_value: Timestamp, age_value: Duration) -> Duration {
        // `Date` has a resolution of one second. The fraction of the current second is not counted
        // as age.
        let received = Timestamp::from_secs(self.response_time.as_millis() / 1000);
        let apparent_age = received.since(date_value);
        let response_delay = self.response_time.since(self.request_time);
        let corrected_age_value = age_value.saturating_add(response_delay);
        apparent_age.max(corrected_age_value)
    }
}

/// Returns `Date`, or the arrival time if `Date` is missing or invalid (RFC 9110 §6.6.1).
pub(crate) fn date_value(fields: &HeaderMap, exchange: Exchange) -> Timestamp {
    let date = fields.get(DATE).and_then(|date| parse_http_date(date.as_bytes(), exchange.response_time));
    date.unwrap_or(exchange.response_time)
}

/// Returns the value of `Age` (§5.1), or zero if it is missing or not a number. Only the first list
/// member counts, and its parameters are ignored.
pub(crate) fn age_value(fields: &HeaderMap) -> Duration {
    let first = members_of(fields, &AGE).next();
    let number = first.and_then(|member| member.split(|byte| *byte == b';').next());
    number.map(<[u8]>::trim_ascii).and_then(delta_seconds).unwrap_or_default()
}

/// Largest difference between clocks that has no effect: the response time may lie in the future by
/// this much after the clock was set back, and `Date` of a response with a heuristic lifetime.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// Returns the current age of a stored response, or `None` if the response time lies in the future.
/// The clock was then set back, and the age is unknown.
pub(crate) fn current_age(freshness: &FreshnessInfo, now: Timestamp) -> Option<Duration> {
    if freshness.response_time > now.saturating_add(CLOCK_TOLERANCE) {
        return None;
    }
    let resident_time = now.since(freshness.response_time);
    Some(freshness.corrected_initial_age.saturating_add(resident_time))
}
