#![doc = include_str!("../README.md")]

// Where to change what; FORMAT.md describes the files on disk.
//
// - what runs on which thread: `store`, `blocking`; what clones of a store share: `shared`; the
//   parts of an open directory: `volume`
// - finding an entry: `lookup`, `index` (the hash table), `read_cache`; its body: `body`, `pread`,
//   `buffers`
// - writing an entry: `writer`, `segment`, `partial_body` (slow clients), then `commit`
// - removal: `removal` (key, group, URL prefix, everything), `tombstones`; damage: `damage`
// - space: `eviction`; leftovers of crashes: `recovery`, `maintenance`
// - bytes of the files: `record`, `state_file`, `file_name`; opening files: `directory`

mod blocking;
mod body;
mod bucket;
mod buffers;
mod commit;
mod counters;
mod damage;
mod directory;
mod error;
mod eviction;
mod file_name;
mod index;
mod lookup;
mod maintenance;
mod open_files;
mod options;
mod partial_body;
mod pread;
mod read_cache;
mod read_record;
mod record;
mod recovery;
mod removal;
mod scan;
mod segment;
mod shared;
mod state_file;
mod stats;
mod store;
mod tombstones;
mod volume;
mod writer;

pub use options::{DiskOptions, Durability};
pub use stats::DiskStats;
pub use store::DiskStore;
