//! Trying again: when, and how long after.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use larder_core::{Clock as _, SystemClock, parse_http_date};

use crate::{Error, Response};

/// No server makes anybody wait longer.
const LONGEST_WISH: Duration = Duration::from_secs(3600);

/// How failed requests are tried again: after errors that may pass ([`Error::is_transient`]) and after 429, 502, 503 and
/// 504. A server's `Retry-After` (RFC 9110 §10.2.3) is kept to, up to an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// How often it is tried again, at most.
    pub times: u32,
    /// How long after the first failure; twice that after the second, and so on. Up to half of each pause is left to
    /// chance, so that many clients don't come back at once.
    pub first: Duration,
    /// The longest pause of one's own.
    pub most: Duration,
}

impl Retry {
    /// So often, after 250 ms, 500 ms and so on up to 30 s.
    pub fn times(times: u32) -> Self {
        Self { times, first: Duration::from_millis(250), most: Duration::from_secs(30) }
    }

    /// How long to wait after the `failures`th failure in a row.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let pause =
            self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(self.most);
        pause - pause.mul_f64(jitter() / 2.0)
    }
}

impl From<u32> for Retry {
    fn from(times: u32) -> Self {
        Self::times(times)
    }
}

/// Between 0 and 1.
pub(crate) fn jitter() -> f64 {
    let mut random = [0; 2];
    // Without randomness everybody waits the whole pause.
    let _ = getrandom::fill(&mut random);
    f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX)
}

/// Whether trying again may help.
pub(crate) fn is_retryable(result: &Result<Response, Error>) -> bool {
    match result {
        Ok(response) => is_retryable_status(response.status()),
        Err(error) => error.is_transient(),
    }
}

/// Status codes that say: not now.
pub(crate) fn is_retryable_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// How long the server asks to be left alone.
pub(crate) fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let value = fields.get(RETRY_AFTER)?;
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    let wish = match seconds {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let now = SystemClock.now();
            parse_http_date(value.as_bytes(), now)?.since(now)
        }
    };
    Some(wish.min(LONGEST_WISH))
}
