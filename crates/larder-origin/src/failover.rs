//! [`Failover`]: chooses one of several equivalent origins for each request, and retries on the
//! next if one fails.
//!
//! Which origins are healthy is recorded in `health`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use larder_core::{Body, Origin, OriginError, OriginErrorKind};

use crate::Health;

/// How [`Failover`] chooses among healthy origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Balance {
    /// The first healthy origin; the others are standbys.
    #[default]
    First,
    /// Each healthy origin in turn.
    RoundRobin,
}

/// Options of [`Failover`]: balancing, retries and when an origin counts as failed.
///
/// ```
/// use larder_origin::{Balance, FailoverOptions};
///
/// let options = FailoverOptions::default().with_balance(Balance::RoundRobin).with_retries(1);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailoverOptions {
    /// How the first origin for a request is chosen. Default: [`Balance::First`].
    pub balance: Balance,
    /// Maximum number of retries of a failed request, each on the next origin. Default: 2; 0
    /// disables retries.
    ///
    /// A request is retried only if its body is in memory, and either its method is idempotent
    /// (RFC 9110 §9.2.2) or no connection could be established, so that the origin has not received
    /// it.
    pub retries: u32,
    /// Number of failures in a row after which an origin is unhealthy for
    /// [`cooldown`](Self::cooldown). Default: 3; 0 counts as 1.
    pub failure_threshold: u32,
    /// How long an origin is unhealthy after [`failure_threshold`](Self::failure_threshold)
    /// failures. Default: 10 s. Each further failed request starts the time again.
    pub cooldown: Duration,
}

impl Default for FailoverOptions {
    fn default() -> Self {
        Self { balance: Balance::First, retries: 2, failure_threshold: 3, cooldown: Duration::from_secs(10) }
    }
}

impl FailoverOptions {
    /// Sets how the first origin for a request is chosen ([`balance`](Self::balance)).
    #[must_use]
    pub fn with_balance(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self
    }

    /// Sets the maximum number of retries of a failed request, each on the next origin
    /// ([`retries`](Self::retries)).
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets the number of failures in a row after which an origin is unhealthy
    /// ([`failure_threshold`](Self::failure_threshold)).
    #[must_use]
    pub fn with_failure_threshold(mut self, failure_threshold: u32) -> Self {
        self.failure_threshold = failure_threshold;
        self
    }

    /// Sets how long an origin is unhealthy after too many failures ([`cooldown`](Self::cooldown)).
    #[must_use]
    pub fn with_cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }
}

/// An origin that consists of several equivalent origins: if one fails, the request is retried on
/// the next.
///
/// An attempt fails if there is no response, or a 502, 503 or 504. The retries after such a status
/// end when every origin has had one attempt. An origin is unhealthy if it failed too often or did
/// not pass its health check. A request is sent to it only if all healthy ones have failed, or if
/// there are none. If every attempt fails, the caller receives the last failure.
///
/// A request with a streamed body has one attempt, because the body cannot be sent twice. See
/// [`FailoverOptions::retries`] for the requests that are retried.
///
/// ```
/// use std::sync::Arc;
///
/// use larder_core::Origin;
/// use larder_origin::{Failover, FailoverOptions, Health, HyperOptions, HyperOrigin};
///
/// # fn main() -> Result<(), larder_origin::OptionsError> {
/// let urls = ["http://10.0.0.1:3000", "http://10.0.0.2:3000"];
/// let mut origins: Vec<Arc<dyn Origin>> = Vec::new();
/// for url in urls {
///     origins.push(Arc::new(HyperOrigin::new(HyperOptions::to(url)?)?));
/// }
/// let failover = Failover::new(origins, Health::new(urls), FailoverOptions::default());
/// # drop(failover);
/// # Ok(())
/// # }
/// ```
pub struct Failover {
    origins: Box<[Arc<dyn Origin>]>,
    health: Arc<Health>,
    options: FailoverOptions,
    turn: AtomicUsize,
}

impl fmt::Debug for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failover")
            .field("balance", &self.options.balance)
            .field("origins", &self.health)
            .finish_non_exhaustive()
    }
}

impl Failover {
    /// Creates a failover over `origins`. `health` must have the same origins in the same order.
    ///
    /// # Panics
    ///
    /// Panics if there are no origins, or if their number differs from that in `health`.
    pub fn new(origins: Vec<Arc<dyn Origin>>, health: Arc<Health>, options: FailoverOptions) -> Self {
        assert!(
            !origins.is_empty() && origins.len() == health.len(),
            "Failover needs at least one origin, and as many origins as its Health has"
        );
        Self { origins: origins.into(), health, options, turn: AtomicUsize::new(0) }
    }

    /// Returns the order of the attempts as indexes of origins: healthy ones first, then unhealthy
    /// ones. Health is read once, so that a failure during the request does not change the order.
    fn order(&self) -> impl Iterator<Item = usize> {
        let count = self.origins.len();
        let first = match self.options.balance {
            Balance::First => 0,
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        let mut order: Vec<usize> = (0..count).map(|step| (first + step) % count).collect();
        order.sort_by_cached_key(|index| !self.health.is_healthy(*index));
        // If there are more retries than origins, the order starts again.
        order.into_iter().cycle()
    }

    /// Records the result of an attempt in the health of its origin, and returns its outcome.
    fn record(&self, index: usize, result: &Result<Response<Body>, OriginError>) -> AttemptOutcome {
        let outcome = match result {
            Ok(response) if is_unavailable(response.status()) => AttemptOutcome::Unavailable,
            Ok(_) => {
                self.health.succeeded(index);
                return AttemptOutcome::Success;
            }
            Err(error) => match error.kind() {
                // Caused by the client or by this process, not by the origin.
                OriginErrorKind::RequestBody | OriginErrorKind::Closed => {
                    return AttemptOutcome::NotRetryable;
                }
                OriginErrorKind::Connect => AttemptOutcome::NotSent,
                _ => AttemptOutcome::Interrupted,
            },
        };
        self.health.failed(index, self.options.failure_threshold, self.options.cooldown);
        outcome
    }
}

/// How an attempt at one origin ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttemptOutcome {
    /// The origin responded with a status other than 502, 503 and 504.
    Success,
    /// Failed for a reason that is independent of the origin.
    NotRetryable,
    /// The connection failed: the origin has not received the request.
    NotSent,
    /// Failed without a response: the origin may have processed the request.
    Interrupted,
    /// The origin responded with 502, 503 or 504.
    Unavailable,
}

/// Returns whether a proxy, or a server that is shutting down, reports with this status that it
/// cannot respond.
fn is_unavailable(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// A request with its body in memory, which can be sent several times.
struct ReplayableRequest {
    method: Method,
    uri: Uri,
    fields: HeaderMap,
    content: bytes::Bytes,
}

impl ReplayableRequest {
    /// Creates a request for one attempt.
    fn to_request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.content.clone()));
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.fields);
        request
    }
}

#[async_trait]
impl Origin for Failover {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let mut order = self.order();
        let (parts, body) = request.into_parts();
        let content = match body.try_into_bytes() {
            Ok(content) if self.options.retries > 0 => content,
            body => {
                // A body that streams can be sent once.
                let body = body.map_or_else(|streaming| streaming, Body::from);
                let index = order.next().unwrap_or_default();
                let result = self.origins[index].fetch(Request::from_parts(parts, body)).await;
                self.record(index, &result);
                return result;
            }
        };
        let replayable =
            ReplayableRequest { method: parts.method, uri: parts.uri, fields: parts.headers, content };
        let mut retries_left = self.options.retries;
        for (attempt, index) in order.enumerate() {
            let result = self.origins[index].fetch(replayable.to_request()).await;
            let repeatable = match self.record(index, &result) {
                AttemptOutcome::Success | AttemptOutcome::NotRetryable => false,
                AttemptOutcome::NotSent => true,
                AttemptOutcome::Interrupted => replayable.method.is_idempotent(),
                // An origin that reports that it is unavailable gets one attempt for each request.
                AttemptOutcome::Unavailable => {
                    replayable.method.is_idempotent() && attempt + 1 < self.origins.len()
                }
            };
            if !repeatable || retries_left == 0 {
                return result;
            }
            retries_left -= 1;
            tracing::debug!(origin = self.health.name(index), "retrying on the next origin");
        }
        Err(OriginError::new(OriginErrorKind::Connect))
    }

    fn supports_background_revalidation(&self) -> bool {
        self.origins.iter().all(|origin| origin.supports_background_revalidation())
    }
}
