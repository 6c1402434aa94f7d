//! The circuit breaker: after five failures in a row no command is sent for a pause of 50 to 1,000
//! ms, then a few commands probe the server. What counts as a failure is decided in `client`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures in a row that open the breaker.
const FAILURE_THRESHOLD: u32 = 5;
/// Commands that may be sent after a pause. One operation on a Cluster needs two at once: if only
/// one of them were sent, the operation would end before its reply, and no reply would ever count.
const PROBES: u32 = 4;
/// The first pause. Each further failure doubles the pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause, and so the longest delay between the server's recovery and the next probe.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Counts failures and decides whether a command may be sent.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    /// Commands that were not sent because the breaker was open.
    pub(crate) rejected: AtomicU64,
    /// Failures that were recorded.
    pub(crate) failed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Failures since the last success.
    failures: u32,
    pause: Duration,
    /// Probes that may still be sent before the end of the current pause.
    probes: u32,
    /// End of the current pause. `None` while the breaker is closed.
    open_until: Option<Instant>,
}

impl Breaker {
    /// Returns whether a command may be sent now, and counts a rejection if not.
    ///
    /// After a pause only [`PROBES`] callers get `true`. The others are rejected until one of those
    /// commands succeeds or another pause has passed.
    pub(crate) fn allow(&self) -> bool {
        let mut state = self.state.lock();
        let Some(open_until) = state.open_until else { return true };
        let now = Instant::now();
        if now >= open_until {
            state.open_until = Some(now + state.pause);
            state.probes = PROBES;
        }
        let is_probe = state.probes > 0;
        state.probes = state.probes.saturating_sub(1);
        if !is_probe {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        is_probe
    }

    /// Records a response of the server and closes the breaker.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state.lock();
        if state.failures > 0 {
            *state = State::default();
        }
    }

    /// Records a failure. Opens the breaker from the fifth failure in a row.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.failures += 1;
        if state.failures >= FAILURE_THRESHOLD {
            state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            // Up to half of the pause is random, so that the processes of a fleet do not probe at
            // once.
            let mut random = [0; 1];
            let _ = getrandom::fill(&mut random);
            let jitter = state.pause.mul_f64(f64::from(random[0]) / 512.0);
            state.open_until = Some(Instant::now() + state.pause - jitter);
            state.probes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_and_lets_few_try() {
        let breaker = Breaker::default();
        for _ in 0..FAILURE_THRESHOLD {
            assert!(breaker.allow());
            breaker.failed();
        }
        assert!(!breaker.allow());
        tokio::time::advance(FIRST_PAUSE).await;
        for _ in 0..PROBES {
            assert!(breaker.allow(), "some commands probe the server");
        }
        assert!(!breaker.allow(), "and no others");
        breaker.failed();
        for _ in 0..20 {
            tokio::time::advance(LONGEST_PAUSE).await;
            assert!(breaker.allow(), "never longer than the longest pause");
            breaker.failed();
        }
        tokio::time::advance(LONGEST_PAUSE).await;
        assert!(breaker.allow());
        breaker.succeeded();
        assert!(breaker.allow() && breaker.allow());
    }
}
