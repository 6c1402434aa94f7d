//! Counts cache events, for the `metrics` crate and for direct reading.
//!
//! The engine decides which events exist and when they occur ([`larder_core::Event`]).

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use larder_core::{Event, Observer, StoreError, StoreErrorKind, StoreStep};
use metrics::{Counter, counter, describe_counter};

use crate::CacheOutcome;

/// Counts the events of a cache: an [`Observer`] for
/// [`CacheBuilder::observer`](larder_core::CacheBuilder::observer).
///
/// One value may observe several caches; their events are added up. Install a recorder of the
/// `metrics` crate first: see [`new`](Self::new).
///
/// ```
/// use std::sync::Arc;
/// use larder_core::Cache;
/// use larder_memory::MemoryStore;
/// use larder_metrics::{CacheOutcome, Counters};
///
/// let counters = Arc::new(Counters::new());
/// let cache = Cache::builder(Arc::new(MemoryStore::default()))
///     .observer(Arc::clone(&counters) as _)
///     .build();
/// assert_eq!(counters.counts().of(CacheOutcome::Hit), 0);
/// ```
pub struct Counters {
    requests: [Count; CacheOutcome::ALL.len()],
    stored: Count,
    not_stored: AtomicU64,
    variants_evicted: Count,
    broken: Count,
    failures: [[Count; REASONS.len()]; StoreStep::ALL.len()],
}

/// The reasons of failed calls to the store: the kinds of its errors, and timeouts.
const REASONS: [StoreFailureReason; StoreErrorKind::ALL.len() + 1] = {
    let [unavailable, full, corrupt, gone] = StoreErrorKind::ALL;
    [None, Some(unavailable), Some(full), Some(corrupt), Some(gone)]
};

/// The kind of a store's error, or `None` for a timeout.
type StoreFailureReason = Option<StoreErrorKind>;

/// Returns the name of a reason.
fn name_of(reason: StoreFailureReason) -> &'static str {
    reason.map_or("timeout", StoreErrorKind::name)
}

/// The totals of [`Counters`] at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Answered requests, by outcome. Every outcome is listed once, also with a count of 0.
    pub requests: Vec<(CacheOutcome, u64)>,
    /// Complete responses that were stored.
    pub stored: u64,
    /// Responses that the caching rules excluded from the store.
    pub not_stored: u64,
    /// Variants that were evicted because their page had more than are stored.
    pub variants_evicted: u64,
    /// Response bodies from the origin that were incomplete.
    pub broken: u64,
    /// Failed calls to the store, of all steps.
    pub store_failures: u64,
}

impl Counts {
    /// Returns the number of answered requests, of all outcomes.
    pub fn total_requests(&self) -> u64 {
        self.requests.iter().map(|(_, count)| count).sum()
    }

    /// Returns the number of answered requests with this outcome.
    pub fn of(&self, outcome: CacheOutcome) -> u64 {
        self.requests.iter().find(|(one, _)| *one == outcome).map_or(0, |(_, count)| *count)
    }
}

/// A total for direct reading, and the recorder's counter of the same events.
struct Count {
    total: AtomicU64,
    metric: Counter,
}

impl Count {
    /// Creates a total of zero beside the recorder's counter `metric`.
    fn new(metric: Counter) -> Self {
        Self { total: AtomicU64::new(0), metric }
    }

    /// Adds one event.
    fn increment(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.metric.increment(1);
    }

    /// Returns the total.
    fn get(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Creates counters that start at zero.
    ///
    /// They belong to the recorder of the `metrics` crate that is installed at this moment, and are
    /// described to it. A recorder that is installed later receives only `larder_not_stored_total`,
    /// because that counter is requested at each event.
    pub fn new() -> Self {
        describe_counter!("larder_requests_total", "Answered requests, by outcome.");
        describe_counter!("larder_stored_total", "Complete responses that were stored.");
        describe_counter!(
            "larder_not_stored_total",
            "Responses that the caching rules excluded from the store, by reason."
        );
        describe_counter!(
            "larder_variants_evicted_total",
            "Variants that were evicted because their page had more than are stored."
        );
        describe_counter!(
            "larder_broken_bodies_total",
            "Response bodies from the origin that were incomplete."
        );
        describe_counter!("larder_store_failures_total", "Failed calls to the store, by step and reason.");
        Self {
            requests: CacheOutcome::ALL
                .map(|outcome| Count::new(counter!("larder_requests_total", "outcome" => outcome.name()))),
            stored: Count::new(counter!("larder_stored_total")),
            not_stored: AtomicU64::new(0),
            variants_evicted: Count::new(counter!("larder_variants_evicted_total")),
            broken: Count::new(counter!("larder_broken_bodies_total")),
            failures: StoreStep::ALL.map(|step| {
                REASONS.map(|reason| {
                    let (step, reason) = (step.name(), name_of(reason));
                    Count::new(counter!("larder_store_failures_total", "step" => step, "reason" => reason))
                })
            }),
        }
    }

    /// Returns the current totals.
    ///
    /// The totals are read one after the other: events that occur at the same time may be in some
    /// of them only.
    pub fn counts(&self) -> Counts {
        let requests = CacheOutcome::ALL.into_iter().zip(&self.requests);
        Counts {
            requests: requests.map(|(outcome, count)| (outcome, count.get())).collect(),
            stored: self.stored.get(),
            not_stored: self.not_stored.load(Ordering::Relaxed),
            variants_evicted: self.variants_evicted.get(),
            broken: self.broken.get(),
            store_failures: self.failures.iter().flatten().map(Count::get).sum(),
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts().fmt(f)
    }
}

impl Observer for Counters {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Answered(answered) => self.requests[answered.outcome as usize].increment(),
            Event::NotStored(not_stored) => {
                self.not_stored.fetch_add(1, Ordering::Relaxed);
                counter!("larder_not_stored_total", "reason" => not_stored.reason.token()).increment(1);
            }
            Event::Stored(_) => self.stored.increment(),
            Event::VariantEvicted(_) => self.variants_evicted.increment(),
            Event::BodyBroken(_) => self.broken.increment(),
            Event::StoreFailed(failed) => {
                let kind = failed.error.map(StoreError::kind);
                let counts = REASONS.iter().zip(&self.failures[failed.step as usize]);
                counts.filter(|(reason, _)| **reason == kind).for_each(|(_, count)| count.increment());
            }
            // `Event` is non-exhaustive: events that this version does not know are ignored.
            _ => {}
        }
    }
}
