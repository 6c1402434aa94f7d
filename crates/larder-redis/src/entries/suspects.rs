//! Entries of which the order against removals is unknown: those of an earlier epoch, and those
//! with a group that has no token. A lookup returns them stale, so that the origin validates them.
//!
//! A validation proves that an entry is valid only in the epoch in which the request to the origin
//! was sent: a removal after that may have been lost again. So a lookup gives each suspect entry an
//! id of its own, under which this table keeps the state at the time of the lookup. `freshen`
//! writes that epoch, and the server refuses it if it has ended.

use std::collections::{HashMap, VecDeque};

use larder_core::{EntryId, StoredHead};
use parking_lot::Mutex;

use crate::{entries::tokens::Ticket, token::Token};

/// Most lookups that are remembered. The entry of a forgotten one is not freshened, but fetched
/// again when it is next requested.
const MAX_SUSPECTS: usize = 8192;

/// The suspect entries that lookups have returned.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<u64, (EntryId, Ticket)>,
    /// The ids in the order of their lookups.
    order: VecDeque<u64>,
}

impl Suspects {
    /// Returns an id for an entry that a lookup has found with this state.
    pub(crate) fn alias(&self, entry: EntryId, ticket: Ticket) -> EntryId {
        let alias = Token::number();
        let mut table = self.0.lock();
        if table.order.len() >= MAX_SUSPECTS
            && let Some(oldest) = table.order.pop_front()
        {
            table.entries.remove(&oldest);
        }
        table.entries.insert(alias, (entry, ticket));
        table.order.push_back(alias);
        EntryId(alias)
    }

    /// Returns the entry that an id means, and the state at its lookup if it was suspect.
    pub(crate) fn resolve(&self, id: EntryId) -> (EntryId, Option<Ticket>) {
        let found = self.0.lock().entries.get(&id.0).copied();
        found.map_or((id, None), |(entry, ticket)| (entry, Some(ticket)))
    }
}

/// Makes a head stale from its arrival on, and requires its validation: no directive and no failure
/// of the origin permits to serve it stale.
///
/// The result depends on nothing else, so that two lookups return equal heads.
pub(crate) fn mark_suspect(head: &mut StoredHead) {
    let freshness = &mut head.freshness;
    let lifetime = &mut freshness.lifetime.lifetime;
    *lifetime = (*lifetime).min(freshness.corrected_initial_age);
    freshness.must_revalidate = true;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::tokens::Removals;

    #[test]
    fn the_oldest_suspects_are_forgotten() {
        let suspects = Suspects::default();
        let ticket = |groups| Ticket { epoch: [1; 8], removals: Removals { token: [2; 8], groups } };
        let first = suspects.alias(EntryId(7), ticket(0));
        let second = suspects.alias(EntryId(7), ticket(1));
        assert_ne!(first, second, "each lookup has its own state");
        let (entry, found) = suspects.resolve(second);
        assert_eq!((entry, found.map(|ticket| ticket.removals.groups)), (EntryId(7), Some(1)));
        for _ in 0..MAX_SUSPECTS - 1 {
            suspects.alias(EntryId(8), ticket(2));
        }
        assert!(suspects.resolve(first).1.is_none(), "the oldest one");
        assert!(suspects.resolve(second).1.is_some());
        assert_eq!(suspects.resolve(EntryId(9)).0, EntryId(9), "an entry that is not suspect");
    }
}
