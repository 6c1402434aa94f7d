//! Request collapsing (RFC 9111 §4): one fetch for several requests of one key.
//!
//! A [`Flight`] is a fetch in progress. Its first request leads and asks the origin; the others follow and wait
//! for the leader's *headers*. What they then learn is a [`FlightOutcome`]: the response is shared and streams while it
//! is still arriving, or it can't be and everybody goes to the origin at once, or the leader is gone and the next
//! one leads. A leader that is dropped at any point lands as [`FlightOutcome::Abandoned`], so a follower never hangs.
//!
//! A flight stays on the map until its response is stored, so that nobody fetches in between. Whoever looked into
//! the store before that and leads after it has to look again: [`Flights::landed`] tells.
//!
//! The locks here are leaves: nothing is called while one is held, and none is held across an await.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{CacheKey, Candidate, Lease, OriginErrorKind, PrehashedBuildHasher};

/// How a flight came down.
#[derive(Debug, Clone)]
pub(crate) enum FlightOutcome {
    /// The response can serve others: its head is here, its body is here or arriving.
    Shared(Candidate),
    /// It can't. Followers go to the origin themselves, all at once.
    NotShared,
    /// The origin gave no response. After a first failure somebody else leads once more, since the fault may have
    /// been that connection's alone; after a second everybody gets the error, or a queue of attempts would add up
    /// its waits.
    Failed(OriginErrorKind),
    /// The origin answered with this server error, and the leader had a stale response to give instead.
    ServerError(http::StatusCode),
    /// The leader went away before anything came. Somebody else leads.
    Abandoned,
}

/// A fetch in progress, as a follower sees it.
#[derive(Debug)]
pub(crate) struct Flight {
    outcome: Mutex<Option<FlightOutcome>>,
    completed: Notify,
    /// How many leaders have failed before this one.
    pub(crate) attempt: u32,
}

impl Flight {
    /// Waits for the leader's headers; the caller bounds it.
    pub(crate) async fn outcome(&self) -> FlightOutcome {
        // Made before the look: what lands in between wakes it.
        let landed = self.completed.notified();
        if let Some(landing) = self.now() {
            return landing;
        }
        landed.await;
        // It lands before it says so, and is never taken back.
        self.now().unwrap_or(FlightOutcome::Abandoned)
    }

    fn now(&self) -> Option<FlightOutcome> {
        self.outcome.lock().clone()
    }

    fn complete(&self, landing: FlightOutcome) {
        *self.outcome.lock() = Some(landing);
        self.completed.notify_waiters();
    }
}

/// Leading or following.
#[derive(Debug)]
pub(crate) enum Joined {
    Leader(Leader),
    Follower(Arc<Flight>),
    /// This request is not collapsed with any other.
    Alone,
}

/// All flights of one cache.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: Box<[Shard]>,
    /// Flights on the map, all shards.
    count: AtomicUsize,
    limit: usize,
}

#[derive(Debug, Default)]
struct Shard {
    flights: Mutex<HashMap<CacheKey, Arc<Flight>, PrehashedBuildHasher>>,
    /// Flights that have left the map.
    generation: AtomicU64,
}

const SHARDS: usize = 64;

impl Flights {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Arc::new(Self { shards, count: AtomicUsize::new(0), limit })
    }

    fn shard(&self, key: &CacheKey) -> &Shard {
        // The low bits choose a bucket within the shard's map; these are others.
        &self.shards[(key.process_hash() >> 48) as usize % SHARDS]
    }

    /// Changes whenever a flight of this key, and seldom of another, has ended. Read it *before* the store is
    /// looked up: if it has changed when leading begins, what was looked up may be out of date.
    pub(crate) fn generation(&self, key: &CacheKey) -> u64 {
        self.shard(key).generation.load(Ordering::Acquire)
    }

    /// Follows the key's flight, or begins one. `attempt` counts the leaders that have failed before.
    pub(crate) fn join(self: &Arc<Self>, key: &CacheKey, attempt: u32) -> Joined {
        let mut flights = self.shard(key).flights.lock();
        if let Some(flight) = flights.get(key) {
            return Joined::Follower(Arc::clone(flight));
        }
        if self.count.load(Ordering::Relaxed) >= self.limit {
            return Joined::Alone;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let flight = Arc::new(Flight { outcome: Mutex::new(None), completed: Notify::new(), attempt });
        flights.insert(key.clone(), Arc::clone(&flight));
        Joined::Leader(Leader { flights: Arc::clone(self), key: key.clone(), flight, lease: None })
    }

    /// Only follows: for requests whose own response would be of no use to others.
    pub(crate) fn follow(&self, key: &CacheKey) -> Option<Arc<Flight>> {
        self.shard(key).flights.lock().get(key).cloned()
    }

    /// The key was removed: requests from now on must not be given what its flight brings. Those that follow
    /// it already asked before the removal, and keep it.
    pub(crate) fn detach(&self, key: &CacheKey) {
        let shard = self.shard(key);
        let mut flights = shard.flights.lock();
        if flights.remove(key).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            shard.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// The same for every key.
    pub(crate) fn detach_all(&self) {
        for shard in &self.shards {
            let mut flights = shard.flights.lock();
            self.count.fetch_sub(flights.len(), Ordering::Relaxed);
            flights.clear();
            shard.generation.fetch_add(1, Ordering::Release);
        }
    }
}

/// The duty to land a flight. Dropped without a word, it hands over.
#[derive(Debug)]
pub(crate) struct Leader {
    flights: Arc<Flights>,
    key: CacheKey,
    flight: Arc<Flight>,
    /// The right to fetch among the processes that share the store; given back with this.
    pub(crate) lease: Option<Box<dyn Lease>>,
}

impl Leader {
    /// Tells the followers. The flight stays on the map until the leader is dropped.
    pub(crate) fn complete(&self, landing: FlightOutcome) {
        self.flight.complete(landing);
    }

    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let shard = self.flights.shard(&self.key);
        let mut flights = shard.flights.lock();
        // After a removal the key may be another flight's by now.
        if flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            flights.remove(&self.key);
            self.flights.count.fetch_sub(1, Ordering::Relaxed);
        }
        // Before the lock is given back: the next leader has to see it.
        shard.generation.fetch_add(1, Ordering::Release);
        drop(flights);
        if self.flight.outcome.lock().is_none() {
            self.flight.complete(FlightOutcome::Abandoned);
        }
    }
}
