#![doc = include_str!("../README.md")]

// Where to change what:
//
// - what stores and origins promise: `store`, `origin`
// - the path of a request, collapsing, limits, purges: `engine`, beginning with its header
// - the bytes of a stored entry: `codec` and FORMAT.md
// - origins that run inside the request's own future: `local_origin`
// - caching rules: none here; see `larder-policy`

pub mod adapter;
mod body;
mod clock;
pub mod codec;
mod engine;
mod error_chain;
mod local_origin;
mod log_throttle;
mod origin;
mod origin_report;
pub mod policy;
mod store;
mod timeout;
mod upgrade;

pub use body::{Body, BodyEnd, BodyError, BodyReadError};
pub use clock::{Clock, SystemClock};
pub use engine::{
    Answered, BodyBroken, Bypass, Cache, CacheBuilder, CacheResponse, Confirmed, Event, FetchError,
    FetchOptions, Finished, Limits, Lookup, Miss, NotStored, Observer, OverrideFn, RangeOptions, RefreshTurn,
    Refreshes, ResponseContext, StoreFailed, StoreStep, Stored, VariantEvicted, forms_of,
};
#[doc(hidden)]
pub use error_chain::debug_as_chain;
pub use larder_policy::{
    CacheDetail, CacheGroup, CacheKey, CacheKind, CacheMode, CacheOutcome, CacheStatus, ForwardReason,
    NotStorable, Overrides, RequestHead, RequestHeaders, Rules, StoredHead, TargetError, TargetUri,
    Timestamp,
};
pub use local_origin::{OriginRequest, OriginRequests, Responder, local_origin};
pub use log_throttle::LogThrottle;
pub use origin::{Origin, OriginError, OriginErrorKind};
pub use origin_report::OriginReport;
pub use store::{
    BodySource, ByteStream, CacheStore, Candidate, Candidates, Change, Claim, EntryId, Epochs, HeldLease,
    Invalidation, InvalidationFeed, InvalidationStream, KeyValue, KeyValueStore, Lease, Leases, OwnedScope,
    Purged, Removal, RemovalToken, Removals, Reservation, Scope, StoreError, StoreErrorKind, StoreWriter,
    StoredBody, Ticket, mark_key_stale,
};
pub use timeout::head_within;
pub use upgrade::{Upgrade, Upgraded};
