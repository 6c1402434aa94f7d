//! [`Failover`]: chooses one of several equivalent origins for each request, and retries on the
//! next if one fails.
//!
//! Which origins are healthy is recorded in `health`.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri};
use larder_core::{Body, Origin, OriginError, OriginErrorKind, Upgrade, Upgraded};

use crate::{Balance, Health, balance::Balancer, budget::RetryBudget};

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
    /// The weights of the origins, in order, limited to 1 to 100. An origin without one has 1.
    /// Default: none.
    pub weights: Vec<u32>,
    /// Maximum number of retries of a failed request, each on the next origin. Default: 2; 0
    /// disables retries.
    ///
    /// A request is retried only if its body is in memory, and either its method is idempotent
    /// (RFC 9110 §9.2.2) or the origin has not received it: no connection could be established, or
    /// too many requests were waiting for one
    /// ([`OriginErrorKind::Busy`](larder_core::OriginErrorKind::Busy)). An origin that may have
    /// received it does not get it again.
    pub retries: u32,
    /// Number of retries that 100 requests allow, beside one in each second. Default: 20. Up to 10
    /// retries are saved up. During an outage it keeps the retries from multiplying the load.
    pub retry_percent: u32,
    /// Number of failures in a row after which an origin is unhealthy for
    /// [`cooldown`](Self::cooldown). Default: 3; 0 counts as 1.
    pub failure_threshold: u32,
    /// How long an origin is unhealthy after [`failure_threshold`](Self::failure_threshold)
    /// failures. Default: 10 s. Each further failed request starts the time again.
    pub cooldown: Duration,
}

impl Default for FailoverOptions {
    fn default() -> Self {
        Self {
            balance: Balance::First,
            weights: Vec::new(),
            retries: 2,
            retry_percent: 20,
            failure_threshold: 3,
            cooldown: Duration::from_secs(10),
        }
    }
}

impl FailoverOptions {
    /// Sets how the first origin for a request is chosen ([`balance`](Self::balance)).
    #[must_use]
    pub fn with_balance(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self
    }

    /// Sets the weights of the origins, in order ([`weights`](Self::weights)).
    #[must_use]
    pub fn with_weights(mut self, weights: impl Into<Vec<u32>>) -> Self {
        self.weights = weights.into();
        self
    }

    /// Sets the number of retries that 100 requests allow ([`retry_percent`](Self::retry_percent)).
    #[must_use]
    pub fn with_retry_percent(mut self, retry_percent: u32) -> Self {
        self.retry_percent = retry_percent;
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
/// An attempt fails if there is no response, or a 502, 503 or 504. An origin that may have received
/// the request does not get it again. An origin is unhealthy if it failed too often or did not pass
/// its health check. A request is sent to it only if all healthy ones have failed, or if there are
/// none. If every attempt fails, the caller receives the last failure.
///
/// A request with a streamed body has one attempt, because the body cannot be sent twice, and one
/// that switches protocols ([`Upgrade`]) has one, too. See
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
    balancer: Balancer,
    budget: RetryBudget,
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
        let balancer = Balancer::new(options.balance, origins.len(), &options.weights);
        let budget = RetryBudget::new(options.retry_percent);
        Self { origins: origins.into(), health, options, balancer, budget }
    }

    /// Sends a request to one origin.
    async fn attempt(&self, index: usize, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let in_progress = self.balancer.begin(&self.health, index);
        let mut response = self.origins[index].fetch(request).await?;
        let Some(in_progress) = in_progress else { return Ok(response) };
        if let Some(connection) = Upgraded::detach(&mut response) {
            connection.with_guard(in_progress).attach(&mut response);
            return Ok(response);
        }
        Ok(response.map(|body| body.on_end(move |_| drop(in_progress))))
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
                // The limit of this process is reached, which is not a failure of the origin.
                OriginErrorKind::Busy => return AttemptOutcome::NotSent,
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
    /// With the report of the exchange, if it has one.
    extensions: Extensions,
    content: bytes::Bytes,
}

impl ReplayableRequest {
    /// Creates a request for one attempt.
    fn to_request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.content.clone()));
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.fields);
        request.extensions_mut().clone_from(&self.extensions);
        request
    }
}

#[async_trait]
impl Origin for Failover {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let order = self.balancer.order(&self.health);
        self.budget.add_request();
        let (parts, body) = request.into_parts();
        // A connection that may switch protocols is not opened twice.
        let is_once = self.options.retries == 0 || parts.extensions.get::<Upgrade>().is_some();
        let content = match body.try_into_bytes() {
            Ok(content) if !is_once => content,
            body => {
                // A body that streams can be sent once.
                let body = body.map_or_else(|streaming| streaming, Body::from);
                let index = order[0];
                let result = self.attempt(index, Request::from_parts(parts, body)).await;
                self.record(index, &result);
                return result;
            }
        };
        let http::request::Parts { method, uri, headers: fields, extensions, .. } = parts;
        let replayable = ReplayableRequest { method, uri, fields, extensions, content };
        let mut retries_left = self.options.retries;
        let mut may_have_received = vec![false; order.len()];
        let mut position = 0;
        loop {
            let index = order[position];
            let result = self.attempt(index, replayable.to_request()).await;
            let is_repeatable = match self.record(index, &result) {
                AttemptOutcome::Success | AttemptOutcome::NotRetryable => false,
                AttemptOutcome::NotSent => true,
                AttemptOutcome::Interrupted | AttemptOutcome::Unavailable => {
                    may_have_received[position] = true;
                    replayable.method.is_idempotent()
                }
            };
            // If there are more retries than origins, the order starts again.
            let others = (position + 1..order.len()).chain(0..=position);
            let next = others.into_iter().find(|position| !may_have_received[*position]);
            let Some(next) = next.filter(|_| is_repeatable && retries_left > 0) else { return result };
            if !self.budget.take() {
                tracing::debug!(origin = self.health.name(index), "no retry: too many requests fail");
                return result;
            }
            retries_left -= 1;
            position = next;
            tracing::debug!(origin = self.health.name(index), "retrying on the next origin");
        }
    }

    fn supports_background_revalidation(&self) -> bool {
        self.origins.iter().all(|origin| origin.supports_background_revalidation())
    }
}
