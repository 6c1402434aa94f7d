//! Pages that are due and wait for a slot: a queue for each host, served in round-robin order.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Included, Unbounded},
};

use crate::hosts::Hosts;

/// The waiting pages, by host.
#[derive(Debug, Default)]
pub(super) struct Queue {
    hosts: BTreeMap<Box<str>, VecDeque<u64>>,
    /// The host that was served last. The search for the next page begins after it.
    last: Box<str>,
}

impl Queue {
    /// Adds a page at the end of its host's queue.
    pub(super) fn push(&mut self, host: &str, page: u64) {
        match self.hosts.get_mut(host) {
            Some(pages) => pages.push_back(page),
            None => {
                self.hosts.insert(host.into(), VecDeque::from([page]));
            }
        }
    }

    /// Removes and returns the next page with a free slot at its host, and acquires the slot.
    ///
    /// It visits at most one host more than are busy.
    pub(super) fn next(&mut self, slots: &mut Hosts) -> Option<(Box<str>, u64)> {
        let after = self.hosts.range::<str, _>((Excluded(&*self.last), Unbounded));
        let hosts = after.chain(self.hosts.range::<str, _>((Unbounded, Included(&*self.last))));
        let host = hosts.map(|(host, _)| host).find(|host| slots.try_acquire(host))?.clone();
        let pages = self.hosts.get_mut(&host)?;
        let page = pages.pop_front();
        if pages.is_empty() {
            self.hosts.remove(&host);
        }
        self.last.clone_from(&host);
        page.map(|page| (host, page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_take_turns_within_their_limit() {
        let (mut queue, mut slots) = (Queue::default(), Hosts::new(2));
        for (host, page) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6)] {
            queue.push(host, page);
        }
        let next = |queue: &mut Queue, slots: &mut Hosts| queue.next(slots).map(|(_, page)| page);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, &mut slots)).collect();
        assert_eq!(order, [1, 4, 5, 2, 6], "the third page of host a waits for a slot");
        slots.release("a");
        assert_eq!((next(&mut queue, &mut slots), next(&mut queue, &mut slots)), (Some(3), None));
        assert!(queue.hosts.is_empty());
    }
}
