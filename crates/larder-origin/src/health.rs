//! Which origins are well: what requests have met, and what is asked on purpose.
//!
//! One [`Health`] is shared by all who use the same origins, whichever thread they are on. It counts, and forgets: an origin that
//! failed too often is left alone for a while, and then tried again by a request, unless a check has spoken for it before.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, StatusCode, Uri, header::HOST};
use larder_core::{Body, Origin};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How an origin is asked whether it is well.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HealthCheck {
    /// What is asked for, with GET: an absolute URI, whose path is sent to the origin. Default: `http://health.invalid/`.
    pub uri: Uri,
    /// How often. Default: 5 s.
    pub every: Duration,
    /// How long the answer may take. Default: 2 s.
    pub timeout: Duration,
    /// So many failures in a row, and it is unwell. Default: 2.
    pub unhealthy_after: u32,
    /// So many good answers in a row, and it is well again. Default: 1.
    pub healthy_after: u32,
    /// The status codes of good answers, first and last. Default: 200 to 399.
    pub status: (StatusCode, StatusCode),
}

impl Default for HealthCheck {
    fn default() -> Self {
        let last = StatusCode::from_u16(399).unwrap_or(StatusCode::OK);
        Self {
            uri: Uri::from_static("http://health.invalid/"),
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            unhealthy_after: 2,
            healthy_after: 1,
            status: (StatusCode::OK, last),
        }
    }
}

/// What is known of some origins.
#[derive(Debug)]
pub struct Health {
    states: Box<[State]>,
}

struct State {
    name: Box<str>,
    /// By checks.
    healthy: AtomicBool,
    /// Failures of requests in a row.
    failures: AtomicU32,
    /// Left alone until then.
    cooldown_until: Mutex<Option<Instant>>,
}

/// One origin, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OriginHealth {
    /// What it is called.
    pub name: String,
    /// Whether requests go to it.
    pub healthy: bool,
}

impl Health {
    /// Of these origins, all of them well.
    pub fn new<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Arc<Self> {
        let state = |name: N| State {
            name: name.into(),
            healthy: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            cooldown_until: Mutex::new(None),
        };
        Arc::new(Self { states: names.into_iter().map(state).collect() })
    }

    /// How many origins there are.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        &self.states[index].name
    }

    /// Whether requests should go to this one.
    pub(crate) fn is_healthy(&self, index: usize) -> bool {
        let state = &self.states[index];
        state.healthy.load(Ordering::Relaxed)
            && (state.failures.load(Ordering::Relaxed) == 0 || !state.is_cooling_down(Instant::now()))
    }

    /// All of them, in order.
    pub fn report(&self) -> Vec<OriginHealth> {
        let each = self.states.iter().enumerate();
        each.map(|(index, state)| OriginHealth {
            name: state.name.to_string(),
            healthy: self.is_healthy(index),
        })
        .collect()
    }

    pub(crate) fn succeeded(&self, index: usize) {
        let failures = &self.states[index].failures;
        if failures.load(Ordering::Relaxed) > 0 {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// After `most` failures in a row it is left alone for `cooldown`.
    pub(crate) fn failed(&self, index: usize, most: u32, cooldown: Duration) {
        let state = &self.states[index];
        let failures = state.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= most.max(1) {
            let mut rests = state.cooldown_until();
            if rests.is_none_or(|until| until <= Instant::now()) {
                tracing::warn!(origin = %state.name, failures, ?cooldown, "origin left alone");
            }
            *rests = Some(Instant::now() + cooldown);
        }
    }

    /// Asks origin `index` again and again, and never ends: to be spawned, once for each origin.
    ///
    /// # Panics
    ///
    /// If there is no such origin.
    pub async fn watch(self: Arc<Self>, index: usize, origin: Arc<dyn Origin>, check: HealthCheck) {
        let state = &self.states[index];
        let (mut good, mut bad) = (0, 0);
        let mut ticks = interval(check.every.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match ask(&*origin, &check).await {
                Ok(()) => (good, bad) = (good + 1, 0),
                Err(why) => {
                    (good, bad) = (0, bad + 1);
                    tracing::debug!(origin = %state.name, why, "health check failed");
                }
            }
            if bad >= check.unhealthy_after.max(1) && state.healthy.swap(false, Ordering::Relaxed) {
                tracing::warn!(origin = %state.name, "origin is unhealthy");
            }
            if good >= check.healthy_after.max(1) {
                // It has just answered: what requests have met before does not count any more.
                state.failures.store(0, Ordering::Relaxed);
                *state.cooldown_until() = None;
                if !state.healthy.swap(true, Ordering::Relaxed) {
                    tracing::warn!(origin = %state.name, "origin is healthy again");
                }
            }
        }
    }
}

/// Why it is not well, if it is not.
async fn ask(origin: &dyn Origin, check: &HealthCheck) -> Result<(), String> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = check.uri.clone();
    if let Some(host) = check.uri.host().and_then(|host| HeaderValue::from_str(host).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    let response = match timeout(check.timeout, origin.fetch(request)).await {
        Err(_) => return Err(format!("no answer within {:?}", check.timeout)),
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    if (check.status.0..=check.status.1).contains(&status) { Ok(()) } else { Err(status.to_string()) }
}

impl State {
    fn is_cooling_down(&self, now: Instant) -> bool {
        self.cooldown_until().is_some_and(|until| now < until)
    }

    fn cooldown_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.cooldown_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (well: {})", self.name, self.healthy.load(Ordering::Relaxed))
    }
}
