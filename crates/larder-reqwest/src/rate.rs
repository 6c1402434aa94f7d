//! Limits on the rate of the requests to each host. Only requests that need the origin count:
//! `sending` waits after a lookup has found nothing to serve.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};
use reqwest::Url;

use crate::parts::host;

/// Number of hosts from which on those are forgotten that have had no request for a while.
const MANY_HOSTS: usize = 1024;
/// Longest interval between two requests.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Longest time of the intervals of a burst: governor counts them in nanoseconds, as `u64`.
const LONGEST_BURST: Duration = Duration::from_secs(99 * 365 * 24 * 3600);

/// The highest rate of requests to one host, such as two a second; see
/// [`CachedClientBuilder::rate_limit`](crate::CachedClientBuilder::rate_limit).
///
/// Requests are evenly spaced: two a second means one each 500 ms.
///
/// ```
/// use std::time::Duration;
/// use larder_reqwest::RateLimit;
///
/// let two_a_second = RateLimit::new(2, Duration::from_secs(1));
/// assert_eq!("2/s".parse(), Ok(two_a_second));
/// assert_eq!("6/m".parse::<RateLimit>().expect("a rate").interval(), Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    interval: Duration,
    burst: NonZeroU32,
}

/// The error of a text that is not a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidRate;

impl RateLimit {
    /// Creates a limit of this number of requests in this time, evenly spaced. The number is at
    /// least 1, the time between two requests from 1 ns to 1 year.
    pub fn new(requests: u32, time: Duration) -> Self {
        let interval = (time / requests.max(1)).clamp(Duration::from_nanos(1), LONGEST);
        Self { interval, burst: NonZeroU32::MIN }
    }

    /// Sets how many requests may follow each other without a pause, after a time without requests.
    /// Default and minimum: 1. Maximum: the number of [intervals](Self::interval) in 99 years, or
    /// `u32::MAX`.
    #[must_use]
    pub fn with_burst(mut self, burst: u32) -> Self {
        let max = LONGEST_BURST.as_nanos() / self.interval.as_nanos();
        let burst = burst.min(u32::try_from(max).unwrap_or(u32::MAX));
        self.burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        self
    }

    /// Returns the time between two requests.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

impl FromStr for RateLimit {
    type Err = InvalidRate;

    /// Parses `NUMBER/UNIT` as curl does: the units are `s`, `m`, `h` and `d`, and a number may
    /// precede them, as in `1/5s`. Without a unit it is a number of requests in an hour.
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (requests, time) = text.split_once('/').unwrap_or((text, "h"));
        let requests: u32 = requests.parse().ok().filter(|requests| *requests > 0).ok_or(InvalidRate)?;
        let digits = time.trim_end_matches(|c: char| !c.is_ascii_digit());
        let count: u64 = if digits.is_empty() { 1 } else { digits.parse().map_err(|_| InvalidRate)? };
        let seconds = match &time[digits.len()..] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(InvalidRate),
        };
        let seconds = count.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or(InvalidRate)?;
        Ok(Self::new(requests, Duration::from_secs(seconds)))
    }
}

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a rate; e.g. 2/s, 30/m or 1/5s")
    }
}

impl std::error::Error for InvalidRate {}

/// The requests to each host so far.
pub(crate) struct Rates(RateLimiter<Box<str>, HashMapStateStore<Box<str>>, DefaultClock, NoOpMiddleware>);

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rates({} hosts)", self.0.len())
    }
}

impl Rates {
    /// Creates the state of a limit without requests.
    pub(crate) fn new(limit: RateLimit) -> Self {
        let quota = Quota::with_period(limit.interval).expect("the interval is at least 1 ns");
        Self(RateLimiter::hashmap(quota.allow_burst(limit.burst)))
    }

    /// Waits until a request may be sent to the host of `url`, and counts it. Returns whether it
    /// had to wait.
    pub(crate) async fn wait(&self, url: &Url) -> bool {
        if self.0.len() >= MANY_HOSTS {
            self.0.retain_recent();
        }
        let key = Box::from(host(url));
        let mut has_waited = false;
        while let Err(not_until) = self.0.check_key(&key) {
            has_waited = true;
            tokio::time::sleep(not_until.wait_time_from(DefaultClock::default().now())).await;
        }
        has_waited
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn rates_as_of_curl() {
        for (text, millis) in [
            ("2/s", Some(500)),
            ("1/5s", Some(5_000)),
            ("30/m", Some(2_000)),
            ("10/2h", Some(720_000)),
            ("1/d", Some(86_400_000)),
            ("60", Some(60_000)),
            ("0/s", None),
            ("2/", None),
            ("2/0s", None),
            ("2/w", None),
            ("/s", None),
            ("-1/s", None),
            ("2/s/s", None),
            ("2/99999999999999999999s", None),
            ("", None),
        ] {
            let interval = text.parse::<RateLimit>().ok().map(|rate| rate.interval().as_millis());
            assert_eq!(interval, millis, "{text}");
        }
        assert_eq!(RateLimit::new(0, Duration::MAX).interval(), LONGEST);
        assert_eq!(RateLimit::new(u32::MAX, Duration::ZERO).interval(), Duration::from_nanos(1));
    }

    /// A burst of many requests at a low rate overflowed.
    #[tokio::test]
    async fn a_burst_has_a_maximum() {
        let url = Url::parse("http://a.example/").expect("a URL");
        for interval in [LONGEST, Duration::from_secs(60), Duration::from_nanos(1)] {
            let rates = Rates::new(RateLimit::new(1, interval).with_burst(u32::MAX));
            for _ in 0..99 {
                let has_waited = rates.wait(&url).now_or_never();
                assert_eq!(has_waited, Some(false), "{interval:?}");
            }
        }
        assert_eq!(RateLimit::new(1, LONGEST).with_burst(u32::MAX).burst.get(), 99);
        assert_eq!(RateLimit::new(1, Duration::from_secs(1)).with_burst(7).burst.get(), 7);
    }
}
