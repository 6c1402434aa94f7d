//! A gibibyte through the store. Alone in its file: the memory that is measured is the whole process's.

use larder_disk::{DiskOptions, DiskStore};

larder_testkit::bounded_memory_suite!(disk, |path: &std::path::Path| {
    let mut options = DiskOptions::with_max_bytes(4 << 30);
    options.max_object = Some(2 << 30);
    DiskStore::open(path, options).expect("it opens")
});
