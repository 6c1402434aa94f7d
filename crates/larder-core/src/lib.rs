#![doc = include_str!("../README.md")]

mod body;
mod bounded;
mod clock;
pub mod codec;
mod engine;
mod origin;
mod patience;
mod store;

pub use body::{Body, BodyError};
pub use clock::{Clock, SystemClock};
pub use engine::{
    Answer, Cache, CacheBuilder, Event, FetchError, Found, Limits, Lookup, Observer, StoreStep,
};
pub use larder_policy::*;
pub use origin::{Origin, OriginError, OriginErrorKind};
pub use patience::head_within;
pub use store::{
    BodySource, ByteStream, CacheStore, Candidate, Candidates, Claim, EntryId, HeldLease, Lease, Leases,
    RemovalListener, Removals, Removed, StoreError, StoreErrorKind, StoreWriter, StoredBody,
};
