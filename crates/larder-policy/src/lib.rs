#![doc = include_str!("../README.md")]

// Where to change what; `rules` has the settings, and most decisions are methods of `Rules`:
//
// - may a response be stored: `storing`, with `freshness`, `age`, `directives`, `targeted`,
//   `overrides`, `groups`; reasons: `not_storable`
// - may it be reused: `reuse`, `stale`, `vary`; in which form: `serving`, `range`, `multipart`,
//   `partial`
// - validating it: `validation` (the request), `freshening` (the response)
// - what an unsafe request invalidates: `invalidation`
// - keys: `key`, `target`; what is stored: `head`; what is reported: `status`, `reasons`
// - parsing: `request`, `list`, `directives`, `dates`, `structured`
// - names: `header_names`, `hop_by_hop`

mod age;
mod client_directives;
mod dates;
mod directives;
mod dot_segments;
mod freshening;
mod freshness;
mod groups;
mod head;
pub mod header_names;
mod hop_by_hop;
mod invalidation;
mod key;
mod list;
mod mode;
mod multipart;
mod negotiation;
mod not_storable;
mod overrides;
mod partial;
mod percent;
mod range;
mod reasons;
mod request;
mod resumption;
mod reuse;
mod rules;
mod serving;
mod stale;
mod status;
mod storing;
pub mod structured;
mod target;
mod targeted;
mod time;
mod trailers;
mod validation;
mod vary;

pub use age::Exchange;
pub use client_directives::{ClientDirectives, UnknownClientDirectives};
pub use dates::{format_http_date, parse_http_date};
pub use directives::{has_no_store, has_no_transform, set_immutable, set_max_age};
pub use freshening::{Freshen, HeadFreshen};
pub use freshness::{FreshnessLifetime, LifetimeSource};
pub use groups::{CacheGroup, tags_in_field};
pub use head::{FreshnessInfo, StoredHead};
pub use hop_by_hop::{accepts_trailers, strip_hop_by_hop, strip_unforwardable};
pub use invalidation::{invalidation_groups, invalidation_targets};
pub use key::{CacheKey, PrehashedBuildHasher, PrehashedHasher};
pub use list::{entity_tags, list_members, parameters};
pub use mode::CacheMode;
pub use multipart::Multipart;
pub use negotiation::{is_normalizable, quality};
pub use not_storable::NotStorable;
pub use overrides::Overrides;
pub use partial::{Combined, PartSource, is_part_of};
pub use range::{ByteRange, RangeKind};
pub use reasons::StatusReason;
pub use request::{HeaderFlags, RequestHead, RequestHeaders};
pub use resumption::{have_same_bytes, is_rest_of, request_rest};
pub use reuse::{MissReason, Reuse, Selected, StalePermission, ValidateReason};
pub use rules::{CacheKind, Rules};
pub use serving::{Serve, fields_in_form, not_modified, not_modified_fields, serve_arrived};
pub use stale::Failure;
pub use status::{CacheDetail, CacheOutcome, CacheStatus, ForwardReason};
pub use target::{TargetError, TargetUri};
pub use time::Timestamp;
pub use trailers::strip_trailers;
pub use validation::{Validator, request_from_origin, request_range, request_whole};
pub use vary::SelectingHeaders;

#[doc = include_str!("../CACHE-STATUS.md")]
pub mod cache_status_words {}
