//! The engine: takes a request from lookup to response.
//!
//! 1. **Key.** The adapter derives the [`CacheKey`] from the target URI.
//! 2. **Look up** the candidates ([`Cache::lookup`]).
//! 3. **Select and decide**: [`Rules::reuse`](crate::Rules::reuse). A fresh response is served from
//!    here (`serve`), and none of the following steps happens.
//! 4. **Collapse** (`miss`, `flights`): one fetch for each key; the other requests follow it.
//! 5. **Forward** (`forward`), with conditions if a stored response can be validated.
//! 6. **Fill** (`fill`, `fanout`, `backfill`): the body goes to the client and to the store, and
//!    the flight completes.
//!
//! A stale response that may be served while it is revalidated is served, and step 4 continues in
//! the background. Unsafe requests are forwarded and invalidate stored responses on the way back
//! (`purge`).
//!
//! The other files: `builder` has the limits, `options` what one request can set, `pending` the
//! request on its way through steps 4 to 6, `uncacheable` the keys of which requests are not
//! collapsed, `bypass` the way around the engine, `response` and `error` the results, `events` the
//! observer, `tasks` the background tasks, and `readers` the clients of one arriving body.
//!
//! This is the only module that awaits both an origin and a store. It holds no lock across an await
//! and decides no caching rule: those are in `larder-policy`. A store failure is a miss. Each wait
//! has a limit ([`Limits`]), except the removal of a URL prefix and bodies that are not stored.

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
mod pending;
mod purge;
mod readers;
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
    Body, CacheKey, CacheStatus, CacheStore, Candidates, Clock, ForwardReason, Origin, RequestHead,
    RequestHeaders, Reuse, Rules, StalePermission, StoreError, TargetUri,
};

/// An HTTP cache: looks up, decides, fetches once, stores while it serves, revalidates and
/// invalidates.
///
/// Clones share one cache. [`Limits`] bounds the waits for the store and for the head of the
/// origin's response, and a store failure is a miss. The crate's front page has a complete example.
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

/// The state that all clones of a [`Cache`] share.
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

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup {
    /// The response, served without the origin.
    Hit(CacheResponse),
    /// The origin is needed. Pass this to [`Cache::resume`], together with the whole request.
    Miss(Miss),
}

/// The result of a lookup that could not be served, so that it need not be repeated.
#[derive(Debug)]
pub struct Miss {
    key: CacheKey,
    candidates: Candidates,
    /// The result of [`Flights::generation`] before the lookup.
    generation: u64,
    /// The reason for forwarding, if the adapter may [bypass](Self::can_bypass) the engine.
    bypass: Option<ForwardReason>,
}

impl Miss {
    /// Creates a miss that does not allow a bypass.
    fn new(key: &CacheKey, candidates: Candidates, generation: u64) -> Self {
        Self { key: key.clone(), candidates, generation, bypass: None }
    }
}

impl Cache {
    /// Creates a builder of a cache on `store`.
    pub fn builder(store: Arc<dyn CacheStore>) -> CacheBuilder {
        CacheBuilder::new(store)
    }

    /// Returns the caching rules.
    pub fn rules(&self) -> &Rules {
        &self.inner.rules
    }

    /// Returns the cache's name in `Cache-Status`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Looks up a request and returns the response if it can be served without the origin.
    ///
    /// For adapters that do not use the `http` crate's request type: a hit converts nothing. A
    /// store failure is a miss. A hit, or the 504 to `only-if-cached`, is reported to the
    /// [`Observer`].
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn lookup<F: RequestHeaders>(&self, key: &CacheKey, request: &RequestHead<'_, F>) -> Lookup {
        match self.peek(key, request).await {
            Lookup::Hit(response) => Lookup::Hit(self.record_outcome(response)),
            miss => miss,
        }
    }

    /// Looks up a request as [`lookup`](Self::lookup) does, without reporting a hit to the
    /// [`Observer`].
    ///
    /// For a second lookup on behalf of one request, so that the request is counted once.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn peek<F: RequestHeaders>(&self, key: &CacheKey, request: &RequestHead<'_, F>) -> Lookup {
        let generation = self.inner.flights.generation(key);
        if !request.may_reuse() {
            return Lookup::Miss(Miss::new(key, Candidates::none(), generation));
        }
        let candidates = self.candidates(key).await;
        let now = self.inner.clock.now();
        let heads = candidates.iter().map(|candidate| &*candidate.head);
        let (selected, status) = match self.inner.rules.reuse(request, heads, now) {
            Reuse::Fresh(selected) => (selected, CacheStatus::hit(selected.ttl)),
            Reuse::Stale(selected, StalePermission::MaxStale) => (selected, CacheStatus::hit(selected.ttl)),
            Reuse::OnlyIfCached => return Lookup::Hit(CacheResponse::only_if_cached()),
            Reuse::Forward(why) => {
                let bypass = self.is_bypassable(key, &candidates, now).then(|| why.forward_reason());
                return Lookup::Miss(Miss { bypass, ..Miss::new(key, candidates, generation) });
            }
            _ => return Lookup::Miss(Miss::new(key, candidates, generation)),
        };
        match self.serve(candidates, selected.index, request, Some(selected.age), status).await {
            Ok(response) => Lookup::Hit(response),
            Err(_) => Lookup::Miss(Miss::new(key, Candidates::none(), generation)),
        }
    }

    /// Serves a request after a [`lookup`](Self::lookup) that was a miss, with the origin.
    ///
    /// The request's URI must be absolute, with scheme and authority; this method normalizes it. It
    /// also removes hop-by-hop header fields. `miss` must be the result of a lookup of the same
    /// request.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if the URI cannot be fetched, or if the origin returned no response
    /// and no stored response may be served instead.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. If other requests wait for the fetch, one of them takes over,
    /// or the fetch continues if its head has arrived.
    pub async fn resume(
        &self,
        miss: Miss,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
    ) -> Result<CacheResponse, FetchError> {
        let target = TargetUri::from_uri(request.uri())?;
        let result = self.handle_miss(miss, target, request, origin, options).await;
        result.map(|response| self.record_outcome(response))
    }

    /// Serves a request: looks it up and, where necessary, fetches it from the origin.
    ///
    /// The request's URI must be absolute, with scheme and authority.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if the URI cannot be fetched, or if the origin returned no response
    /// and no stored response may be served instead.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. If other requests wait for the fetch, one of them takes over,
    /// or the fetch continues if its head has arrived.
    pub async fn fetch(
        &self,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
    ) -> Result<CacheResponse, FetchError> {
        let target = TargetUri::from_uri(request.uri())?;
        let key = CacheKey::new(&target);
        match self.lookup(&key, &RequestHead::new(request.method(), request.headers())).await {
            Lookup::Hit(response) => Ok(response),
            Lookup::Miss(miss) => self.resume(miss, request, origin, &FetchOptions::default()).await,
        }
    }

    /// Returns the value of the `Cache-Status` header for this response: one list member (RFC 9211
    /// §2).
    ///
    /// For adapters with a header map of their own.
    pub fn cache_status(&self, response: &CacheResponse) -> Bytes {
        self.status_bytes(&response.cache_status)
    }

    /// Converts the response to an `http` response, with `Age` and `Cache-Status`.
    pub fn into_http(&self, response: CacheResponse) -> Response<Body> {
        response.into_http(&self.inner.name)
    }

    /// Returns the response that a proxy sends to its client after a failure, and reports it to the
    /// [`Observer`].
    ///
    /// Its status is that of [`FetchError::status`], and its body is one line of text that names
    /// the failure.
    pub fn error_response(&self, error: &FetchError) -> CacheResponse {
        self.record_outcome(error.to_response())
    }

    /// Waits until no background task is running, for at most `limit`, and returns whether all have
    /// ended.
    ///
    /// Background tasks are fills of which the client may have disconnected, and revalidations.
    pub async fn drain(&self, limit: Duration) -> bool {
        within(limit, self.inner.tasks.idle()).await.is_some()
    }

    /// Looks up the stored responses of `key`. A store that fails or is too slow has none.
    async fn candidates(&self, key: &CacheKey) -> Candidates {
        match within(self.inner.limits.lookup_timeout, self.inner.store.lookup(key)).await {
            Some(Ok(candidates)) => candidates,
            failed => {
                self.store_failed(StoreStep::Lookup, failed.and_then(Result::err).as_ref());
                Candidates::none()
            }
        }
    }

    /// Reports an event to the observer.
    fn observe(&self, event: &Event<'_>) {
        if let Some(observer) = &self.inner.observer {
            observer.on_event(event);
        }
    }

    /// Reports the outcome of a request to the observer.
    fn record_outcome(&self, response: CacheResponse) -> CacheResponse {
        self.observe(&Event::Answered(&response.cache_status));
        response
    }

    /// Reports a failed store operation to the observer and to the log.
    fn store_failed(&self, step: StoreStep, error: Option<&StoreError>) {
        tracing::debug!(?step, error = error.map(tracing::field::display), "store failed");
        self.observe(&Event::StoreFailed { step, error });
    }
}
