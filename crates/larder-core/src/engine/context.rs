//! The state that all clones of a cache share, and the few operations that every phase needs:
//! calling the store with a timeout, reporting events, reading the clock.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{
    date_line::DateLine,
    events::{Event, Observer, StoreFailed, StoreStep},
    limits::Limits,
    miss::{flights::Flights, uncacheable::UncacheableKeys},
    recent::RecentTable,
    stopwatch::Stopwatch,
    tasks::Tasks,
    variants::Variants,
};
use crate::{CacheKey, CacheStore, Candidates, Clock, Rules, StoreError, Timestamp, timeout::within};

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
    /// When the last reload of a response was sent to the origin.
    pub(super) reloads: RecentTable,
    pub(super) background: Arc<Semaphore>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) observer: Option<Arc<dyn Observer>>,
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

    /// Looks up the stored responses of `key`. A store that fails or is too slow has none.
    pub(super) async fn candidates(&self, key: &CacheKey) -> Candidates {
        let lookup = self.store.lookup(key);
        let found = self.store_call(StoreStep::Lookup, self.limits.lookup_timeout, lookup).await;
        found.unwrap_or_else(Candidates::none)
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
        tracing::debug!(?step, error = error.map(tracing::field::display), "store failed");
        self.observe(&Event::StoreFailed(StoreFailed { step, error }));
    }
}
