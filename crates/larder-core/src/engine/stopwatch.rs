//! Measures the durations of one request, in tokio's time, which tests control.

use std::time::Duration;

use tokio::time::Instant;

/// Measures the durations of one request. Exists only if the cache has an observer, so that other
/// caches read no clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch {
    started: Instant,
    /// The time that the lookup took.
    pub(super) lookup: Duration,
}

impl Stopwatch {
    /// Starts to measure, before the lookup.
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), lookup: Duration::ZERO }
    }

    /// Records the end of the lookup.
    pub(super) fn after_lookup(self) -> Self {
        Self { lookup: self.whole(), ..self }
    }

    /// Returns the time since the start.
    pub(super) fn whole(&self) -> Duration {
        self.started.elapsed()
    }
}
