//! Leaving a server alone that does not answer: after a few failures nobody asks for a while, and then one asks.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures in a row, after which nobody asks.
const FAILURES: u32 = 5;
/// How long, at first and at most. The last is what recovery may take longer than the servers.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// Counts failures, and says whether to ask.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    /// Calls that were not made.
    pub(crate) rejected: AtomicU64,
    pub(crate) failed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    pause: Duration,
    until: Option<Instant>,
}

impl Breaker {
    /// Whether to ask. When a pause is over, one may, and the others wait for what comes of it.
    pub(crate) fn allow(&self) -> bool {
        let mut state = self.state.lock();
        let Some(until) = state.until else { return true };
        let now = Instant::now();
        if now < until {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        state.until = Some(now + state.pause);
        true
    }

    pub(crate) fn succeeded(&self) {
        let mut state = self.state.lock();
        if state.failures > 0 {
            *state = State::default();
        }
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.failures += 1;
        if state.failures >= FAILURES {
            state.pause = (state.pause * 2).clamp(FIRST, LONGEST);
            // Not all of a fleet at the same moment.
            let mut random = [0; 1];
            let _ = getrandom::fill(&mut random);
            let jitter = state.pause.mul_f64(f64::from(random[0]) / 512.0);
            state.until = Some(Instant::now() + state.pause - jitter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_and_lets_one_try() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert!(breaker.allow());
            breaker.failed();
        }
        assert!(!breaker.allow());
        tokio::time::advance(FIRST).await;
        assert!(breaker.allow(), "one tries");
        assert!(!breaker.allow(), "and only one");
        breaker.failed();
        for _ in 0..20 {
            tokio::time::advance(LONGEST).await;
            assert!(breaker.allow(), "never longer than the longest pause");
            breaker.failed();
        }
        tokio::time::advance(LONGEST).await;
        assert!(breaker.allow());
        breaker.succeeded();
        assert!(breaker.allow() && breaker.allow());
    }
}
