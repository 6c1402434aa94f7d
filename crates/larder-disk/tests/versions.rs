//! Tests a directory that programs of several versions use: each reads what its own version has
//! written, to the byte, nothing of another one, and deletes nothing without a warning.

mod setting;

use std::{
    fmt,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use larder_core::{CacheGroup, CacheStore as _, Scope};
use larder_disk::{DiskOptions, DiskStore};
use setting::{TestDir, read};
use tracing::{Event, Level, Metadata, Subscriber, field::Field, span};

/// A directory of codec 2 and layout 1 with two entries: `/short`, and `/long` with 200,000 zeros,
/// in the group `g`. For each file its name and length, and the rows of 32 bytes that are not zero.
const GOLDEN: &str = include_str!("golden/v2.1.txt");

/// Writes the files of the golden directory into a folder.
fn write_golden(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.with_file_name("CACHEDIR.TAG"), TAG).expect("a file");
    let mut file = None;
    for line in GOLDEN.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["file", name, length] => {
                let created = File::create(folder.join(name)).expect("a file");
                created.set_len(length.parse().expect("a length")).expect("it has room");
                file = Some(created);
            }
            [offset, row] => {
                let bytes: Vec<u8> = (0..row.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&row[at..at + 2], 16).expect("hexadecimal digits"))
                    .collect();
                let offset = u64::from_str_radix(offset, 16).expect("an offset");
                file.as_ref().expect("a file").write_all_at(&bytes, offset).expect("it has room");
            }
            _ => panic!("{line}"),
        }
    }
}

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# larder-disk\n";

/// Returns the name, length and content of each file in a folder.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

/// Collects the warnings of the current thread.
#[derive(Debug, Clone, Default)]
struct Warnings(Arc<Mutex<String>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Text(&mut self.0.lock().expect("no panic")));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Text<'a>(&'a mut String);

impl tracing::field::Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

/// A change of the format that keeps its version would make every cache on disk unreadable, or
/// worse, readable in part.
#[tokio::test]
async fn a_directory_that_an_earlier_build_has_written_is_read() {
    let dir = TestDir::new();
    write_golden(&dir.path().join("v2.1"));
    for store in [DiskStore::open_existing(dir.path()).expect("it opens"), dir.open()] {
        for (path, body) in [("/short", b"golden".to_vec()), ("/long", vec![0; 200_000])] {
            let found = store.lookup(&larder_testkit::key(path)).await.expect("lookup succeeds");
            assert_eq!(found.len(), 1, "{path}");
            assert_eq!(*found[0].head, larder_testkit::head(HEAD, &[]), "{path}");
            assert!(read(&found[0].body, None).await.expect("it is intact") == body, "{path}");
        }
        assert_eq!(store.stats().await.expect("stats succeeds").corrupt, 0);
    }
    let store = dir.open();
    store.remove(Scope::Group(&CacheGroup::new("http://example.com", "g"))).await.expect("it removes");
    for path in ["/short", "/long"] {
        assert!(store.lookup(&larder_testkit::key(path)).await.expect("lookup succeeds").is_empty());
    }
}

const HEAD: &[(&str, &str)] = &[("cache-control", "max-age=3600"), ("cache-groups", "\"g\"")];

/// An operator rolled a new version back, while other machines' processes on the directory still
/// had the new one.
#[tokio::test]
async fn the_entries_of_another_version_are_neither_read_nor_changed_while_it_is_in_use() {
    for other in ["v2.2", "v3.1", "v1.1"] {
        let dir = TestDir::new();
        let folder = dir.path().join(other);
        write_golden(&folder);
        let before = contents(&folder);
        let error = DiskStore::open_existing(dir.path()).expect_err("it has no cache of this version");
        assert!(error.to_string().contains("no cache of this version"), "{error}");
        let in_use = File::open(&folder).expect("a folder");
        in_use.lock_shared().expect("lock succeeds");
        let warnings = Warnings::default();
        let _logging = tracing::subscriber::set_default(warnings.clone());
        let store = dir.open();
        assert!(store.lookup(&larder_testkit::key("/short")).await.expect("lookup succeeds").is_empty());
        store.remove(Scope::All).await.expect("it removes");
        drop((store, DiskStore::open(dir.path(), DiskOptions::default()).expect("it opens")));
        assert!(contents(&folder) == before, "{other} was changed");
        assert_eq!(*warnings.0.lock().expect("no panic"), "");
        // Once no process uses it, its files are removed, with a warning.
        drop(in_use);
        drop(dir.open());
        assert!(!folder.exists(), "{other}");
        let warning = warnings.0.lock().expect("no panic").clone();
        assert!(warning.contains(other) && warning.contains("another version"), "{warning}");
    }
}
