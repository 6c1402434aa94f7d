//! Limits the requests in flight to each host, and records the hosts that are paused, or blocked
//! until their `Retry-After` has passed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

/// Counter of the requests in flight to each host.
#[derive(Debug)]
pub(crate) struct Hosts {
    limit: usize,
    in_flight: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    /// Hosts of which the requests wait.
    paused: HashSet<Box<str>, foldhash::fast::RandomState>,
    /// Hosts to which nothing is sent, and until when.
    blocked: HashMap<Box<str>, Instant, foldhash::fast::RandomState>,
}

impl Hosts {
    /// Creates a counter that allows `limit` requests at once to each host, at least 1.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            in_flight: HashMap::default(),
            paused: HashSet::default(),
            blocked: HashMap::default(),
        }
    }

    /// Sets the number of requests at once to each host, at least 1.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    /// Counts a request to the host if the host has a free slot and is not paused; returns whether
    /// it did.
    pub(crate) fn try_acquire(&mut self, host: &str) -> bool {
        if !self.paused.is_empty() && self.paused.contains(host) {
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

    /// Pauses a host; returns `false` if it was already paused.
    pub(crate) fn pause(&mut self, host: &str) -> bool {
        self.paused.insert(host.into())
    }

    /// Ends the pause of a host.
    pub(crate) fn resume(&mut self, host: &str) {
        self.paused.remove(host);
    }

    /// Blocks a host for this time. A block that ends later remains.
    pub(crate) fn block(&mut self, host: &str, time: Duration) {
        // A time that cannot be represented is longer than any program runs.
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        let until = Instant::now() + time.min(century);
        let end = self.blocked.entry(host.into()).or_insert(until);
        *end = until.max(*end);
    }

    /// Returns how long a host is still blocked.
    pub(crate) fn blocked_for(&mut self, host: &str) -> Option<Duration> {
        let until = *self.blocked.get(host)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.blocked.remove(host);
            return None;
        }
        Some(left)
    }
}
