//! Bytes that are not what was written: flipped, cut, overwritten, from another version. What is found is what was stored,
//! or it is not found; nothing panics, and nobody gets an error that is not about the entry.

mod setting;

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf};

use larder_core::CacheStore as _;
use proptest::prelude::*;
use setting::{Place, find, is_right, key, put, read};

const LENGTHS: [usize; 8] = [0, 1, 100, 5000, 60_000, 100_000, 150_000, 400_000];

/// Entries on disk, and nobody who has them open.
fn filled() -> (tokio::runtime::Runtime, Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let place = Place::new();
    runtime.block_on(async {
        let store = place.open();
        for (n, length) in (0..).zip(LENGTHS) {
            put(&store, n, length).await.expect("it stores");
        }
    });
    (runtime, place)
}

/// Any file but the lock, which is empty.
fn chosen(place: &Place, which: prop::sample::Index) -> PathBuf {
    let mut files: Vec<_> = place.files();
    files.retain(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0));
    files.sort();
    which.get(&files).clone()
}

/// Reads everything, twice; then stores it anew, and it is all there.
fn holds(runtime: &tokio::runtime::Runtime, place: &Place) {
    runtime.block_on(async {
        let store = place.open();
        for _ in 0..2 {
            for n in 0..LENGTHS.len() as u64 {
                is_right(&store, n).await;
            }
        }
        for (n, length) in (0..).zip(LENGTHS) {
            put(&store, n, length).await.expect("it stores again");
            assert!(is_right(&store, n).await, "{length} bytes are there again");
        }
    });
}

/// `cargo xtask chaos disk` sets more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere(file: prop::sample::Index, position: prop::sample::Index, bit in 0u8..8) {
        let (runtime, place) = filled();
        let path = chosen(&place, file);
        let file = fs::File::options().read(true).write(true).open(&path).expect("a file");
        let at = position.index(file.metadata().expect("its length").len() as usize) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("it reads");
        file.write_all_at(&[byte[0] ^ 1 << bit], at).expect("it writes");
        holds(&runtime, &place);
    }

    #[test]
    fn a_file_cut_anywhere(file: prop::sample::Index, position: prop::sample::Index) {
        let (runtime, place) = filled();
        let path = chosen(&place, file);
        let file = fs::File::options().write(true).open(&path).expect("a file");
        let length = file.metadata().expect("its length").len() as usize;
        file.set_len(position.index(length) as u64).expect("it cuts");
        holds(&runtime, &place);
    }

    #[test]
    fn a_page_of_something_else_anywhere(file: prop::sample::Index, position: prop::sample::Index, byte: u8) {
        let (runtime, place) = filled();
        let path = chosen(&place, file);
        let file = fs::File::options().write(true).open(&path).expect("a file");
        let at = position.index(file.metadata().expect("its length").len() as usize) / 4096 * 4096;
        file.write_all_at(&[byte; 4096], at as u64).expect("it writes");
        holds(&runtime, &place);
    }
}

/// A body that turns out to be damaged breaks off, is counted, and is not found again.
#[tokio::test]
async fn a_damaged_body_fails_once_and_is_gone() {
    for length in [100_000, 3 << 20] {
        let place = Place::new();
        let store = place.open();
        put(&store, 1, length).await.expect("it stores");
        let path = place.files_named(if length < 128 << 10 { "s-" } else { "b-" }).remove(0);
        let file = fs::File::options().write(true).open(path).expect("a file");
        file.write_all_at(b"!", length as u64 / 2).expect("it writes");
        if let Some(found) = find(&store, 1).await {
            read(&found.body, None).await.expect_err("it is damaged");
        }
        assert!(find(&store, 1).await.is_none(), "{length}");
        assert_eq!(store.stats().await.expect("statistics").corrupt, 1);
        put(&store, 1, length).await.expect("it stores again");
        assert!(is_right(&store, 1).await);
    }
}

/// Only the blocks of a range are verified, and they are.
#[tokio::test]
async fn a_range_of_a_damaged_body_is_right_or_fails() {
    let place = Place::new();
    let store = place.open();
    put(&store, 1, 1 << 20).await.expect("it stores");
    let file = fs::File::options().write(true).open(&place.files_named("b-")[0]).expect("a file");
    file.write_all_at(b"!", 700_000).expect("it writes");
    let found = find(&store, 1).await.expect("it is there");
    let start = read(&found.body, Some(0..600_000)).await.expect("that part is right");
    assert!(start == setting::content(1, 1 << 20)[..600_000]);
    read(&found.body, Some(699_000..700_100)).await.expect_err("this is not");
}

#[tokio::test]
async fn other_versions_are_cleaned_up_and_others_files_are_not() {
    let place = Place::new();
    fs::create_dir_all(place.path()).expect("a directory");
    fs::write(place.path().join("thesis.txt"), "not yours").expect("a file");
    let options = larder_disk::DiskOptions::default;
    let refused = larder_disk::DiskStore::open(place.path(), options()).expect_err("somebody else's");
    assert!(refused.to_string().contains("not a cache of Larder's"), "{refused}");
    assert!(place.path().join("thesis.txt").exists());
    fs::remove_file(place.path().join("thesis.txt")).expect("it is there");
    drop(place.open());
    for version in ["v0.1", "v9.7"] {
        fs::create_dir(place.path().join(version)).expect("a folder");
        fs::write(place.path().join(version).join("s-00000001"), "old").expect("a file");
    }
    // In use by a process of that version.
    let used = fs::File::open(place.path().join("v9.7")).expect("a folder");
    used.lock_shared().expect("a lock");
    fs::create_dir(place.path().join("vacation")).expect("a folder");
    drop(place.open());
    let left = |name: &str| place.path().join(name).exists();
    assert!(!left("v0.1") && left("v9.7") && left("vacation"));
}

#[tokio::test]
async fn nobody_else_can_read_it_and_links_are_not_followed() {
    use std::os::unix::fs::{MetadataExt as _, symlink};
    let place = Place::new();
    let store = place.open();
    put(&store, 1, 100).await.expect("it stores");
    put(&store, 2, 1 << 20).await.expect("it stores");
    let modes = |path: &PathBuf| fs::metadata(path).expect("it is there").mode() & 0o777;
    for path in place.files() {
        assert_eq!(modes(&path), 0o600, "{}", path.display());
    }
    let folder = place.files()[0].parent().expect("a folder").to_owned();
    assert_eq!((modes(&place.path()), modes(&folder)), (0o700, 0o700));
    drop(store);
    // Somebody put a link in the place of a body.
    let body = place.files_named("b-").remove(0);
    let secret = folder.join("../secret");
    fs::copy(&body, &secret).expect("a copy");
    fs::remove_file(&body).expect("it is there");
    symlink(&secret, &body).expect("a link");
    let store = place.open();
    if let Some(found) = find(&store, 2).await {
        assert!(read(&found.body, None).await.is_err(), "a link was followed");
    }
    store.remove(&key(2)).await.expect("it removes");
    assert!(secret.exists());
}
