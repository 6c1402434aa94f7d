//! The caching rules: everything that `larder-policy` exports.
//!
//! The types that appear in most programs are exported at the root of this crate, too. The others
//! are for adapters, stores and tools that look into a decision.

pub use larder_policy::*;
