//! Limits how often messages about one subject are written to the log. What is written is
//! decided by the callers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Decides which events of one kind are written to the log: at most one in each interval.
///
/// For messages about what clients, origins or stores cause, of which there may be thousands a
/// second. A message states how many events it stands for. Use one value for each kind of event.
///
/// ```
/// use std::time::Duration;
/// use larder_core::LogThrottle;
///
/// static FAILURES: LogThrottle = LogThrottle::new(Duration::from_secs(10));
///
/// fn failed(error: &std::io::Error) {
///     if let Some(failures) = FAILURES.admit(1) {
///         eprintln!("{failures} times: {error}");
///     }
/// }
/// ```
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    last: Mutex<Option<Instant>>,
    /// Number of events since the last message.
    events: AtomicU64,
}

impl LogThrottle {
    /// Creates a value that admits a message at once, and then at most one in each `interval`.
    pub const fn new(interval: Duration) -> Self {
        Self { interval, last: parking_lot::const_mutex(None), events: AtomicU64::new(0) }
    }

    /// Counts `events`. Returns the number of events since the last message, including these, if a
    /// message may be written now.
    pub fn admit(&self, events: u64) -> Option<u64> {
        self.events.fetch_add(events, Ordering::Relaxed);
        let now = Instant::now();
        let mut last = self.last.lock();
        if last.is_some_and(|last| now.duration_since(last) < self.interval) {
            return None;
        }
        *last = Some(now);
        Some(self.events.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_message_in_each_interval_which_counts_all() {
        let throttle = LogThrottle::new(Duration::from_secs(10));
        assert_eq!(throttle.admit(1), Some(1));
        assert_eq!((throttle.admit(2), throttle.admit(1)), (None, None));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!((throttle.admit(1), throttle.admit(1)), (Some(4), None));
    }
}
