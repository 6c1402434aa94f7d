//! Logs failed fetches, not more often than someone can read.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::{OriginError, OriginErrorKind};
use tokio::time::Instant;

use crate::pool::Server;

/// Shortest time between two messages.
const INTERVAL: Duration = Duration::from_secs(10);

/// Logs failed fetches of one origin.
#[derive(Debug, Default)]
pub(crate) struct FailureLog {
    last: Mutex<Option<Instant>>,
    /// Number of failures since the last message.
    suppressed: AtomicU64,
}

impl FailureLog {
    /// Logs a failure, with its causes. One that the client has caused is not logged.
    pub(crate) fn failed(&self, server: &Server, error: &OriginError) {
        if matches!(error.kind(), OriginErrorKind::RequestBody | OriginErrorKind::Closed) {
            return;
        }
        let origin = server.destination();
        if self.is_due() {
            let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
            tracing::warn!(%origin, ?error, suppressed, "the origin failed");
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%origin, ?error, "the origin failed");
        }
    }

    /// Returns whether a message may be written now, and records it.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_message_in_ten_seconds() {
        let log = FailureLog::default();
        assert!(log.is_due() && !log.is_due());
        tokio::time::advance(INTERVAL).await;
        assert!(log.is_due() && !log.is_due());
    }
}
