//! Pages that are due and wait for room: by host, each host in its turn.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Included, Unbounded},
};

use crate::hosts::Hosts;

/// Pages that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    hosts: BTreeMap<Box<str>, VecDeque<u64>>,
    /// The host that was served last.
    last: Box<str>,
}

impl Queue {
    pub(super) fn push(&mut self, host: &str, page: u64) {
        match self.hosts.get_mut(host) {
            Some(pages) => pages.push_back(page),
            None => {
                self.hosts.insert(host.into(), VecDeque::from([page]));
            }
        }
    }

    /// The next page whose host has room; it is counted in. Looks at no more hosts than are busy, and one.
    pub(super) fn next(&mut self, busy: &mut Hosts) -> Option<(Box<str>, u64)> {
        let after = self.hosts.range::<str, _>((Excluded(&*self.last), Unbounded));
        let hosts = after.chain(self.hosts.range::<str, _>((Unbounded, Included(&*self.last))));
        let host = hosts.map(|(host, _)| host).find(|host| busy.begin(host))?.clone();
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
    fn each_host_in_its_turn_and_no_more_than_it_takes() {
        let (mut queue, mut busy) = (Queue::default(), Hosts::new(2));
        for (host, page) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6)] {
            queue.push(host, page);
        }
        let next = |queue: &mut Queue, busy: &mut Hosts| queue.next(busy).map(|(_, page)| page);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, &mut busy)).collect();
        assert_eq!(order, [1, 4, 5, 2, 6], "the third of a waits for its host");
        busy.end("a");
        assert_eq!((next(&mut queue, &mut busy), next(&mut queue, &mut busy)), (Some(3), None));
        assert!(queue.hosts.is_empty());
    }
}
