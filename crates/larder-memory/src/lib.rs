#![doc = include_str!("../README.md")]

// Where to change what: lookup, commit, removal, weights and eviction in `shared`, freshening in
// `store`, writing in `writer`, bodies and ranges in `body`. Which writes a removal revokes, and
// which entries the removal of a group hides, is decided by `larder_core::Epochs`.

mod body;
mod large;
mod options;
mod shared;
mod store;
mod writer;

pub use options::MemoryOptions;
pub use store::MemoryStore;
