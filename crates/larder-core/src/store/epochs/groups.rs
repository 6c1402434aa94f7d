//! Records the last event of each group: the epoch of its removal or, in a second table, the time
//! at which it was marked stale. The parent module counts the epochs.

use std::collections::{HashMap, VecDeque};

use larder_policy::CacheGroup;
use parking_lot::RwLock;

/// Number of events that are recorded, at most.
const MAX_EVENTS: usize = 65_536;

/// The last event of each group, as a number that grows from event to event.
#[derive(Debug, Default)]
pub(super) struct GroupEvents(RwLock<Events>);

#[derive(Debug, Default)]
struct Events {
    /// The last event of each group.
    last: HashMap<CacheGroup, u64>,
    /// All recorded events, oldest first. A group with two events is in it twice.
    order: VecDeque<(CacheGroup, u64)>,
    /// Events up to this one may have been dropped. Every group counts as having had an event then.
    floor: u64,
}

impl GroupEvents {
    /// Records an event of `group` at the number that `at` returns. Drops the oldest records beyond
    /// the limit.
    ///
    /// `at` is called under the lock, so that two events of one group are recorded in the order of
    /// their numbers.
    pub(super) fn record(&self, group: &CacheGroup, at: impl FnOnce() -> u64) {
        let mut events = self.0.write();
        let at = at();
        let last = events.last.entry(group.clone()).or_default();
        // A clock that was set back must not make an earlier mark ineffective.
        *last = at.max(*last);
        events.order.push_back((group.clone(), at));
        while events.order.len() > MAX_EVENTS {
            let Some((oldest, at)) = events.order.pop_front() else { return };
            if events.last.get(&oldest) == Some(&at) {
                events.last.remove(&oldest);
                events.floor = events.floor.max(at);
            }
        }
    }

    /// Returns the last event of these groups, or the last that may have been dropped. Zero for
    /// none, and if there are no groups.
    pub(super) fn last(&self, groups: &[CacheGroup]) -> u64 {
        if groups.is_empty() {
            return 0;
        }
        let events = self.0.read();
        let recorded = groups.iter().filter_map(|group| events.last.get(group));
        recorded.fold(events.floor, |last, at| last.max(*at))
    }

    /// Returns the number of groups with a recorded event.
    pub(super) fn recorded(&self) -> usize {
        self.0.read().last.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: usize) -> CacheGroup {
        CacheGroup::new("https://example.com", &n.to_string())
    }

    /// A site that removes a group for each change of each of its pages would otherwise fill the
    /// memory with group names.
    #[test]
    fn many_events_use_bounded_memory_and_concern_all_older_entries() {
        let groups = GroupEvents::default();
        let count = MAX_EVENTS + 1000;
        for n in 0..count {
            groups.record(&group(n), || n as u64 + 1);
        }
        assert!(groups.recorded() <= MAX_EVENTS);
        for n in [0, 1, 999, 1000, count - 1] {
            assert!((n as u64) < groups.last(&[group(n)]), "an entry older than the removal of group {n}");
        }
        assert!(count as u64 >= groups.last(&[group(count - 1)]), "an entry begun afterwards");
    }

    /// A clock that was set back by an hour made a group fresh again that had been marked stale a
    /// minute before. Its readers got the old pages.
    #[test]
    fn an_earlier_event_does_not_replace_a_later_one() {
        let groups = GroupEvents::default();
        groups.record(&group(0), || 20);
        groups.record(&group(0), || 10);
        assert_eq!(groups.last(&[group(0)]), 20);
    }
}
