//! Defines what the requests that wait for a fetch may do with its result.
//!
//! `fetch` and `fill` produce the value, `miss::lead` completes the flight with it, and
//! `miss::follow` acts on it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::StatusCode;

use super::response::{CacheResponse, ResponseHead};
use crate::{Candidate, OriginError, OriginErrorKind, StoredHead};

/// The outcome of a flight, for its followers.
#[derive(Debug, Clone)]
pub(crate) enum FlightOutcome {
    /// The response can be shared. Its head has arrived; its body has arrived or, with an
    /// [`Arrived`], is arriving.
    Shared(Candidate, Option<Arrived>),
    /// The response cannot be shared. All followers go to the origin at once.
    NotShared(NextRequests),
    /// The response is longer than this limit of the leader's caller, and not longer than that of
    /// the cache, as far as it is known. One follower with a higher limit leads again.
    TooLong(u64),
    /// The origin returned no response. After a first failure other than a timeout, one follower
    /// leads again, because the fault may have been limited to that connection. After a timeout or
    /// a second failure all followers get an error of this kind, with the text of its cause;
    /// otherwise the waits of successive attempts would add up.
    Failed(OriginErrorKind, Option<Arc<str>>),
    /// The origin returned this server error, and the leader served a stale response instead.
    ServerError(StatusCode),
    /// The leader was dropped before the headers arrived. Another request leads.
    Abandoned,
}

/// How many bytes of a body have arrived. Clones share the number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrived(Arc<AtomicU64>);

impl Arrived {
    /// Sets the number of bytes.
    pub(crate) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Returns the number of bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens to the next requests for a key with a response that could not be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextRequests {
    /// They are collapsed: the reason was limited to this response.
    Collapse,
    /// They go to the origin uncollapsed for a while, because waiting doubles their latency.
    GoAlone {
        /// Whether the header fields of the response forbid storing.
        forbids_storing: bool,
    },
}

impl FlightOutcome {
    /// The outcome for a response that cannot be shared although its header fields permit storing.
    pub(crate) const UNSHAREABLE: Self = Self::NotShared(NextRequests::GoAlone { forbids_storing: false });

    /// Returns the outcome for a fetch that failed with this error.
    pub(crate) fn of_error(error: &OriginError) -> Self {
        Self::Failed(error.kind(), error.cause().map(Arc::from))
    }

    /// Returns the outcome for a leader that served a stored response: shared if it is a fresh hit,
    /// so that the followers need not look it up one after the other.
    pub(crate) fn of_served(response: &CacheResponse) -> Self {
        let is_fresh = response.cache_status.hit && response.cache_status.ttl.is_some_and(|ttl| ttl > 0);
        match &response.head {
            ResponseHead::Stored(candidates, index) if is_fresh => {
                Self::Shared(candidates[*index].clone(), None)
            }
            _ => Self::Abandoned,
        }
    }

    /// Returns the outcome for a stored response: shared, unless it has to be validated for each
    /// request.
    pub(crate) fn of_stored(candidate: Candidate) -> Self {
        if is_shareable(&candidate.head) { Self::Shared(candidate, None) } else { Self::UNSHAREABLE }
    }

    /// Returns the outcome for a response of which the body is arriving.
    pub(crate) fn while_arriving(self, arrived: Arrived) -> Self {
        match self {
            Self::Shared(candidate, _) => Self::Shared(candidate, Some(arrived)),
            other => other,
        }
    }
}

/// Returns whether a response with this head may be served to requests that waited while it was
/// fetched.
fn is_shareable(head: &StoredHead) -> bool {
    let freshness = &head.freshness;
    !freshness.no_cache
        && freshness.lifetime.lifetime > freshness.corrected_initial_age
        && !head.selecting.never_matches()
        // A part of a whole of unknown length is served to no other request.
        && head.part.is_none_or(|part| part.complete.is_some())
}
