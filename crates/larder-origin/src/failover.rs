//! Several origins that have the same: the next one, where one fails.

use std::{
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

/// Which of several healthy origins a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Balance {
    /// The first; the others stand by.
    #[default]
    First,
    /// Each in its turn.
    RoundRobin,
}

/// How failures are dealt with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailoverOptions {
    /// Which origin comes first. Default: [`Balance::First`].
    pub balance: Balance,
    /// How often a request that may be repeated is sent again, to the next origin each time: one with an idempotent method
    /// (RFC 9110 §9.2.2) whose content is in memory, and any that never got to its origin. Default: 2.
    pub retries: u32,
    /// So many failures in a row, and an origin is left alone for [`cooldown`](Self::cooldown). Default: 3.
    pub failure_threshold: u32,
    /// How long. Default: 10 s.
    pub cooldown: Duration,
}

impl Default for FailoverOptions {
    fn default() -> Self {
        Self { balance: Balance::First, retries: 2, failure_threshold: 3, cooldown: Duration::from_secs(10) }
    }
}

/// Origins that have the same. A request that one can't answer is sent to the next, if it may be repeated.
///
/// No answer, and 502, 503 and 504, are failures; those who answer so are asked once each. Origins that fail or are found
/// unwell by a check are asked only when no other is left. The last failure is what the caller gets.
#[derive(Debug)]
pub struct Failover {
    origins: Box<[Arc<dyn Origin>]>,
    health: Arc<Health>,
    options: FailoverOptions,
    turn: AtomicUsize,
}

impl Failover {
    /// `health` is that of these origins, in this order.
    ///
    /// # Panics
    ///
    /// If there are no origins, or not as many as `health` knows.
    pub fn new(origins: Vec<Arc<dyn Origin>>, health: Arc<Health>, options: FailoverOptions) -> Self {
        assert!(
            !origins.is_empty() && origins.len() == health.len(),
            "as many origins as health knows, and one at least"
        );
        Self { origins: origins.into(), health, options, turn: AtomicUsize::new(0) }
    }

    /// The order in which origins are asked: healthy ones first.
    fn order(&self) -> impl Iterator<Item = usize> + '_ {
        let count = self.origins.len();
        let first = match self.options.balance {
            Balance::First => 0,
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        let round = move || (0..count).map(move |step| (first + step) % count);
        let well = round().filter(|index| self.health.is_healthy(*index));
        let unwell = round().filter(|index| !self.health.is_healthy(*index));
        // Around again, if there are more tries than origins.
        well.chain(unwell).chain(round().cycle())
    }

    fn note(&self, index: usize, result: &Result<Response<Body>, OriginError>) -> AttemptOutcome {
        let outcome = match result {
            Ok(response) if is_failure(response.status()) => AttemptOutcome::Answered,
            Ok(_) => {
                self.health.succeeded(index);
                return AttemptOutcome::Good;
            }
            Err(error) => match error.kind() {
                // The client's own, or nobody's.
                OriginErrorKind::RequestBody | OriginErrorKind::Closed => return AttemptOutcome::Final,
                OriginErrorKind::Connect => AttemptOutcome::NeverSent,
                _ => AttemptOutcome::Lost,
            },
        };
        self.health.failed(index, self.options.failure_threshold, self.options.cooldown);
        outcome
    }
}

/// How asking an origin went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttemptOutcome {
    Good,
    /// Failed, and nothing changes by asking another one.
    Final,
    /// The origin has not heard of it.
    NeverSent,
    /// Nobody knows how far it came.
    Lost,
    /// 502, 503, 504.
    Answered,
}

/// What a proxy or a server that is going down says.
fn is_failure(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// A request that can be sent again.
struct ReplayableRequest {
    method: Method,
    uri: Uri,
    fields: HeaderMap,
    content: bytes::Bytes,
}

impl ReplayableRequest {
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
            kept => {
                // What streams can be sent once.
                let body = kept.map_or_else(|streaming| streaming, Body::from);
                let index = order.next().unwrap_or_default();
                let result = self.origins[index].fetch(Request::from_parts(parts, body)).await;
                self.note(index, &result);
                return result;
            }
        };
        let again =
            ReplayableRequest { method: parts.method, uri: parts.uri, fields: parts.headers, content };
        let mut tries = self.options.retries;
        for (asked, index) in order.enumerate() {
            let result = self.origins[index].fetch(again.to_request()).await;
            let repeatable = match self.note(index, &result) {
                AttemptOutcome::Good | AttemptOutcome::Final => false,
                AttemptOutcome::NeverSent => true,
                AttemptOutcome::Lost => again.method.is_idempotent(),
                // Whoever says that it is too busy is not asked twice for one request.
                AttemptOutcome::Answered => again.method.is_idempotent() && asked + 1 < self.origins.len(),
            };
            if !repeatable || tries == 0 {
                return result;
            }
            tries -= 1;
            tracing::debug!(origin = self.health.name(index), "asking the next origin");
        }
        Err(OriginError::new(OriginErrorKind::Connect))
    }

    fn supports_background_revalidation(&self) -> bool {
        self.origins.iter().all(|origin| origin.supports_background_revalidation())
    }
}
