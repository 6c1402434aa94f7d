//! Collapses concurrent requests for one key into one fetch (RFC 9111 §4).
//!
//! A [`Flight`] is a fetch in progress. Its first request is the leader and goes to the origin; the
//! other requests are followers and wait for the leader's *headers*. They then receive a
//! [`FlightOutcome`]: the response can be shared and streams while it is still arriving, or it
//! cannot be shared and all followers go to the origin at once, or the leader has been dropped and
//! the next request leads. A leader that is dropped at any point completes its flight as
//! [`FlightOutcome::Abandoned`], so a follower never hangs.
//!
//! A flight stays in the map until its response is stored, so that no other request fetches in
//! between. A request that looked up the store before that, and becomes a leader after it, has to
//! look up again: [`Flights::generation`] detects this.
//!
//! This file holds the state. Which requests lead, follow, retry or are not collapsed is decided in
//! `miss`. No other lock is taken and no other code is called while a lock of this module is held,
//! and none is held across an await.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{CacheKey, Lease, RemovalToken, engine::outcome::FlightOutcome, policy::PrehashedBuildHasher};

/// A fetch in progress, as followers see it.
#[derive(Debug)]
pub(crate) struct Flight {
    outcome: Mutex<Option<FlightOutcome>>,
    completed: Notify,
    /// Position in the order in which flights and requests begin.
    number: u64,
    /// Number of leaders that failed before this one.
    pub(crate) attempt: u32,
    /// The token of the key's removals from before the leader's lookup and fetch, once it is known;
    /// `None` within if the store could not be read.
    token: OnceLock<Option<RemovalToken>>,
}

impl Flight {
    /// Waits for the leader's headers. The caller limits the wait.
    pub(crate) async fn outcome(&self) -> FlightOutcome {
        // Created before the check, so that a completion in between wakes it.
        let completed = self.completed.notified();
        if let Some(outcome) = self.current_outcome() {
            return outcome;
        }
        completed.await;
        // The outcome is set before the notification and is never removed.
        self.current_outcome().unwrap_or(FlightOutcome::Abandoned)
    }

    /// Returns whether the flight began after a request that [has arrived](Flights::arrive).
    pub(crate) fn is_later_than(&self, arrival: u64) -> bool {
        self.number > arrival
    }

    /// Returns whether a removal may have concerned the key since the leader began, if `token` is
    /// that of now.
    ///
    /// As long as the token of the leader is unknown, its lookup and its fetch are still to come.
    pub(crate) fn removed_since(&self, token: Option<RemovalToken>) -> Removed {
        match (self.token.get(), token) {
            (None, _) => Removed::No,
            (Some(Some(begun)), Some(now)) if *begun == now => Removed::No,
            (Some(Some(_)), Some(_)) => Removed::Yes,
            _ => Removed::Unknown,
        }
    }

    /// Returns the outcome, if the flight has completed.
    fn current_outcome(&self) -> Option<FlightOutcome> {
        self.outcome.lock().clone()
    }

    /// Sets the outcome and wakes the followers.
    fn complete(&self, outcome: FlightOutcome) {
        *self.outcome.lock() = Some(outcome);
        self.completed.notify_waiters();
    }
}

/// Whether the key of a flight was removed since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    No,
    Yes,
    /// The store could not be read.
    Unknown,
}

/// The role of a request in collapsing.
#[derive(Debug)]
pub(crate) enum Role {
    Leader(Leader),
    Follower(Arc<Flight>),
    /// The request goes to the origin on its own.
    Uncollapsed,
}

/// All flights of one cache.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: Box<[Shard]>,
    /// Number of flights in the map, over all shards.
    count: AtomicUsize,
    /// Maximum of `count`.
    limit: usize,
    /// The last position in the order of flights and requests.
    last: AtomicU64,
}

/// The flights of some of the keys.
#[derive(Debug, Default)]
struct Shard {
    flights: Mutex<HashMap<CacheKey, Arc<Flight>, PrehashedBuildHasher>>,
    /// Incremented when a flight leaves the map.
    generation: AtomicU64,
    /// Incremented when the flight of a key is detached.
    detached: AtomicU64,
}

const SHARDS: usize = 64;

impl Flights {
    /// Creates an empty map for at most `limit` flights.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Arc::new(Self { shards, count: AtomicUsize::new(0), limit, last: AtomicU64::new(0) })
    }

    /// Returns the shard of `key`.
    fn shard(&self, key: &CacheKey) -> &Shard {
        // The low bits select a bucket in the shard's map; these are other bits.
        &self.shards[(key.process_hash() >> 48) as usize % SHARDS]
    }

    /// Returns a number that changes whenever a flight of this key has ended.
    ///
    /// Occasionally it also changes when a flight of another key ends. Read it *before* the store
    /// lookup. If it has changed when the request becomes the leader, the lookup may be out of
    /// date.
    pub(crate) fn generation(&self, key: &CacheKey) -> u64 {
        self.shard(key).generation.load(Ordering::Acquire)
    }

    /// Returns a number that changes whenever the flight of this key is detached.
    ///
    /// As part of the key of another flight of the same responses, it detaches that one, too.
    pub(crate) fn detached(&self, key: &CacheKey) -> u64 {
        self.shard(key).detached.load(Ordering::Acquire)
    }

    /// Returns the position of a request that begins now in the order of flights and requests.
    pub(crate) fn arrive(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    /// Joins the flight of `key` as a follower, or starts one as its leader.
    ///
    /// `attempt` is the number of leaders that have failed before.
    pub(crate) fn join(self: &Arc<Self>, key: &CacheKey, attempt: u32) -> Role {
        let mut flights = self.shard(key).flights.lock();
        if let Some(flight) = flights.get(key) {
            return Role::Follower(Arc::clone(flight));
        }
        if self.count.load(Ordering::Relaxed) >= self.limit {
            return Role::Uncollapsed;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let flight = Arc::new(Flight {
            outcome: Mutex::new(None),
            completed: Notify::new(),
            number: self.last.fetch_add(1, Ordering::SeqCst) + 1,
            attempt,
            token: OnceLock::new(),
        });
        flights.insert(key.clone(), Arc::clone(&flight));
        Role::Leader(Leader { flights: Arc::clone(self), key: key.clone(), flight, lease: None })
    }

    /// Returns the flight of `key`, if there is one, for a request that must not lead because its
    /// own response cannot be shared.
    pub(crate) fn follow(&self, key: &CacheKey) -> Option<Arc<Flight>> {
        self.shard(key).flights.lock().get(key).cloned()
    }

    /// Removes the flight of `key` from the map, because the key was purged.
    ///
    /// Later requests must not get the response of this flight. Its present followers made their
    /// request before the purge and still get it.
    pub(crate) fn detach(&self, key: &CacheKey) {
        let shard = self.shard(key);
        shard.detached.fetch_add(1, Ordering::Release);
        let mut flights = shard.flights.lock();
        if flights.remove(key).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            shard.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Removes this flight of `key` from the map, because another process has removed the key.
    pub(crate) fn detach_flight(&self, key: &CacheKey, flight: &Arc<Flight>) {
        let shard = self.shard(key);
        let mut flights = shard.flights.lock();
        if flights.get(key).is_some_and(|current| Arc::ptr_eq(current, flight)) {
            flights.remove(key);
            self.count.fetch_sub(1, Ordering::Relaxed);
            shard.detached.fetch_add(1, Ordering::Release);
            shard.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Removes all flights from the map.
    pub(crate) fn detach_all(&self) {
        for shard in &self.shards {
            shard.detached.fetch_add(1, Ordering::Release);
            let mut flights = shard.flights.lock();
            self.count.fetch_sub(flights.len(), Ordering::Relaxed);
            flights.clear();
            shard.generation.fetch_add(1, Ordering::Release);
        }
    }
}

/// The obligation to complete a flight. If it is dropped first, another request leads.
#[derive(Debug)]
pub(crate) struct Leader {
    flights: Arc<Flights>,
    key: CacheKey,
    flight: Arc<Flight>,
    /// The lease among the processes that share the store, released together with this value.
    pub(crate) lease: Option<Box<dyn Lease>>,
}

impl Leader {
    /// Completes the flight and wakes its followers. The flight stays in the map until the leader
    /// is dropped.
    pub(crate) fn complete(&self, outcome: FlightOutcome) {
        self.flight.complete(outcome);
    }

    /// Sets the token of the key's removals, read before the lookup and the fetch of the leader.
    pub(crate) fn set_token(&self, token: Option<RemovalToken>) {
        let _ = self.flight.token.set(token);
    }

    /// Returns the key of the flight.
    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let shard = self.flights.shard(&self.key);
        let mut flights = shard.flights.lock();
        // After a purge the key may belong to another flight.
        if flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            flights.remove(&self.key);
            self.flights.count.fetch_sub(1, Ordering::Relaxed);
        }
        // Before the lock is released, so that the next leader sees the change.
        shard.generation.fetch_add(1, Ordering::Release);
        drop(flights);
        if self.flight.outcome.lock().is_none() {
            self.flight.complete(FlightOutcome::Abandoned);
        }
    }
}
