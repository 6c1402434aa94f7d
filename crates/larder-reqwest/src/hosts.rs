//! Limits the requests in flight to each host, and records the hosts that are paused.

use std::collections::{HashMap, HashSet};

/// Counter of the requests in flight to each host.
#[derive(Debug)]
pub(crate) struct Hosts {
    limit: usize,
    in_flight: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    paused: HashSet<Box<str>, foldhash::fast::RandomState>,
}

impl Hosts {
    /// Creates a counter that allows `limit` requests at once to each host, at least 1.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), in_flight: HashMap::default(), paused: HashSet::default() }
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
}
