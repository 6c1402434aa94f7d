//! Defines the clock that the engine reads. [`SystemClock`] is the only code of this crate that
//! reads the system's time.

use std::{fmt, time::SystemTime};

use crate::Timestamp;

/// Supplies the current time to the engine.
///
/// Production code uses [`SystemClock`]. Tests supply a clock that they set:
///
/// ```
/// use larder_core::{Clock, Timestamp};
///
/// /// A clock that stands still.
/// #[derive(Debug)]
/// struct FixedClock(Timestamp);
///
/// impl Clock for FixedClock {
///     fn now(&self) -> Timestamp {
///         self.0
///     }
/// }
///
/// assert_eq!(FixedClock(Timestamp::from_secs(60)).now(), Timestamp::from_millis(60_000));
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current wall-clock time.
    ///
    /// It is wall-clock time because ages are computed from the `Date` of other machines
    /// (RFC 9111 §4.2.3).
    fn now(&self) -> Timestamp;
}

/// The wall clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only function of this crate that reads the system clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::from(SystemTime::now())
    }
}
