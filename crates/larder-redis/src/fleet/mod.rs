//! Coordinates the processes that share one cache.
//!
//! `leases` lets one process at a time fetch a key, and `lease_events` wakes the others when it
//! releases the lease. `messages` defines how invalidations are announced, and `invalidations`
//! receives those of other processes. `acknowledgements` lets a removal wait for them. `removals`
//! reports whether a key may have been removed. Which changes are announced is decided in
//! `entries`.

pub(crate) mod acknowledgements;
pub(crate) mod invalidations;
pub(crate) mod lease_events;
pub(crate) mod leases;
pub(crate) mod messages;
pub(crate) mod removals;
