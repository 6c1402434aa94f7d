#![doc = include_str!("../README.md")]

// Where to change what: lookup, commit, weights and eviction in `shared`, freshening and removal in
// `store`, removal of keys during writes in `inflight`, of groups in `groups`, writing in `writer`,
// bodies and ranges in `body`.

mod body;
mod groups;
mod inflight;
mod options;
mod shared;
mod store;
mod writer;

pub use options::MemoryOptions;
pub use store::MemoryStore;
