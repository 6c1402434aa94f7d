//! Retries: which results are retried, and after which pause.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};
use larder_core::{Clock as _, SystemClock, policy::parse_http_date};

use crate::{Error, ErrorKind, Response};

/// Longest pause that a server's `Retry-After` can request, unless the caller sets another.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A policy for retries of failed requests, with exponential backoff and jitter; see
/// [`Batch::retry`](crate::Batch::retry).
///
/// Transient errors ([`Error::is_transient`]) and the status codes 429, 502, 503 and 504 are
/// retried. The `Retry-After` (RFC 9110 §10.2.3) of a 429 or 503 lengthens the pause, up to
/// [`max_retry_after`](Self::max_retry_after). Requests with a method that is not idempotent, such
/// as POST, are retried only if the server has not begun to process them: if there is no
/// connection, or the status is 429 or 503.
///
/// ```
/// use std::time::Duration;
/// use larder_reqwest::Retry;
///
/// let retry = Retry::new(3).with_base_delay(Duration::from_millis(100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// Highest number of retries of one request. 0: none.
    pub max_retries: u32,
    /// Pause after the first failure. It doubles with each further failure. Up to half of each
    /// pause is subtracted at random, so that many clients do not retry at the same instant.
    /// Default: 250 ms.
    pub base_delay: Duration,
    /// Longest pause, without a `Retry-After`. Default: 30 s.
    pub max_delay: Duration,
    /// Longest pause that a server can request with `Retry-After`. Default: one hour.
    ///
    /// If it requests a longer one, nothing more is sent to that host: neither the retry nor, in a
    /// [`Batch`](crate::Batch), its other URLs.
    pub max_retry_after: Duration,
}

impl Retry {
    /// Creates a policy with up to `times` retries and the default pauses: 250 ms, 500 ms and so
    /// on, up to 30 s.
    pub fn new(times: u32) -> Self {
        Self {
            max_retries: times,
            base_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(30),
            max_retry_after: MAX_RETRY_AFTER,
        }
    }

    /// Sets the highest number of retries of one request ([`max_retries`](Self::max_retries)).
    #[must_use]
    pub fn with_max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = max_retries;
        self
    }

    /// Sets the pause after the first failure ([`base_delay`](Self::base_delay)).
    #[must_use]
    pub fn with_base_delay(mut self, base_delay: Duration) -> Self {
        self.base_delay = base_delay;
        self
    }

    /// Sets the longest pause, without a `Retry-After` ([`max_delay`](Self::max_delay)).
    #[must_use]
    pub fn with_max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = max_delay;
        self
    }

    /// Sets the longest pause that a server can request with `Retry-After`
    /// ([`max_retry_after`](Self::max_retry_after)).
    #[must_use]
    pub fn with_max_retry_after(mut self, max_retry_after: Duration) -> Self {
        self.max_retry_after = max_retry_after;
        self
    }

    /// Returns the pause after a number of `failures` in a row, with jitter.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let pause = self
            .base_delay
            .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
            .min(self.max_delay);
        pause - pause.mul_f64(jitter() / 2.0)
    }
}

impl From<u32> for Retry {
    fn from(times: u32) -> Self {
        Self::new(times)
    }
}

/// Returns a random number from 0 to 1.
pub(crate) fn jitter() -> f64 {
    let mut random = [0; 2];
    // If the system provides no randomness, the result is 0: each pause has its full length.
    let _ = getrandom::fill(&mut random);
    f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX)
}

/// Returns whether a retry of a request with this method may have another result, and does not
/// repeat what the server may have done.
pub(crate) fn is_retryable(method: &Method, result: &Result<Response, Error>) -> bool {
    let is_repeatable = method.is_idempotent();
    match result {
        Ok(response) if is_repeatable => is_retryable_status(response.status()),
        Ok(response) => matches!(response.status().as_u16(), 429 | 503),
        Err(error) if is_repeatable => error.is_transient(),
        Err(error) => error.kind() == ErrorKind::Connect,
    }
}

/// Returns whether a status code reports a temporary failure: 429, 502, 503 or 504.
pub(crate) fn is_retryable_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Returns the pause that a response requests with `Retry-After`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    Some(match seconds {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let now = SystemClock.now();
            parse_http_date(value.as_bytes(), now)?.since(now)
        }
    })
}
