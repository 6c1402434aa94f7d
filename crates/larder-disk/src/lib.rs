#![doc = include_str!("../README.md")]

mod body;
mod buffers;
mod counters;
mod directory;
mod error;
mod eviction;
mod growing;
mod hot;
mod index;
mod keeper;
mod ledger;
mod log;
mod lookup;
mod names;
mod options;
mod publish;
mod reading;
mod record;
mod recovery;
mod stats;
mod store;
mod tombs;
mod volume;
mod writer;

pub use options::{DiskOptions, Durability};
pub use stats::DiskStats;
pub use store::DiskStore;
