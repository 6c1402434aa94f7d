//! Schedules: when the next run of a page is due, and how old a response may be to count for a run.

use std::{error::Error, fmt, str::FromStr as _, time::Duration};

use croner::Cron;
use jiff::Zoned;
use larder_core::policy::Timestamp;

use super::run::Round;

/// Shortest interval between two runs. Shorter intervals are lengthened to it.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Time until the next run of a cron expression without further occurrences.
const NO_OCCURRENCE: Duration = Duration::from_secs(366 * 24 * 3600);
/// Longest time until a run. The sum of an instant and a longer one may not exist.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How much earlier than an occurrence of a cron expression a confirmation may be that counts for
/// it: the clocks of machines differ.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);

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
    /// A fixed interval. With `fresh_only`, a stored response counts only if it is fresh.
    Every { interval: Duration, fresh_only: bool },
    /// The occurrences of a cron expression.
    Cron(Box<Cron>),
    /// `margin` before the stored response becomes stale; `fallback` after the last run if that is
    /// not possible.
    BeforeStale { margin: Duration, fallback: Duration },
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
        Self(Kind::Every { interval: interval.clamp(MIN_INTERVAL, CENTURY), fresh_only: false })
    }

    /// Creates a schedule with a fixed interval, at least 100 ms, at which a stored response counts
    /// only if it is fresh.
    ///
    /// [`every`](Self::every) also takes a response that another process has fetched in the same
    /// round if it is stale.
    pub fn every_unless_fresh(interval: Duration) -> Self {
        Self(Kind::Every { interval: interval.clamp(MIN_INTERVAL, CENTURY), fresh_only: true })
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
    /// every minute. Two runs are at least
    /// [`min_interval`](crate::RefresherBuilder::min_interval) apart, by default a second.
    pub fn before_stale(margin: Duration) -> Self {
        Self(Kind::BeforeStale { margin, fallback: Duration::from_secs(60) })
    }

    /// Returns the time from now until the next run.
    ///
    /// `late` is how long ago the previous run was due, `fresh` how long the response was fresh
    /// when it arrived, and how long ago that was. `floor` is the shortest time for schedules that
    /// follow the lifetime of a response.
    pub(super) fn next(
        &self,
        late: Duration,
        fresh: Option<(Duration, Duration)>,
        floor: Duration,
    ) -> Duration {
        match &self.0 {
            // Counted from the time at which the run was due, so that the intervals do not drift.
            Kind::Every { interval, .. } => {
                let missed = late.as_nanos() / interval.as_nanos();
                let behind = late.as_nanos() - missed * interval.as_nanos();
                *interval - Duration::from_nanos(u64::try_from(behind).unwrap_or(0))
            }
            Kind::Cron(cron) => until_next(cron),
            Kind::BeforeStale { margin, fallback } => {
                let wait =
                    fresh.and_then(|(fresh, ago)| Some(fresh.checked_sub(*margin)?.saturating_sub(ago)));
                wait.unwrap_or(*fallback).max(floor)
            }
        }
    }

    /// Returns the time from now until the next run, if another process has fetched the page `ago`.
    ///
    /// It is a tenth of the interval after that process's next run: if that one still runs, this
    /// one finds its response.
    pub(super) fn next_after_other(&self, ago: Duration) -> Option<Duration> {
        match &self.0 {
            Kind::Every { interval, .. } => {
                Some((*interval + *interval / 10).saturating_sub(ago).max(*interval / 10))
            }
            Kind::Cron(_) | Kind::BeforeStale { .. } => None,
        }
    }

    /// Returns the condition under which a response that another process has fetched counts for
    /// this run.
    ///
    /// `due` is the time at which the run was due, by the wall clock.
    pub(super) fn round(&self, due: Timestamp) -> Round {
        let before = |time: Duration| {
            Timestamp::from_millis(
                due.as_millis().saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            )
        };
        match &self.0 {
            Kind::Every { interval, fresh_only } => {
                Round::Since { start: before(*interval), length: *interval, fresh_only: *fresh_only }
            }
            Kind::Cron(cron) => {
                let length = until_next(cron);
                let start = before(CLOCK_TOLERANCE.min(length / 2));
                Round::Since { start, length, fresh_only: false }
            }
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

    const FLOOR: Duration = Duration::from_secs(1);

    #[test]
    fn intervals_do_not_drift_nor_pile_up() {
        let schedule = Schedule::every(Duration::from_secs(5));
        for (late, next) in [(0, 5_000), (100, 4_900), (4_999, 1), (5_000, 5_000), (12_000, 3_000)] {
            let next = Duration::from_millis(next);
            assert_eq!(schedule.next(Duration::from_millis(late), None, FLOOR), next, "{late} ms late");
        }
    }

    #[test]
    fn the_run_after_that_of_another_process_is_a_tenth_later() {
        let schedule = Schedule::every(Duration::from_secs(10));
        for (ago, next) in [(0, 11_000), (4_000, 7_000), (10_000, 1_000), (60_000, 1_000)] {
            let wait = schedule.next_after_other(Duration::from_millis(ago));
            assert_eq!(wait, Some(Duration::from_millis(next)), "{ago} ms ago");
        }
    }

    #[test]
    fn next_run_before_stale() {
        let schedule = Schedule::before_stale(Duration::from_secs(10));
        for (fresh, next) in [
            (Some(60), 49_900),
            (Some(10), 1_000),
            (Some(11), 1_000),
            (Some(12), 1_900),
            (Some(5), 60_000),
            (None, 60_000),
        ] {
            let wait = schedule.next(
                Duration::ZERO,
                fresh.map(|fresh| (Duration::from_secs(fresh), Duration::from_millis(100))),
                FLOOR,
            );
            assert_eq!(wait, Duration::from_millis(next), "{fresh:?}");
        }
    }

    #[test]
    fn cron_expressions() {
        let next = Schedule::cron("*/5 * * * *").expect("five fields").next(Duration::ZERO, None, FLOOR);
        assert!(next <= Duration::from_secs(300), "{next:?}");
        let next = Schedule::cron("* * * * * *").expect("six fields").next(Duration::ZERO, None, FLOOR);
        // An occurrence in less than 50 ms counts as the current one.
        assert!(next <= Duration::from_millis(1_050), "{next:?}");
        let error = Schedule::cron("every day").expect_err("an invalid expression").to_string();
        assert!(error.contains("'every day'") && error.contains("e.g."), "{error}");
    }
}
