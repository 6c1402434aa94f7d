#![doc = include_str!("../README.md")]

mod body;
mod bounded;
mod clock;
pub mod codec;
mod engine;
mod errand;
mod origin;
mod patience;
mod store;

pub use body::{Body, BodyError};
pub use clock::{Clock, SystemClock};
pub use engine::{
    Answer, Arrived, Cache, CacheBuilder, Event, FetchError, FetchOptions, Found, Limits, Lookup, Observer,
    Overriding, StoreStep,
};
pub use errand::{Errand, Errands, Reply, errands};
pub use larder_policy::*;
pub use origin::{Origin, OriginError, OriginErrorKind};
pub use patience::head_within;
pub use store::{
    BodySource, ByteStream, CacheStore, Candidate, Candidates, Claim, EntryId, HeldLease, Lease, Leases,
    RemovalListener, Removals, Removed, Reservation, StoreError, StoreErrorKind, StoreWriter, StoredBody,
};
