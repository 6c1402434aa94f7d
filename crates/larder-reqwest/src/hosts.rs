//! Limits the requests in flight to each host, and records the hosts that are paused, or blocked
//! until their `Retry-After` has passed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counter of the requests in flight to each host.
#[derive(Debug)]
pub(crate) struct Hosts {
    limit: usize,
    in_flight: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    pauses: Pauses,
}

/// The pauses that hosts have requested. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pauses {
    /// Hosts of which the requests wait, and until when.
    paused: Ends,
    /// Hosts to which nothing is sent, and until when.
    blocked: Ends,
}

/// For each host, the time at which something ends.
#[derive(Debug, Clone, Default)]
struct Ends(Arc<Mutex<HashMap<Box<str>, Instant, foldhash::fast::RandomState>>>);

impl Hosts {
    /// Creates a counter that allows `limit` requests at once to each host, at least 1.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), in_flight: HashMap::default(), pauses: Pauses::default() }
    }

    /// Sets the number of requests at once to each host, at least 1.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    /// Counts a request to the host if the host has a free slot and is not paused; returns whether
    /// it did.
    pub(crate) fn try_acquire(&mut self, host: &str) -> bool {
        if self.pauses.paused_until(host).is_some() {
            return false;
        }
        match self.in_flight.get_mut(host) {
            Some(count) if *count >= self.limit => false,
            Some(count) => {
                *count += 1;
                true
            }
            None => {
                self.in_flight.insert(host.into(), 1);
                true
            }
        }
    }

    /// Releases the slot of a request that has ended.
    pub(crate) fn release(&mut self, host: &str) {
        if let Some(count) = self.in_flight.get_mut(host) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(host);
            }
        }
    }

    /// Pauses a host until this time. A pause that ends later remains. Returns whether there was
    /// none.
    pub(crate) fn pause(&self, host: &str, until: Instant) -> bool {
        self.pauses.paused.set(host, until)
    }

    /// Blocks a host until this time. A block that ends later remains. Returns whether there was
    /// none.
    pub(crate) fn block(&self, host: &str, until: Instant) -> bool {
        self.pauses.blocked.set(host, until)
    }

    /// Returns how long a host is still blocked.
    pub(crate) fn blocked_for(&self, host: &str) -> Option<Duration> {
        self.pauses.blocked_for(host)
    }

    /// Returns the pauses, for requests that have been started already.
    pub(crate) fn pauses(&self) -> Pauses {
        self.pauses.clone()
    }
}

impl Pauses {
    /// Returns until when the requests to a host wait, if that has not passed.
    pub(crate) fn paused_until(&self, host: &str) -> Option<Instant> {
        self.paused.get(host)
    }

    /// Returns how long a host is still blocked.
    pub(crate) fn blocked_for(&self, host: &str) -> Option<Duration> {
        self.blocked.get(host).map(|until| until.saturating_duration_since(Instant::now()))
    }
}

impl Ends {
    /// Sets the end for a host, unless it has a later one. Returns whether it had none.
    fn set(&self, host: &str, until: Instant) -> bool {
        let is_new = self.get(host).is_none();
        let mut ends = self.0.lock();
        let end = ends.entry(host.into()).or_insert(until);
        *end = until.max(*end);
        is_new
    }

    /// Returns the end for a host, if it has not passed.
    fn get(&self, host: &str) -> Option<Instant> {
        let mut ends = self.0.lock();
        let until = *ends.get(host)?;
        if until <= Instant::now() {
            ends.remove(host);
            return None;
        }
        Some(until)
    }
}

/// Returns the end of a pause that begins now.
pub(crate) fn end_of(pause: Duration) -> Instant {
    // A time that cannot be represented is longer than any program runs.
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    Instant::now() + pause.min(century)
}
