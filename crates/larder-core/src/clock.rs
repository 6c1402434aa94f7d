//! The clock. This is the only file of the workspace that reads one.

use std::{fmt, time::SystemTime};

use crate::Timestamp;

/// Tells the time to the engine. Tests use a manual one.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Now, by the wall clock: ages are compared with what other machines say (RFC 9111 §4.2.3).
    fn now(&self) -> Timestamp;
}

/// The system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from(SystemTime::now())
    }
}
