//! How many requests are on their way to each host, and which hosts want to be left alone.

use std::collections::{HashMap, HashSet};

/// Counts requests by host.
#[derive(Debug)]
pub(crate) struct Hosts {
    most: usize,
    running: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    paused: HashSet<Box<str>, foldhash::fast::RandomState>,
}

impl Hosts {
    /// So many at once, at most, for each.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), running: HashMap::default(), paused: HashSet::default() }
    }

    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Counts one in, if it may go.
    pub(crate) fn begin(&mut self, host: &str) -> bool {
        if !self.paused.is_empty() && self.paused.contains(host) {
            return false;
        }
        match self.running.get_mut(host) {
            Some(count) if *count >= self.most => false,
            Some(count) => {
                *count += 1;
                true
            }
            None => {
                self.running.insert(host.into(), 1);
                true
            }
        }
    }

    pub(crate) fn end(&mut self, host: &str) {
        if let Some(count) = self.running.get_mut(host) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(host);
            }
        }
    }

    /// `false` if it was left alone already.
    pub(crate) fn pause(&mut self, host: &str) -> bool {
        self.paused.insert(host.into())
    }

    pub(crate) fn go_on(&mut self, host: &str) {
        self.paused.remove(host);
    }
}
