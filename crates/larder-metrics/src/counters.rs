//! The counters, each for `metrics` and for those who ask here.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use larder_core::{Event, Observer, StoreStep};
use metrics::{Counter, counter, describe_counter};

use crate::CacheOutcome;

const STEPS: [(StoreStep, &str); 5] = [
    (StoreStep::Lookup, "lookup"),
    (StoreStep::Open, "open"),
    (StoreStep::Write, "write"),
    (StoreStep::Freshen, "freshen"),
    (StoreStep::Remove, "remove"),
];

/// Counts what a cache does: an [`Observer`] for [`CacheBuilder::observer`](larder_core::CacheBuilder::observer).
///
/// It takes its place in the recorder that is installed when it is made.
pub struct Counters {
    requests: [Count; CacheOutcome::ALL.len()],
    stored: Count,
    not_stored: AtomicU64,
    broken: Count,
    failures: [Count; STEPS.len()],
}

/// What has been counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Requests answered, by outcome.
    pub requests: Vec<(CacheOutcome, u64)>,
    /// Responses that were stored.
    pub stored: u64,
    /// Responses that the rules kept out.
    pub not_stored: u64,
    /// Bodies that broke off.
    pub broken: u64,
    /// Calls to the store that failed.
    pub store_failures: u64,
}

impl Counts {
    /// Requests answered, of all outcomes.
    pub fn answered(&self) -> u64 {
        self.requests.iter().map(|(_, count)| count).sum()
    }

    /// Requests of one outcome.
    pub fn of(&self, outcome: CacheOutcome) -> u64 {
        self.requests.iter().find(|(one, _)| *one == outcome).map_or(0, |(_, count)| *count)
    }
}

struct Count {
    own: AtomicU64,
    metric: Counter,
}

impl Count {
    fn new(metric: Counter) -> Self {
        Self { own: AtomicU64::new(0), metric }
    }

    fn add(&self) {
        self.own.fetch_add(1, Ordering::Relaxed);
        self.metric.increment(1);
    }

    fn get(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// All at zero.
    pub fn new() -> Self {
        describe_counter!("larder_requests_total", "Requests that were answered, by what the cache did.");
        describe_counter!("larder_stored_total", "Responses that were stored, whole.");
        describe_counter!("larder_not_stored_total", "Responses that the rules kept out, by reason.");
        describe_counter!(
            "larder_broken_bodies_total",
            "Bodies that broke off on their way from the origin."
        );
        describe_counter!("larder_store_failures_total", "Calls to the store that failed, by step.");
        Self {
            requests: CacheOutcome::ALL
                .map(|outcome| Count::new(counter!("larder_requests_total", "outcome" => outcome.name()))),
            stored: Count::new(counter!("larder_stored_total")),
            not_stored: AtomicU64::new(0),
            broken: Count::new(counter!("larder_broken_bodies_total")),
            failures: STEPS
                .map(|(_, step)| Count::new(counter!("larder_store_failures_total", "step" => step))),
        }
    }

    /// What has been counted until now.
    pub fn counts(&self) -> Counts {
        let requests = CacheOutcome::ALL.into_iter().zip(&self.requests);
        Counts {
            requests: requests.map(|(outcome, count)| (outcome, count.get())).collect(),
            stored: self.stored.get(),
            not_stored: self.not_stored.load(Ordering::Relaxed),
            broken: self.broken.get(),
            store_failures: self.failures.iter().map(Count::get).sum(),
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
            Event::Answered(status) => self.requests[status.outcome() as usize].add(),
            Event::NotStored(why) => {
                self.not_stored.fetch_add(1, Ordering::Relaxed);
                counter!("larder_not_stored_total", "reason" => why.token()).increment(1);
            }
            Event::Stored => self.stored.add(),
            Event::BodyBroken => self.broken.add(),
            Event::StoreFailed { step, .. } => {
                if let Some(index) = STEPS.iter().position(|(one, _)| one == step) {
                    self.failures[index].add();
                }
            }
            // What this does not know yet is not counted.
            _ => {}
        }
    }
}
