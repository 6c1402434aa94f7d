//! Schedules: when the next run of a page is due, and how old a response may be to count for a run.

use std::{error::Error, fmt, str::FromStr as _, time::Duration};

use croner::Cron;
use jiff::Zoned;

/// Shortest interval between two runs. Shorter intervals are lengthened to it.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Time until the next run of a cron expression without further occurrences.
const NO_OCCURRENCE: Duration = Duration::from_secs(366 * 24 * 3600);

/// The times at which a [`Refresher`](crate::Refresher) fetches a page.
///
/// ```
/// use std::time::Duration;
/// use larder_reqwest::Schedule;
///
/// # fn main() -> Result<(), larder_reqwest::InvalidCron> {
/// let interval = Schedule::every(Duration::from_secs(5));
/// let working_days_at_nine = Schedule::cron("0 9 * * MON-FRI")?;
/// let ahead_of_expiry = Schedule::before_stale(Duration::from_secs(2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Schedule(pub(super) Kind);

/// The kinds of schedules.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A fixed interval.
    Every(Duration),
    /// The occurrences of a cron expression.
    Cron(Box<Cron>),
    /// `margin` before the stored response becomes stale; `fallback` after the last run if that is
    /// not possible.
    BeforeStale { margin: Duration, fallback: Duration },
}

/// The condition under which a stored response counts as the result of this run, because another
/// process has just fetched it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Round {
    /// Its age is at most this number of seconds.
    MaxAge(u64),
    /// It stays fresh for longer than this.
    MinFresh(Duration),
}

/// The error of an invalid cron expression.
pub struct InvalidCron {
    expression: String,
    reason: String,
}

impl Schedule {
    /// Creates a schedule with a fixed interval, at least 100 ms.
    ///
    /// Runs that were missed, because the previous run took longer or the machine slept, are
    /// skipped.
    pub fn every(interval: Duration) -> Self {
        Self(Kind::Every(interval.max(MIN_INTERVAL)))
    }

    /// Creates a schedule from a cron expression, in local time.
    ///
    /// The fields are minute, hour, day of the month, month and day of the week; a field for
    /// seconds may precede them. `*/5 * * * *` means every five minutes, and `0 9 * * MON-FRI`
    /// means at nine o'clock on working days. The wall clock is read at least every 30 s, so that a
    /// run is due at the right time also after the clock was adjusted.
    ///
    /// # Errors
    ///
    /// Returns an [`InvalidCron`] if the expression is invalid.
    pub fn cron(expression: &str) -> Result<Self, InvalidCron> {
        match Cron::from_str(expression) {
            Ok(cron) => Ok(Self(Kind::Cron(Box::new(cron)))),
            Err(error) => Err(InvalidCron { expression: expression.to_owned(), reason: error.to_string() }),
        }
    }

    /// Creates a schedule that fetches a page `margin` before its stored response becomes stale, so
    /// that other requests always find it fresh.
    ///
    /// A page that is not stored, or has a remaining lifetime shorter than `margin`, is fetched
    /// every minute.
    pub fn before_stale(margin: Duration) -> Self {
        Self(Kind::BeforeStale { margin, fallback: Duration::from_secs(60) })
    }

    /// Returns the time from now until the next run.
    ///
    /// `late` is how long ago the previous run was due, `fresh` how long the stored response stays
    /// fresh.
    pub(super) fn next(&self, late: Duration, fresh: Option<Duration>) -> Duration {
        match &self.0 {
            // Counted from the time at which the run was due, so that the intervals do not drift.
            Kind::Every(interval) => {
                let missed = late.as_nanos() / interval.as_nanos();
                let behind = late.as_nanos() - missed * interval.as_nanos();
                *interval - Duration::from_nanos(u64::try_from(behind).unwrap_or(0))
            }
            Kind::Cron(cron) => until_next(cron),
            Kind::BeforeStale { margin, fallback } => {
                fresh.and_then(|fresh| fresh.checked_sub(*margin)).unwrap_or(*fallback).max(MIN_INTERVAL)
            }
        }
    }

    /// Returns the condition under which a response that another process fetched counts for this
    /// run.
    pub(super) fn round(&self) -> Round {
        let max_age =
            |length: Duration| Round::MaxAge(length.saturating_sub(Duration::from_secs(1)).as_secs());
        match &self.0 {
            Kind::Every(interval) => max_age(*interval),
            Kind::Cron(cron) => max_age(until_next(cron)),
            Kind::BeforeStale { margin, .. } => Round::MinFresh(*margin),
        }
    }

    /// Returns whether the times are those of the wall clock, which can be adjusted.
    pub(super) fn is_wall_clock(&self) -> bool {
        matches!(self.0, Kind::Cron(_))
    }
}

/// Returns the time until the next occurrence, by the wall clock.
fn until_next(cron: &Cron) -> Duration {
    let now = Zoned::now();
    // A run may begin slightly early. The same occurrence must not start a second one.
    let next =
        cron.find_next_occurrence(&now.saturating_add(jiff::SignedDuration::from_millis(50)), false).ok();
    next.and_then(|next| next.duration_since(&now).try_into().ok()).unwrap_or(NO_OCCURRENCE)
}

impl fmt::Display for InvalidCron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not a cron expression: {} (minute, hour, day, month, weekday; e.g. '*/5 * * * *' for every five minutes)",
            self.expression, self.reason
        )
    }
}

impl fmt::Debug for InvalidCron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for InvalidCron {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_do_not_drift_nor_pile_up() {
        let schedule = Schedule::every(Duration::from_secs(5));
        for (late, next) in [(0, 5_000), (100, 4_900), (4_999, 1), (5_000, 5_000), (12_000, 3_000)] {
            let next = Duration::from_millis(next);
            assert_eq!(schedule.next(Duration::from_millis(late), None), next, "{late} ms late");
        }
    }

    #[test]
    fn next_run_before_stale() {
        let schedule = Schedule::before_stale(Duration::from_secs(10));
        for (fresh, next) in [(Some(60), 50_000), (Some(10), 100), (Some(5), 60_000), (None, 60_000)] {
            let wait = schedule.next(Duration::ZERO, fresh.map(Duration::from_secs));
            assert_eq!(wait, Duration::from_millis(next), "{fresh:?}");
        }
    }

    #[test]
    fn cron_expressions() {
        let next = Schedule::cron("*/5 * * * *").expect("five fields").next(Duration::ZERO, None);
        assert!(next <= Duration::from_secs(300), "{next:?}");
        let next = Schedule::cron("* * * * * *").expect("six fields").next(Duration::ZERO, None);
        // An occurrence in less than 50 ms counts as the current one.
        assert!(next <= Duration::from_millis(1_050), "{next:?}");
        let error = Schedule::cron("every day").expect_err("an invalid expression").to_string();
        assert!(error.contains("'every day'") && error.contains("e.g."), "{error}");
    }
}
