//! [`Health`]: records which origins are healthy, from the results of requests and of health
//! checks.
//!
//! All users of the same origins, on all threads, share one [`Health`]. An origin that failed too
//! often is unhealthy for a cooldown. After that, or after a successful check, it receives requests
//! again.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, StatusCode, Uri, header::HOST};
use larder_core::{Body, Origin};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Options of an active health check, which [`Health::watch`] runs.
///
/// ```
/// use std::time::Duration;
///
/// use larder_origin::HealthCheck;
///
/// let check = HealthCheck::default()
///     .with_uri(http::Uri::from_static("http://example.com/healthz"))
///     .with_interval(Duration::from_secs(10));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HealthCheck {
    /// Absolute URI to request with GET. The origin receives its path, and its host as `Host` (with
    /// [`HyperOptions::origin_host`](crate::HyperOptions::origin_host), the origin's own name). An
    /// origin without [`HyperOptions::to`](crate::HyperOptions::to) sends the check to the host of
    /// this URI. Default: `http://health.invalid/`.
    pub uri: Uri,
    /// Interval between two checks. Default: 5 s; at least 10 ms.
    pub interval: Duration,
    /// Timeout for the head of the response. Default: 2 s. A check that takes longer has failed.
    pub timeout: Duration,
    /// Number of failed checks in a row after which the origin is unhealthy. Default: 2; 0 counts
    /// as 1.
    pub unhealthy_after: u32,
    /// Number of successful checks in a row after which the origin is healthy again. Default: 1; 0
    /// counts as 1.
    pub healthy_after: u32,
    /// First and last status code of a successful check. Default: 200 to 399.
    pub status: (StatusCode, StatusCode),
}

impl Default for HealthCheck {
    fn default() -> Self {
        let last = StatusCode::from_u16(399).unwrap_or(StatusCode::OK);
        Self {
            uri: Uri::from_static("http://health.invalid/"),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            unhealthy_after: 2,
            healthy_after: 1,
            status: (StatusCode::OK, last),
        }
    }
}

impl HealthCheck {
    /// Sets the absolute URI to request with GET ([`uri`](Self::uri)).
    #[must_use]
    pub fn with_uri(mut self, uri: Uri) -> Self {
        self.uri = uri;
        self
    }

    /// Sets the interval between two checks ([`interval`](Self::interval)).
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the timeout for the head of the response ([`timeout`](Self::timeout)).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the number of failed checks in a row after which the origin is unhealthy
    /// ([`unhealthy_after`](Self::unhealthy_after)).
    #[must_use]
    pub fn with_unhealthy_after(mut self, unhealthy_after: u32) -> Self {
        self.unhealthy_after = unhealthy_after;
        self
    }

    /// Sets the number of successful checks in a row after which the origin is healthy again
    /// ([`healthy_after`](Self::healthy_after)).
    #[must_use]
    pub fn with_healthy_after(mut self, healthy_after: u32) -> Self {
        self.healthy_after = healthy_after;
        self
    }

    /// Sets the first and last status code of a successful check ([`status`](Self::status)).
    #[must_use]
    pub fn with_status(mut self, first: StatusCode, last: StatusCode) -> Self {
        self.status = (first, last);
        self
    }
}

/// The health of several origins, updated by [`Failover`](crate::Failover) and by
/// [`Health::watch`].
///
/// ```
/// let health = larder_origin::Health::new(["primary", "standby"]);
/// assert!(health.report().iter().all(|origin| origin.healthy));
/// ```
pub struct Health {
    states: Box<[State]>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.states).finish()
    }
}

/// The state of one origin.
struct State {
    name: Box<str>,
    /// Result of the health checks.
    healthy: AtomicBool,
    /// Number of failed requests in a row.
    failures: AtomicU32,
    /// Number of responses in progress, if a balance depends on it.
    in_progress: AtomicUsize,
    /// End of the cooldown, if failed requests have started one.
    cooldown_until: Mutex<Option<Instant>>,
}

/// The current health of one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OriginHealth {
    /// Name of the origin, as given to [`Health::new`].
    pub name: String,
    /// Whether the origin is healthy. A request is sent to an unhealthy origin only if all healthy
    /// ones have failed, or if there are none.
    pub healthy: bool,
}

impl Health {
    /// Creates the state of the origins with these names, in this order. The names are used in logs
    /// and in [`report`](Self::report). All origins start healthy.
    pub fn new<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Arc<Self> {
        let state = |name: N| State {
            name: name.into(),
            healthy: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            in_progress: AtomicUsize::new(0),
            cooldown_until: Mutex::new(None),
        };
        Arc::new(Self { states: names.into_iter().map(state).collect() })
    }

    /// Returns the number of origins.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// Returns the name of an origin, for logs.
    pub(crate) fn name(&self, index: usize) -> &str {
        &self.states[index].name
    }

    /// Returns whether the origin's checks succeed and it is not in a cooldown.
    pub(crate) fn is_healthy(&self, index: usize) -> bool {
        let state = &self.states[index];
        state.healthy.load(Ordering::Relaxed)
            && (state.failures.load(Ordering::Relaxed) == 0 || !state.is_cooling_down(Instant::now()))
    }

    /// Returns the health of all origins, in order.
    pub fn report(&self) -> Vec<OriginHealth> {
        let each = self.states.iter().enumerate();
        each.map(|(index, state)| OriginHealth {
            name: state.name.to_string(),
            healthy: self.is_healthy(index),
        })
        .collect()
    }

    /// Returns the number of responses of this origin in progress.
    pub(crate) fn in_progress(&self, index: usize) -> usize {
        self.states[index].in_progress.load(Ordering::Relaxed)
    }

    /// Counts a response that begins.
    pub(crate) fn begin(&self, index: usize) {
        self.states[index].in_progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a response that has ended.
    pub(crate) fn end(&self, index: usize) {
        self.states[index].in_progress.fetch_sub(1, Ordering::Relaxed);
    }

    /// Records a successful request: resets the number of failures.
    pub(crate) fn succeeded(&self, index: usize) {
        let failures = &self.states[index].failures;
        if failures.load(Ordering::Relaxed) > 0 {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// Records a failed request. Starts a cooldown if it is the `threshold`th failure in a row or
    /// later.
    pub(crate) fn failed(&self, index: usize, threshold: u32, cooldown: Duration) {
        let state = &self.states[index];
        let failures = state.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= threshold.max(1) {
            let mut cooldown_until = state.cooldown_until();
            if cooldown_until.is_none_or(|until| until <= Instant::now()) {
                tracing::warn!(origin = %state.name, failures, ?cooldown, "origin failed repeatedly, starting its cooldown");
            }
            *cooldown_until = Some(Instant::now() + cooldown);
        }
    }

    /// Checks `origin`, which has this `index`, at the interval of `check`, and never returns.
    ///
    /// Spawn it as a task, once for each origin.
    ///
    /// # Panics
    ///
    /// Panics if there is no origin with this index.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point: the checks stop, and the origin retains its last state.
    pub async fn watch(self: Arc<Self>, index: usize, origin: Arc<dyn Origin>, check: HealthCheck) {
        let state = &self.states[index];
        let (mut successes, mut failures) = (0, 0);
        let mut ticks = interval(check.interval.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match probe(&*origin, &check).await {
                Ok(()) => (successes, failures) = (successes + 1, 0),
                Err(why) => {
                    (successes, failures) = (0, failures + 1);
                    tracing::debug!(origin = %state.name, why, "health check failed");
                }
            }
            if failures >= check.unhealthy_after.max(1) && state.healthy.swap(false, Ordering::Relaxed) {
                tracing::warn!(origin = %state.name, "origin is unhealthy");
            }
            if successes >= check.healthy_after.max(1) {
                // The origin has just responded: earlier failures of requests no longer count.
                state.failures.store(0, Ordering::Relaxed);
                *state.cooldown_until() = None;
                if !state.healthy.swap(true, Ordering::Relaxed) {
                    tracing::warn!(origin = %state.name, "origin is healthy again");
                }
            }
        }
    }
}

/// Sends one check.
///
/// # Errors
///
/// Returns the reason as text if the check failed.
async fn probe(origin: &dyn Origin, check: &HealthCheck) -> Result<(), String> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = check.uri.clone();
    if let Some(host) = check.uri.host().and_then(|host| HeaderValue::from_str(host).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    let response = match timeout(check.timeout, origin.fetch(request)).await {
        Err(_) => return Err(format!("no response within {:?}", check.timeout)),
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    if (check.status.0..=check.status.1).contains(&status) { Ok(()) } else { Err(status.to_string()) }
}

impl State {
    /// Returns whether the origin is in a cooldown.
    fn is_cooling_down(&self, now: Instant) -> bool {
        self.cooldown_until().is_some_and(|until| now < until)
    }

    /// Locks the end of the cooldown.
    fn cooldown_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.cooldown_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (healthy: {})", self.name, self.healthy.load(Ordering::Relaxed))
    }
}
