#![doc = include_str!("../README.md")]

mod counters;

pub use counters::{Counters, Counts};
pub use larder_core::CacheOutcome;
