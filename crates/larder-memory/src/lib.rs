#![doc = include_str!("../README.md")]

mod body;
mod groups;
mod inflight;
mod options;
mod store;
mod writer;

pub use options::MemoryOptions;
pub use store::MemoryStore;
