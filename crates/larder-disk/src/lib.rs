#![doc = include_str!("../README.md")]

mod body;
mod buffers;
mod commit;
mod counters;
mod directory;
mod error;
mod eviction;
mod file_name;
mod index;
mod lookup;
mod maintenance;
mod options;
mod partial_body;
mod pread;
mod read_cache;
mod record;
mod recovery;
mod segment;
mod state_file;
mod stats;
mod store;
mod tombstones;
mod volume;
mod writer;

pub use options::{DiskOptions, Durability};
pub use stats::DiskStats;
pub use store::DiskStore;
