#![doc = include_str!("../README.md")]

// Where to change what; FORMAT.md describes the files on disk.
//
// - what runs on which thread: `store`, `fs/blocking`, `fs/write_queue`; what clones of a store
//   share: `shared`; the parts of an open directory: `volume/mod`
// - finding an entry: `volume/lookup`, `volume/index` (the hash table), `volume/read_cache`; its
//   body: `volume/body`, `fs/pread`, `fs/buffers`
// - writing an entry: `writer`, `volume/segment`, `partial_body` (slow clients), then
//   `volume/commit`
// - removal: `volume/removal` (key, group, URL prefix, everything), `state/tombstones`; removals
//   that fail: `state/unconfirmed`, `pending_removal`; soft purges: `volume/marking`; damaged
//   entries: `volume/damage`
// - fetches by several processes: `leases`, `state/lease_table`
// - space: `sizes`, `volume/space`, `volume/eviction`, `volume/clock_hand`; leftovers of crashes:
//   `volume/recovery`, `maintenance`
// - statistics: `stats`, `state/counters`, `volume/scan`
// - bytes of the files: `format`, `state/state_file`; opening files: `fs/directory`,
//   `fs/open_files`

mod error;
mod format;
mod fs;
mod leases;
mod maintenance;
mod options;
mod partial_body;
mod pending_removal;
mod shared;
mod sizes;
mod state;
mod stats;
mod store;
mod volume;
mod writer;

pub use options::{DiskOptions, Durability};
pub use stats::DiskStats;
pub use store::DiskStore;
