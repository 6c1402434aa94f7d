//! A page of a refresher's set, and the settings that all pages share.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::Url;
use tokio::time::Instant;

use super::{schedule::Schedule, snapshot::Snapshot};
use crate::{rate::Rates, retry::MAX_RETRY_AFTER};

/// The settings of a refresher.
#[derive(Debug)]
pub(super) struct Settings {
    /// Longest random delay of a run.
    pub(super) jitter: Duration,
    /// Number of concurrent requests.
    pub(super) concurrency: usize,
    /// Number of concurrent requests to one host.
    pub(super) per_host: usize,
    /// Longest pause after failures.
    pub(super) max_backoff: Duration,
    /// The limit on the rate of requests to each host.
    pub(super) rates: Option<Arc<Rates>>,
    /// Longest pause that a server can request.
    pub(super) max_retry_after: Duration,
    /// Shortest time between two runs that follow the lifetime of a response.
    pub(super) min_interval: Duration,
    /// Longest body that an event carries, in bytes.
    pub(super) max_body: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            jitter: Duration::ZERO,
            concurrency: 64,
            per_host: 6,
            max_backoff: Duration::from_secs(3600),
            rates: None,
            max_retry_after: MAX_RETRY_AFTER,
            min_interval: Duration::from_secs(1),
            max_body: 8 << 20,
        }
    }
}

/// A page of the set.
pub(super) struct Page {
    pub(super) url: Url,
    pub(super) schedule: Schedule,
    /// The time at which the round begins: that of the next run without its random delay.
    pub(super) round: Instant,
    /// The time of the next run, or of the next look at the wall clock.
    pub(super) due: Instant,
    /// The time of the next run by the wall clock, for schedules that follow it.
    pub(super) wall_due: Option<Timestamp>,
    /// The state after the last successful run.
    pub(super) snapshot: Option<Snapshot>,
    /// The last confirmation by the origin that counted for a run.
    pub(super) counted: Option<larder_core::policy::Timestamp>,
    /// The URL to which the page has moved permanently, as it was reported.
    pub(super) moved_to: Option<Url>,
    /// Number of failures in a row.
    pub(super) failures: u32,
}

impl Page {
    /// Counts a failure, and returns the pause before the next run.
    pub(super) fn record_failure(&mut self, late: Duration, settings: &Settings) -> Duration {
        let usual = self.schedule.next(late, None, settings.min_interval);
        let doubled = usual.saturating_mul(2_u32.saturating_pow(self.failures.min(20)));
        self.failures += 1;
        doubled.min(settings.max_backoff.max(usual))
    }
}
