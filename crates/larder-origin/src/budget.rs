//! Limits retries in relation to requests, so that an outage is not made worse by asking again.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Most retries that can be saved up, and those that there are at the start.
const MAX_SAVED: f64 = 10.0;

/// Retries that are allowed in each second, whatever the number of requests.
const PER_SECOND: f64 = 1.0;

/// The retries that are allowed at the moment.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// Retries that each request adds.
    per_request: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    saved: f64,
    /// When `saved` was computed.
    at: Instant,
}

impl RetryBudget {
    /// Creates a budget of this many retries for 100 requests.
    pub(crate) fn new(percent: u32) -> Self {
        let state = State { saved: MAX_SAVED, at: Instant::now() };
        Self { per_request: f64::from(percent) / 100.0, state: Mutex::new(state) }
    }

    /// Counts a request.
    pub(crate) fn add_request(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.saved = (state.saved + self.per_request).min(MAX_SAVED);
    }

    /// Takes one retry, and returns whether there was one.
    pub(crate) fn take(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.duration_since(state.at).as_secs_f64();
        state.saved = (state.saved + passed * PER_SECOND).min(MAX_SAVED);
        state.at = now;
        let is_allowed = state.saved >= 1.0;
        if is_allowed {
            state.saved -= 1.0;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_are_limited_by_requests_and_time() {
        let budget = RetryBudget::new(20);
        let mut taken = 0;
        for _ in 0..1000 {
            budget.add_request();
            taken += u32::from(budget.take());
        }
        assert!((205..=215).contains(&taken), "{taken}: 10 at the start, and a fifth of 1,000");
        assert!(!budget.take());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(budget.take() && budget.take() && !budget.take());
    }
}
