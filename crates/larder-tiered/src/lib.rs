#![doc = include_str!("../README.md")]

mod coherence;
mod store;
mod writer;

pub use store::TieredStore;
