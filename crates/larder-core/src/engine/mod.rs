//! The engine: the life of a request.
//!
//! 1. **Key.** The adapter makes the [`CacheKey`] from the target URI.
//! 2. **Look up** the candidates ([`Cache::lookup`]).
//! 3. **Select and decide**: [`Rules::reuse`](crate::Rules::reuse). A fresh response is served from here
//!    (`serve`), and nothing below happens.
//! 4. **Collapse** (`flights`): one fetch for each key, the others follow it (`answering`).
//! 5. **Forward** (`forward`), with conditions where something stored can be validated.
//! 6. **Tee** (`fill`, `arriving`): the body goes to the client and to the store, and the flight lands.
//!
//! Stale responses that may be served while they are revalidated are, and step 4 goes on in the background. Unsafe
//! requests pass to the origin and invalidate on their way back (`purge`).
//!
//! This is the only place that awaits both an origin and a store. It holds no lock over an await, each of its waits has
//! a limit ([`Limits`]), and a store's failure is a miss.

mod backfill;
mod builder;
mod bypass;
mod error;
mod events;
mod fanout;
mod fill;
mod flights;
mod forward;
mod miss;
mod options;
mod purge;
mod response;
mod serve;
mod tasks;
mod uncacheable;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::Semaphore;

pub use builder::{CacheBuilder, Limits};
pub use error::FetchError;
pub use events::{Event, Observer, StoreStep};
pub use options::{FetchOptions, OverrideFn, ResponseContext};
pub use response::CacheResponse;

use self::{flights::Flights, tasks::Tasks, uncacheable::UncacheableKeys};
use crate::timeout::within;
use crate::{
    Body, CacheKey, CacheStatus, CacheStore, Candidates, Clock, ForwardReason, Origin, Permission,
    RequestHead, RequestHeaders, Reuse, Rules, StoreError, TargetUri,
};

/// The cache: looks up, decides, fetches once, stores while it serves, revalidates, invalidates.
///
/// Cloning shares it. Every wait is bounded by its [`Limits`], and a store that fails is a miss.
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn CacheStore>,
    rules: Rules,
    name: Box<str>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    flights: Arc<Flights>,
    uncacheable: UncacheableKeys,
    background: Arc<Semaphore>,
    tasks: Arc<Tasks>,
    observer: Option<Arc<dyn Observer>>,
}

/// What a look-up alone could do.
#[derive(Debug)]
pub enum Lookup {
    /// Answered without the origin.
    Hit(CacheResponse),
    /// The origin is needed: hand this to [`Cache::resume`], with the whole request.
    Miss(Miss),
}

/// What a look-up found, so that it need not be done again.
#[derive(Debug)]
pub struct Miss {
    key: CacheKey,
    candidates: Candidates,
    /// What [`Flights::landed`] said before the look-up.
    generation: u64,
    /// Why the origin is needed, where it may be asked [directly](Self::can_bypass).
    bypass: Option<ForwardReason>,
}

impl Miss {
    fn new(key: &CacheKey, candidates: Candidates, landed: u64) -> Self {
        Self { key: key.clone(), candidates, generation: landed, bypass: None }
    }
}

impl Cache {
    /// Begins a cache on `store`.
    pub fn builder(store: Arc<dyn CacheStore>) -> CacheBuilder {
        CacheBuilder::new(store)
    }

    /// The rules this cache decides by.
    pub fn rules(&self) -> &Rules {
        &self.inner.rules
    }

    /// Its name in `Cache-Status`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Looks up and decides; answers where that needs no origin.
    ///
    /// For adapters whose request is not `http`'s: a hit converts nothing. It never fails: a store that fails is a
    /// miss.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point.
    pub async fn lookup<F: RequestHeaders>(&self, key: &CacheKey, request: &RequestHead<'_, F>) -> Lookup {
        match self.peek(key, request).await {
            Lookup::Hit(answer) => Lookup::Hit(self.answered(answer)),
            forward => forward,
        }
    }

    /// The same, and no request to those who count them: for a second look on behalf of one.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point.
    pub async fn peek<F: RequestHeaders>(&self, key: &CacheKey, request: &RequestHead<'_, F>) -> Lookup {
        let landed = self.inner.flights.generation(key);
        if !request.may_reuse() {
            return Lookup::Miss(Miss::new(key, Candidates::none(), landed));
        }
        let candidates = self.candidates(key).await;
        let now = self.inner.clock.now();
        let heads = candidates.iter().map(|candidate| &*candidate.head);
        let (selected, status) = match self.inner.rules.reuse(request, heads, now) {
            Reuse::Fresh(selected) => (selected, CacheStatus::hit(selected.ttl)),
            Reuse::Stale(selected, Permission::MaxStale) => (selected, CacheStatus::hit(selected.ttl)),
            Reuse::OnlyIfCached => return Lookup::Hit(CacheResponse::only_if_cached()),
            Reuse::Forward(why) => {
                let direct = self.is_bypassable(key, &candidates, now).then(|| why.forward_reason());
                return Lookup::Miss(Miss { bypass: direct, ..Miss::new(key, candidates, landed) });
            }
            _ => return Lookup::Miss(Miss::new(key, candidates, landed)),
        };
        match self.serve(candidates, selected.index, request, Some(selected.age), status).await {
            Ok(answer) => Lookup::Hit(answer),
            Err(_) => Lookup::Miss(Miss::new(key, Candidates::none(), landed)),
        }
    }

    /// Goes on where [`lookup`](Self::lookup) stopped, with the origin.
    ///
    /// The request's URI is absolute, with scheme and authority; it is normalised here. Hop-by-hop fields are
    /// removed here, and `found` must be of the same request.
    ///
    /// # Errors
    ///
    /// A [`FetchError`] if the origin gave no response and nothing stored may stand in for it.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point: a fetch that others wait for is handed over, or goes on if its head has come.
    pub async fn resume(
        &self,
        found: Miss,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
    ) -> Result<CacheResponse, FetchError> {
        let target = TargetUri::from_uri(request.uri())?;
        let result = self.answer(found, target, request, origin, options).await;
        result.map(|answer| self.answered(answer))
    }

    /// The whole way: look-up and, where needed, the origin.
    ///
    /// # Errors
    ///
    /// As for [`resume`](Self::resume).
    ///
    /// # Cancel safety
    ///
    /// As for [`resume`](Self::resume).
    pub async fn fetch(
        &self,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
    ) -> Result<CacheResponse, FetchError> {
        let target = TargetUri::from_uri(request.uri())?;
        let key = CacheKey::new(&target);
        match self.lookup(&key, &RequestHead::new(request.method(), request.headers())).await {
            Lookup::Hit(answer) => Ok(answer),
            Lookup::Miss(found) => self.resume(found, request, origin, &FetchOptions::default()).await,
        }
    }

    /// The value of `Cache-Status` for this answer, for adapters with a header map of their own: one list member
    /// (RFC 9211 §2).
    pub fn cache_status(&self, answer: &CacheResponse) -> Bytes {
        self.status_bytes(&answer.cache_status)
    }

    /// The answer as an `http` response, with `Age` and `Cache-Status`.
    pub fn into_http(&self, answer: CacheResponse) -> Response<Body> {
        answer.into_http(&self.inner.name)
    }

    /// What a proxy answers its client after a failure: 400, 502, 503 or 504, and a line of text that says which.
    pub fn error_response(&self, error: &FetchError) -> CacheResponse {
        self.answered(error.to_response())
    }

    /// Waits until nothing goes on in the background: fills whose client is gone, revalidations. At most `limit`;
    /// says whether it was enough.
    pub async fn drain(&self, limit: Duration) -> bool {
        within(limit, self.inner.tasks.idle()).await.is_some()
    }

    async fn candidates(&self, key: &CacheKey) -> Candidates {
        match within(self.inner.limits.lookup_timeout, self.inner.store.lookup(key)).await {
            Some(Ok(candidates)) => candidates,
            failed => {
                self.store_failed(StoreStep::Lookup, failed.and_then(Result::err).as_ref());
                Candidates::none()
            }
        }
    }

    fn observe(&self, event: &Event<'_>) {
        if let Some(observer) = &self.inner.observer {
            observer.on_event(event);
        }
    }

    fn answered(&self, answer: CacheResponse) -> CacheResponse {
        self.observe(&Event::Answered(&answer.cache_status));
        answer
    }

    fn store_failed(&self, step: StoreStep, error: Option<&StoreError>) {
        tracing::debug!(?step, error = error.map(tracing::field::display), "store failed");
        self.observe(&Event::StoreFailed { step, error });
    }
}
