//! The state that all clones of a cache share, and the few operations that every phase needs:
//! calling the store with a timeout, reporting events, reading the clock.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{
    date_line::DateLine,
    events::{Event, Observer, StoreFailed, StoreStep},
    failing::FailingOrigins,
    limits::Limits,
    miss::{flights::Flights, uncacheable::UncacheableKeys},
    recent::RecentTable,
    stopwatch::Stopwatch,
    tasks::Tasks,
    unconfirmed::Unconfirmed,
    variants::Variants,
};
use crate::{
    CacheKey, CacheStore, Candidates, Clock, LogThrottle, RemovalToken, Removals, Rules, StoreError,
    StoreErrorKind, Timestamp, timeout::within,
};

/// Number of responses of which the last reload is known. The table has 64 KiB.
const RELOAD_SLOTS: usize = 1 << 13;

/// The state that all clones of a [`Cache`](super::Cache) share.
pub(super) struct Context {
    pub(super) store: Arc<dyn CacheStore>,
    pub(super) rules: Rules,
    pub(super) name: Box<str>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    pub(super) date_line: DateLine,
    pub(super) flights: Arc<Flights>,
    pub(super) uncacheable: UncacheableKeys,
    pub(super) variants: Variants,
    pub(super) failing: FailingOrigins,
    /// When the last reload of a response was sent to the origin.
    pub(super) reloads: RecentTable,
    pub(super) background: Arc<Semaphore>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) unconfirmed: Unconfirmed,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) failure_log: FailureLog,
}

/// Shortest time between two messages about failures of a step of the store.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Limits the messages about failures of the store, for each step on its own.
pub(super) struct FailureLog([LogThrottle; StoreStep::ALL.len()]);

impl Default for FailureLog {
    fn default() -> Self {
        Self([const { LogThrottle::new(FAILURE_LOG_INTERVAL) }; StoreStep::ALL.len()])
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("name", &self.name)
            .field("kind", &self.rules.kind)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Creates the state of a cache in which nothing is in progress.
    pub(super) fn new(
        store: Arc<dyn CacheStore>,
        rules: Rules,
        name: Box<str>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self {
            store,
            rules,
            name,
            clock,
            date_line: DateLine::default(),
            flights: Flights::new(limits.max_concurrent_fetches),
            uncacheable: UncacheableKeys::new(),
            variants: Variants::new(),
            failing: FailingOrigins::new(),
            reloads: RecentTable::new(RELOAD_SLOTS),
            background: Arc::new(Semaphore::new(limits.max_background_revalidations)),
            tasks: Arc::new(Tasks::default()),
            unconfirmed: Unconfirmed::default(),
            limits,
            observer,
            failure_log: FailureLog::default(),
        }
    }

    /// Returns the current time of the cache's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits for a store operation, for at most `limit`. Returns `None` and reports the failure if
    /// the operation fails or takes longer.
    pub(super) async fn store_call<T>(
        &self,
        step: StoreStep,
        limit: Duration,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<T> {
        match within(limit, call).await {
            Some(Ok(value)) => Some(value),
            failed => {
                self.store_failed(step, failed.and_then(Result::err).as_ref());
                None
            }
        }
    }

    /// Looks up the stored responses of `key`. A store that fails or is too slow has none. Those
    /// that the store has not confirmed as removed do not count.
    pub(super) async fn candidates(&self, key: &CacheKey) -> Candidates {
        let effects = self.unconfirmed.effects_on(key);
        if effects.remove_all() {
            return Candidates::none();
        }
        let lookup = self.store.lookup(key);
        let found = self.store_call(StoreStep::Lookup, self.limits.lookup_timeout, lookup).await;
        effects.apply(found.unwrap_or_else(Candidates::none))
    }

    /// Waits until no background task is running and no removal is unconfirmed, for at most
    /// `limit`, and returns whether that is so. Warns of removals that are left.
    pub(super) async fn drain(&self, limit: Duration) -> bool {
        let idle = async {
            self.tasks.idle().await;
            self.unconfirmed.confirmed().await;
        };
        let is_idle = within(limit, idle).await.is_some();
        let removals = self.unconfirmed.count();
        if removals > 0 {
            tracing::warn!(
                cache = &*self.name,
                removals,
                "the store has not confirmed all removals; purge again once it is available"
            );
        }
        is_idle
    }

    /// Returns the token of the removals of `key`, or `None` if the store fails. Only for a store
    /// with [`CacheStore::removals`].
    pub(super) async fn removal_token(
        &self,
        removals: &dyn Removals,
        key: &CacheKey,
    ) -> Option<RemovalToken> {
        self.store_call(StoreStep::Lookup, self.limits.lookup_timeout, removals.token(key)).await
    }

    /// Reports an event to the observer.
    pub(super) fn observe(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer {
            observer.on_event(event);
        }
    }

    /// Starts to measure a request, if there is an observer.
    pub(super) fn stopwatch(&self) -> Option<Stopwatch> {
        self.observer.as_ref().map(|_| Stopwatch::start())
    }

    /// Reports a failed store operation to the observer and to the log.
    pub(super) fn store_failed(&self, step: StoreStep, error: Option<&StoreError>) {
        let failed = StoreFailed { step, error };
        self.observe(&Event::StoreFailed(failed));
        let (reason, error) = (failed.reason(), error.map(tracing::field::debug));
        // An entry that is gone is normal while a cache is purged or full.
        let is_failure = failed.error.is_none_or(|error| error.kind() != StoreErrorKind::Gone);
        match is_failure.then(|| self.failure_log.0[step as usize].admit(1)).flatten() {
            Some(failures) => tracing::warn!(
                cache = &*self.name,
                %step,
                reason,
                error,
                failures,
                "the store failed or refused; requests are answered by the origin"
            ),
            None => tracing::debug!(%step, reason, error, "the store failed or refused"),
        }
    }
}

/// Returns the name of a cache as a token, which `Cache-Status` requires (RFC 9211 §2).
pub(super) fn status_name(name: &str) -> Box<str> {
    let token = |c: char| if c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c) { c } else { '-' };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*');
    if starts_well { "" } else { "larder-" }.chars().chain(name.chars().map(token)).collect()
}
