//! Holds the candidates of long bodies outside the map, so that they are freed when they leave it.
//!
//! The map keeps what it has removed until no thread can still be reading it: dozens of values for
//! each thread, and more while a thread is not running. Of long bodies that was up to eight times
//! the capacity. `shared` puts the candidates into the map through [`Held`], and drops them from
//! here when the map reports their removal.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use larder_core::{Candidate, Candidates};
use parking_lot::Mutex;

/// Weight of an entry in bytes from which on it is held outside the map. Below, what the map has
/// removed and keeps is little, and a lookup saves the two reference counts.
const LONG: u32 = 16 << 10;

/// The candidates of a key, as the map has them.
#[derive(Clone)]
pub(crate) enum Held {
    InMap(Candidates),
    /// In [`Large`].
    Outside(Weak<[Candidate]>),
}

/// The candidates that are held outside the map.
#[derive(Default)]
pub(crate) struct Large {
    /// The candidates, by their address.
    held: Mutex<HashMap<usize, Arc<[Candidate]>>>,
}

impl Large {
    /// Holds candidates of this weight.
    pub(crate) fn hold(&self, candidates: Arc<[Candidate]>, weight: u32) -> Held {
        if weight < LONG {
            return Held::InMap(candidates.into());
        }
        let outside = Arc::downgrade(&candidates);
        self.held.lock().insert(address(&outside), candidates);
        Held::Outside(outside)
    }

    /// Drops candidates that have left the map. Those who are reading them keep what they have.
    pub(crate) fn drop_removed(&self, held: &Held) {
        if let Held::Outside(outside) = held {
            let removed = self.held.lock().remove(&address(outside));
            // Without the lock: it may free a long body.
            drop(removed);
        }
    }
}

/// Returns the address of candidates. While the weak reference exists, no others have it.
fn address(candidates: &Weak<[Candidate]>) -> usize {
    candidates.as_ptr().cast::<()>().addr()
}

impl Held {
    /// Returns the candidates, or `None` if they have left the map meanwhile.
    pub(crate) fn into_candidates(self) -> Option<Candidates> {
        match self {
            Self::InMap(candidates) => Some(candidates),
            Self::Outside(candidates) => candidates.upgrade().map(Candidates::from),
        }
    }
}
