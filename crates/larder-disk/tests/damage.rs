//! Damages files: flips bits, truncates, overwrites, and adds files of other versions. A lookup
//! finds an entry as it was stored or does not find it. Nothing panics, and all errors concern the
//! damaged entry.

mod setting;

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf};

use larder_core::{CacheStore as _, Scope};
use proptest::prelude::*;
use setting::{TestDir, find, is_intact, key, put, read};

const LENGTHS: [usize; 8] = [0, 1, 100, 5000, 60_000, 100_000, 150_000, 400_000];

/// Returns a directory with entries that no store has open.
fn filled() -> (tokio::runtime::Runtime, TestDir) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime");
    let dir = TestDir::new();
    runtime.block_on(async {
        let store = dir.open();
        for (n, length) in (0..).zip(LENGTHS) {
            put(&store, n, length).await.expect("put succeeds");
        }
    });
    (runtime, dir)
}

/// Picks any file except the lock file, which is empty.
fn pick_file(dir: &TestDir, which: prop::sample::Index) -> PathBuf {
    let mut files: Vec<_> = dir.files();
    files.retain(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0));
    files.sort();
    which.get(&files).clone()
}

/// Reads all entries twice, stores them again, and asserts that they are intact.
fn assert_recovers(runtime: &tokio::runtime::Runtime, dir: &TestDir) {
    runtime.block_on(async {
        let store = dir.open();
        for _ in 0..2 {
            for n in 0..LENGTHS.len() as u64 {
                is_intact(&store, n).await;
            }
        }
        for (n, length) in (0..).zip(LENGTHS) {
            put(&store, n, length).await.expect("put succeeds again");
            assert!(is_intact(&store, n).await, "the entry of {length} bytes is intact again");
        }
    });
}

/// Returns the number of test cases. `cargo xtask chaos disk` sets a higher one.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere(file: prop::sample::Index, position: prop::sample::Index, bit in 0u8..8) {
        let (runtime, dir) = filled();
        let path = pick_file(&dir, file);
        let file = fs::File::options().read(true).write(true).open(&path).expect("a file");
        let at = position.index(file.metadata().expect("its length").len() as usize) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read succeeds");
        file.write_all_at(&[byte[0] ^ 1 << bit], at).expect("write succeeds");
        assert_recovers(&runtime, &dir);
    }

    #[test]
    fn a_file_cut_anywhere(file: prop::sample::Index, position: prop::sample::Index) {
        let (runtime, dir) = filled();
        let path = pick_file(&dir, file);
        let file = fs::File::options().write(true).open(&path).expect("a file");
        let length = file.metadata().expect("its length").len() as usize;
        file.set_len(position.index(length) as u64).expect("truncate succeeds");
        assert_recovers(&runtime, &dir);
    }

    #[test]
    fn a_page_of_something_else_anywhere(file: prop::sample::Index, position: prop::sample::Index, byte: u8) {
        let (runtime, dir) = filled();
        let path = pick_file(&dir, file);
        let file = fs::File::options().write(true).open(&path).expect("a file");
        let at = position.index(file.metadata().expect("its length").len() as usize) / 4096 * 4096;
        file.write_all_at(&[byte; 4096], at as u64).expect("write succeeds");
        assert_recovers(&runtime, &dir);
    }
}

/// The stream of a damaged body fails, the entry is counted as corrupt, and later lookups do not
/// find it.
#[tokio::test]
async fn a_damaged_body_fails_once_and_is_removed() {
    for length in [100_000, 3 << 20] {
        let dir = TestDir::new();
        let store = dir.open();
        put(&store, 1, length).await.expect("put succeeds");
        let path = dir.files_named(if length < 128 << 10 { "s-" } else { "b-" }).remove(0);
        let file = fs::File::options().write(true).open(path).expect("a file");
        file.write_all_at(b"!", length as u64 / 2).expect("write succeeds");
        if let Some(found) = find(&store, 1).await {
            read(&found.body, None).await.expect_err("the body is damaged");
        }
        assert!(find(&store, 1).await.is_none(), "{length}");
        assert_eq!(store.stats().await.expect("stats succeeds").corrupt, 1);
        put(&store, 1, length).await.expect("put succeeds again");
        assert!(is_intact(&store, 1).await);
    }
}

/// A range read verifies exactly the blocks that it reads.
#[tokio::test]
async fn a_range_of_a_damaged_body_is_intact_or_fails() {
    let dir = TestDir::new();
    let store = dir.open();
    put(&store, 1, 1 << 20).await.expect("put succeeds");
    let file = fs::File::options().write(true).open(&dir.files_named("b-")[0]).expect("a file");
    file.write_all_at(b"!", 700_000).expect("write succeeds");
    let found = find(&store, 1).await.expect("it exists");
    let start = read(&found.body, Some(0..600_000)).await.expect("this range is not damaged");
    assert!(start == setting::content(1, 1 << 20)[..600_000]);
    read(&found.body, Some(699_000..700_100)).await.expect_err("this range is damaged");
}

#[tokio::test]
async fn other_layouts_are_removed_and_foreign_files_are_kept() {
    let dir = TestDir::new();
    fs::create_dir_all(dir.path()).expect("create a directory");
    fs::write(dir.path().join("thesis.txt"), "not yours").expect("a file");
    let options = larder_disk::DiskOptions::default;
    let error =
        larder_disk::DiskStore::open(dir.path(), options()).expect_err("the directory has a foreign file");
    assert!(error.to_string().contains("not a Larder cache"), "{error}");
    assert!(dir.path().join("thesis.txt").exists());
    fs::remove_file(dir.path().join("thesis.txt")).expect("it exists");
    drop(dir.open());
    for version in ["v0.1", "v9.7"] {
        fs::create_dir(dir.path().join(version)).expect("a folder");
        fs::write(dir.path().join(version).join("s-00000001"), "old").expect("a file");
    }
    // A process of that version uses the folder.
    let used = fs::File::open(dir.path().join("v9.7")).expect("a folder");
    used.lock_shared().expect("lock succeeds");
    fs::create_dir(dir.path().join("vacation")).expect("a folder");
    drop(dir.open());
    let exists = |name: &str| dir.path().join(name).exists();
    assert!(!exists("v0.1") && exists("v9.7") && exists("vacation"));
}

#[tokio::test]
async fn files_are_private_and_symbolic_links_are_not_followed() {
    use std::os::unix::fs::{MetadataExt as _, symlink};
    let dir = TestDir::new();
    let store = dir.open();
    put(&store, 1, 100).await.expect("put succeeds");
    put(&store, 2, 1 << 20).await.expect("put succeeds");
    let modes = |path: &PathBuf| fs::metadata(path).expect("it exists").mode() & 0o777;
    for path in dir.files() {
        assert_eq!(modes(&path), 0o600, "{}", path.display());
    }
    let folder = dir.files()[0].parent().expect("a folder").to_owned();
    assert_eq!((modes(&dir.path()), modes(&folder)), (0o700, 0o700));
    drop(store);
    // A body file is replaced by a symbolic link.
    let body = dir.files_named("b-").remove(0);
    let secret = folder.join("../secret");
    fs::copy(&body, &secret).expect("a copy");
    fs::remove_file(&body).expect("it exists");
    symlink(&secret, &body).expect("a link");
    let store = dir.open();
    if let Some(found) = find(&store, 2).await {
        assert!(read(&found.body, None).await.is_err(), "a link was followed");
    }
    store.remove(Scope::Key(&key(2))).await.expect("remove succeeds");
    assert!(secret.exists());
}
