//! Determines which target a request has, which of its fields may be forwarded, and under which key
//! its response is stored, for all adapters.
//!
//! Cache poisoning and request smuggling exploit mistakes in these steps. The order is always the
//! same:
//!
//! 1. [`RequestTarget::of`] determines the target as the origin or handler will understand it. The
//!    fields of a proxy in front ([`TrustedProxies`]) are part of it; those of any other client are
//!    not.
//! 2. [`KeyRules`] puts path and query into the form that is looked up *and* requested, and makes
//!    the key of the URL. A purge goes through the same rules ([`PurgeUrl`], [`PurgePrefix`]).
//! 3. [`FieldNormalization`] replaces the fields that select a response by a normal form, which is
//!    looked up *and* requested, too.
//! 4. [`KeyRules::key_with`] adds to the key [what else](KeyParts) responses depend on.
//! 5. [`Forwarding`] prepares the fields of a request for the origin: it removes what concerns the
//!    connection, then what could steer the origin and is not in the key, and then writes its own.
//!    A client can remove nothing that is written last.

mod content;
mod cookies;
mod field_normalization;
mod forwarded;
mod forwarding;
mod key_parts;
mod key_rules;
mod language;
mod purge;
mod purge_request;
mod steering;
mod tag_pattern;
mod target;
mod trusted;

pub use content::{ContentError, RequestContent};
pub use cookies::joined_cookies;
pub use field_normalization::{FieldNormalization, InvalidNormalization};
pub use forwarding::{Forwarding, LoopDetected};
pub use key_parts::KeyParts;
pub use key_rules::{ContentInKey, KeyRules};
pub use purge::{PurgeError, PurgePrefix, PurgeUrl};
pub use purge_request::{PurgeRequest, UnknownPurge};
pub use steering::{is_steering, normal_host, set_target_fields, strip_steering};
pub use target::{ReceivedTarget, RequestTarget, TargetRejection};
pub use trusted::{ForwardedFields, InvalidNetwork, TrustedProxies};
