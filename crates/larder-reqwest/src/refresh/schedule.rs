//! When a page is fetched again.

use std::{error::Error, fmt, str::FromStr as _, time::Duration};

use croner::Cron;
use jiff::Zoned;

/// The shortest interval; shorter ones are taken for it.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long to wait for the next run of an expression that has none any more.
const NEVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// When a page is fetched again.
#[derive(Debug, Clone)]
pub struct Schedule(pub(super) Kind);

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Every(Duration),
    Cron(Box<Cron>),
    BeforeStale { margin: Duration, otherwise: Duration },
}

/// What tells that a response was fetched in this round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Round {
    /// It is at most so many seconds old.
    Younger(u64),
    /// It stays fresh for longer than this.
    Fresher(Duration),
}

/// An expression that can't be understood.
#[derive(Debug)]
pub struct CronError {
    expression: String,
    why: String,
}

impl Schedule {
    /// At this interval, at least 100 ms. Runs that were missed, since the one before took longer or the machine slept, are
    /// left out.
    pub fn every(interval: Duration) -> Self {
        Self(Kind::Every(interval.max(SHORTEST)))
    }

    /// At the times of a cron expression, in local time: minute, hour, day, month, weekday; with a sixth field before them,
    /// seconds. `*/5 * * * *` is every five minutes, `0 9 * * MON-FRI` at nine on working days.
    ///
    /// # Errors
    ///
    /// If the expression can't be understood.
    pub fn cron(expression: &str) -> Result<Self, CronError> {
        match Cron::from_str(expression) {
            Ok(cron) => Ok(Self(Kind::Cron(Box::new(cron)))),
            Err(error) => Err(CronError { expression: expression.to_owned(), why: error.to_string() }),
        }
    }

    /// So long before the stored response goes stale, so that whoever asks meanwhile finds it fresh. Pages that are not
    /// stored, or stale at once, are fetched every minute.
    pub fn before_stale(margin: Duration) -> Self {
        Self(Kind::BeforeStale { margin, otherwise: Duration::from_secs(60) })
    }

    /// How long from now until the next run after one that was due `late` ago. `fresh` is how long what is stored stays
    /// fresh.
    pub(super) fn next(&self, late: Duration, fresh: Option<Duration>) -> Duration {
        match &self.0 {
            // From when it was due, not from now: the intervals don't drift.
            Kind::Every(interval) => {
                let missed = late.as_nanos() / interval.as_nanos();
                let behind = late.as_nanos() - missed * interval.as_nanos();
                *interval - Duration::from_nanos(u64::try_from(behind).unwrap_or(0))
            }
            Kind::Cron(cron) => until(cron),
            Kind::BeforeStale { margin, otherwise } => {
                fresh.and_then(|fresh| fresh.checked_sub(*margin)).unwrap_or(*otherwise).max(SHORTEST)
            }
        }
    }

    /// How old a response may be that was fetched in this round, perhaps by another process.
    pub(super) fn round(&self) -> Round {
        let whole =
            |length: Duration| Round::Younger(length.saturating_sub(Duration::from_secs(1)).as_secs());
        match &self.0 {
            Kind::Every(interval) => whole(*interval),
            Kind::Cron(cron) => whole(until(cron)),
            Kind::BeforeStale { margin, .. } => Round::Fresher(*margin),
        }
    }

    /// Whether its times are those of the clock on the wall, which may be set.
    pub(super) fn is_by_the_wall(&self) -> bool {
        matches!(self.0, Kind::Cron(_))
    }
}

/// By the clock on the wall.
fn until(cron: &Cron) -> Duration {
    let now = Zoned::now();
    // A run may begin a little early; it is not to begin twice.
    let next =
        cron.find_next_occurrence(&now.saturating_add(jiff::SignedDuration::from_millis(50)), false).ok();
    next.and_then(|next| next.duration_since(&now).try_into().ok()).unwrap_or(NEVER)
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no cron expression: {} (minute, hour, day, month, weekday; e.g. '*/5 * * * *' for every five minutes)",
            self.expression, self.why
        )
    }
}

impl Error for CronError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_do_not_drift_nor_pile_up() {
        let when = Schedule::every(Duration::from_secs(5));
        for (late, next) in [(0, 5_000), (100, 4_900), (4_999, 1), (5_000, 5_000), (12_000, 3_000)] {
            let next = Duration::from_millis(next);
            assert_eq!(when.next(Duration::from_millis(late), None), next, "{late} ms late");
        }
    }

    #[test]
    fn before_it_goes_stale() {
        let when = Schedule::before_stale(Duration::from_secs(10));
        for (fresh, next) in [(Some(60), 50_000), (Some(10), 100), (Some(5), 60_000), (None, 60_000)] {
            let found = when.next(Duration::ZERO, fresh.map(Duration::from_secs));
            assert_eq!(found, Duration::from_millis(next), "{fresh:?}");
        }
    }

    #[test]
    fn expressions() {
        let next = Schedule::cron("*/5 * * * *").expect("one").next(Duration::ZERO, None);
        assert!(next <= Duration::from_secs(300), "{next:?}");
        let next = Schedule::cron("* * * * * *").expect("with seconds").next(Duration::ZERO, None);
        // One that is due in less than 50 ms counts as this one.
        assert!(next <= Duration::from_millis(1_050), "{next:?}");
        let error = Schedule::cron("every day").expect_err("none").to_string();
        assert!(error.contains("'every day'") && error.contains("e.g."), "{error}");
    }
}
