//! A store that is written against the facade can run the store contract: the macros of
//! larder-testkit need no dependency on larder-core. They once named `::larder_core`.

use larder::{disk::DiskStore, memory::MemoryStore};

larder_testkit::store_suite!(memory, async { MemoryStore::default() });

larder_testkit::durable_suite!(disk, |path| {
    DiskStore::open(path, larder::disk::DiskOptions::default()).expect("an empty directory")
});
