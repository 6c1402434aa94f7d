//! Logs failed fetches, not more often than someone can read.

use std::time::Duration;

use larder_core::{LogThrottle, OriginError, OriginErrorKind};

use crate::pool::Server;

/// Shortest time between two messages.
const INTERVAL: Duration = Duration::from_secs(10);

/// Logs failed fetches of one origin.
#[derive(Debug)]
pub(crate) struct FailureLog(LogThrottle);

impl Default for FailureLog {
    fn default() -> Self {
        Self(LogThrottle::new(INTERVAL))
    }
}

impl FailureLog {
    /// Logs a failure, with its causes. One that the client has caused is not logged.
    pub(crate) fn failed(&self, server: &Server, error: &OriginError) {
        if matches!(error.kind(), OriginErrorKind::RequestBody | OriginErrorKind::Closed) {
            return;
        }
        let origin = server.destination();
        match self.0.admit(1) {
            Some(failures) => tracing::warn!(%origin, ?error, failures, "the origin failed"),
            None => tracing::debug!(%origin, ?error, "the origin failed"),
        }
    }
}
