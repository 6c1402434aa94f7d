//! The state that all processes share: counters, the lock, and the times of removals. What changes
//! them is decided in `volume`.

pub(crate) mod counters;
pub(crate) mod lease_table;
pub(crate) mod state_file;
pub(crate) mod tombstones;
pub(crate) mod unconfirmed;
