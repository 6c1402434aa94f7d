//! Runs the contract tests of all stores against the disk store, with a limit that is never reached
//! and with a small one, and the contract tests of stores that outlive their process.

use larder_disk::{DiskOptions, DiskStore};

fn store(max_bytes: u64) -> DiskStore {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("create a directory").keep();
    DiskStore::open(directory.join("cache"), DiskOptions::default().with_max_bytes(max_bytes))
        .expect("open succeeds")
}

larder_testkit::store_suite!(roomy, async { store(1 << 30) });
larder_testkit::store_suite!(tight, async { store(32 << 20) });

larder_testkit::durable_suite!(durable, |path: &std::path::Path| {
    DiskStore::open(path, DiskOptions::default()).expect("open succeeds")
});
