//! core
mod body;
mod clock;
mod origin;
mod store;

pub use body::{Body, BodyError};
pub use clock::{Clock, SystemClock};
pub use larder_policy::*;
pub use origin::{Origin, OriginError, OriginErrorKind};
pub use store::{BodySource, ByteStream, CacheStore, Candidate, Candidates, Claim, EntryId, HeldLease, Lease, Leases, StoreError, StoreErrorKind, StoreWriter, StoredBody};
mod engine;
pub use engine::{Answer, Cache, CacheBuilder, FetchError, Found, Limits, Lookup};
