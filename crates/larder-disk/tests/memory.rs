//! Measures memory while a body of 1 GiB passes through the store. The test has its own file
//! because it measures the memory of the whole process.

use larder_disk::{DiskOptions, DiskStore};

larder_testkit::bounded_memory_suite!(disk, |path: &std::path::Path| {
    let options = DiskOptions::default().with_max_bytes(4 << 30).with_max_object(2 << 30);
    DiskStore::open(path, options).expect("open succeeds")
});
