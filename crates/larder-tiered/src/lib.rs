#![doc = include_str!("../README.md")]

// Where to change what: reading, promotion and removal in `store`, writing in `writer`, and which
// near copies are valid in `coherence`.

mod coherence;
mod store;
mod writer;

pub use store::TieredStore;
