//! Adds `Date` to responses without one. The formatted time is kept for the rest of its second.

use http::{HeaderMap, HeaderValue, header::Entry};
use parking_lot::Mutex;

use crate::{
    Timestamp,
    policy::{format_http_date, header_names},
};

/// The last `Date` that was formatted, with its second.
#[derive(Debug, Default)]
pub(super) struct DateLine(Mutex<Option<(u64, HeaderValue)>>);

impl DateLine {
    /// Adds `Date` with the time at which the response arrived, if the response has none (RFC 9110
    /// §6.6.1).
    pub(super) fn add_to(&self, fields: &mut HeaderMap, response_time: Timestamp) {
        if let Entry::Vacant(date) = fields.entry(header_names::DATE)
            && let Some(value) = self.at(response_time)
        {
            date.insert(value);
        }
    }

    /// Returns the value of `Date` for this time.
    fn at(&self, time: Timestamp) -> Option<HeaderValue> {
        let second = time.as_millis() / 1000;
        let mut last = self.0.lock();
        if let Some((formatted, value)) = &*last
            && *formatted == second
        {
            return Some(value.clone());
        }
        let value = HeaderValue::try_from(format_http_date(time)).ok()?;
        *last = Some((second, value.clone()));
        Some(value)
    }
}
