//! The limit of a directory: to whom it belongs, and that it holds for bodies of any length from
//! several processes.
//!
//! A test starts its own executable as the other processes.

mod setting;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use larder_core::{CacheStore as _, Scope};
use larder_disk::{DiskOptions, DiskStore};
use setting::{TestDir, find, is_intact, key, put};

const MIB: u64 = 1 << 20;
const DIRECTORY: &str = "LARDER_LIMIT_DIRECTORY";

/// Opens the directory without naming a limit.
fn open(dir: &TestDir) -> DiskStore {
    DiskStore::open(dir.path(), DiskOptions::default()).expect("open succeeds")
}

/// Returns the limit that the statistics state.
async fn limit(store: &DiskStore) -> u64 {
    store.stats().await.expect("stats succeeds").max_bytes
}

/// Waits until a condition holds.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

/// `larder stats` on a cache of 4 GiB opened it with the default limit of 1 GiB. The proxy's users
/// then waited for pages that had been stored, since three quarters of them had been evicted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_at_a_directory_evicts_nothing() {
    let dir = TestDir::new();
    let store = dir.sized(64 * MIB);
    for n in 0..40 {
        put(&store, n, 1 << 20).await.expect("put succeeds");
    }
    let before = dir.files();
    let looking = DiskStore::open_existing(dir.path()).expect("it exists");
    assert_eq!(limit(&looking).await, 64 * MIB);
    assert!(is_intact(&looking, 3).await);
    looking.reserve(&key(1)).await.expect_err("it was opened to look at it");
    assert_eq!(looking.remove(Scope::Key(&key(7))).await.expect("remove succeeds"), 1.into());
    drop(looking);
    assert!(find(&store, 7).await.is_none());
    let counted = store.stats().await.expect("stats succeeds");
    assert_eq!((counted.entries, counted.hits, counted.evicted), (39, 0, 0));
    assert_eq!(dir.files().len(), before.len() - 1);
    // Also by a process that stores responses, but names no limit.
    drop(store);
    let store = open(&dir);
    assert_eq!(limit(&store).await, 64 * MIB);
    put(&store, 100, 1 << 20).await.expect("put succeeds");
    assert_eq!(store.stats().await.expect("stats succeeds").evicted, 0);
}

/// An entry was stored that needed more space than the process which looked at the directory
/// believed to have: a soft purge writes the head again.
#[tokio::test]
async fn a_soft_purge_by_a_process_that_looks_evicts_nothing() {
    let dir = TestDir::new();
    let store = dir.sized(4 * MIB);
    for n in 0..200 {
        put(&store, n, 60_000).await.expect("put succeeds");
    }
    let before = store.stats().await.expect("stats succeeds");
    let looking = DiskStore::open_existing(dir.path()).expect("it exists");
    let at = setting::head().freshness.response_time;
    let marked = looking.mark_stale(Scope::Prefix("http://example.com/19"), at).await.expect("it succeeds");
    assert!(marked.entries > Some(5), "{marked}");
    let after = store.stats().await.expect("stats succeeds");
    assert_eq!((after.entries, after.evicted), (before.entries, before.evicted));
}

#[tokio::test]
async fn a_path_that_is_no_cache_is_an_error_and_stays_as_it_is() {
    let dir = TestDir::new();
    let error = |what: &str| {
        let error = DiskStore::open_existing(dir.path()).expect_err(what).to_string();
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        error
    };
    assert!(error("nothing there").contains("not an existing directory"));
    assert!(!dir.path().exists());
    std::fs::create_dir(dir.path()).expect("a directory");
    assert!(error("an empty directory").contains("is not a Larder cache"));
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
    drop(open(&dir));
    let folder = dir.files()[0].parent().expect("a folder").to_owned();
    std::fs::rename(&folder, folder.with_file_name("v0.1")).expect("rename succeeds");
    assert!(error("another version").contains("this version"));
    assert!(dir.path().join("v0.1").exists(), "another version is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_names_a_limit_changes_it_for_all() {
    let dir = TestDir::new();
    let first = open(&dir);
    assert_eq!(limit(&first).await, 1 << 30);
    for n in 0..40 {
        put(&first, n, 1 << 20).await.expect("put succeeds");
    }
    let second = dir.sized(16 * MIB);
    assert_eq!((limit(&first).await, limit(&second).await), (16 * MIB, 16 * MIB));
    until("the entries beyond the limit are evicted", async || dir.used() <= 16 * MIB).await;
    drop(second);
    // The process that has had it open follows.
    for n in 40..80 {
        put(&first, n, 1 << 20).await.expect("put succeeds");
        assert!(dir.used() <= 16 * MIB + MIB / 3, "{} bytes", dir.used());
    }
    assert!(is_intact(&first, 79).await);
}

/// A directory of an earlier version, without a limit in its state, lost what it had beyond the
/// default limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_file_without_a_limit_is_read() {
    let dir = TestDir::new();
    let store = dir.sized(64 * MIB);
    for n in 0..10 {
        put(&store, n, 1000).await.expect("put succeeds");
    }
    drop(store);
    let state =
        std::fs::File::options().write(true).open(dir.files_named("state").remove(0)).expect("a file");
    state.set_len(116).expect("set_len succeeds");
    let looking = DiskStore::open_existing(dir.path()).expect("it exists");
    assert_eq!(limit(&looking).await, 1 << 30);
    let store = open(&dir);
    assert_eq!(limit(&store).await, 1 << 30);
    for n in 0..10 {
        assert!(is_intact(&store, n).await);
    }
}

/// A process that stores the entries that its standard input names. Does nothing unless the
/// environment variable is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = DiskStore::open(directory, DiskOptions::default()).expect("open succeeds");
    let mut lines = BufReader::new(std::io::stdin()).lines();
    while let Some(Ok(line)) = lines.next() {
        let (n, length) = line.split_once(' ').expect("a number and a length");
        let length = length.parse().expect("a length");
        let stored = put(&store, n.parse().expect("a number"), length).await;
        println!("\nstored {}", stored.err().map(|error| error.to_string()).unwrap_or_default());
    }
}

/// Another process that stores entries.
struct Writer {
    process: Child,
    input: ChildStdin,
    output: std::io::Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts a process on a directory.
    fn start(dir: &TestDir) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this test"))
            .args(["writer", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { process, input, output }
    }

    /// Requests that an entry is stored.
    fn put(&mut self, n: u64, length: usize) {
        writeln!(self.input, "{n} {length}").expect("it runs");
    }

    /// Waits until the requested entry is stored.
    fn stored(&mut self) {
        let line =
            self.output.by_ref().map(|line| line.expect("it runs")).find(|line| line.starts_with("stored"));
        assert_eq!(line.as_deref(), Some("stored "), "an entry was not stored");
    }

    /// Ends the process.
    fn end(self) {
        let Self { mut process, input, .. } = self;
        drop(input);
        assert!(process.wait().expect("it ends").success());
    }
}

/// Lets two processes store entries in turns and at the same time, and asserts after each pair that
/// the directory is within its limit, with at most `files` files. At the end, the last entries of
/// both that fill a quarter of the limit are hits.
fn sustain(max_bytes: u64, files: usize, lengths: &[usize], total: u64) {
    let dir = TestDir::new();
    drop(dir.sized(max_bytes));
    let mut writers = [Writer::start(&dir), Writer::start(&dir)];
    let mut written = Vec::new();
    let (mut sum, mut most) = (0, 0);
    for round in 0u64.. {
        for (which, writer) in (0u64..).zip(&mut writers) {
            let n = round * 2 + which;
            let length = lengths[n as usize % lengths.len()];
            writer.put(n, length);
            written.push((n, length));
            sum += length as u64;
        }
        writers.iter_mut().for_each(Writer::stored);
        let used = dir.used();
        most = most.max(used);
        assert!(
            used <= max_bytes + max_bytes / 50,
            "{used} bytes of {max_bytes} after {n} entries",
            n = written.len()
        );
        assert!(dir.files().len() <= files, "{} files", dir.files().len());
        if sum > total {
            break;
        }
    }
    assert!(most > max_bytes / 10 * 8, "only {most} bytes of {max_bytes} were used");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime");
    runtime.block_on(async {
        let store = DiskStore::open_existing(dir.path()).expect("it exists");
        let mut checked = 0;
        for (n, length) in written.iter().rev() {
            checked += *length as u64;
            if checked > max_bytes / 4 {
                break;
            }
            assert!(
                is_intact(&store, *n).await,
                "entry {n} of {length} bytes, {checked} bytes before the last"
            );
        }
        let stats = store.stats().await.expect("stats succeeds");
        // The unused part of a segment that is being written counts as used.
        assert!(stats.bytes.abs_diff(dir.used()) < max_bytes / 20, "{} are counted", stats.bytes);
        assert_eq!(stats.failed, 0);
    });
    writers.into_iter().for_each(Writer::end);
}

/// After 200 of 400 long bodies nothing more was stored, for ever: bodies in files were evicted
/// only together with a segment of heads, and the only segment was in use.
#[test]
fn long_bodies_are_evicted_one_by_one() {
    sustain(200 * MIB, 250, &[1 << 20], 400 * MIB);
}

#[test]
fn any_mix_of_lengths_can_be_sustained() {
    let mix = [1 << 10, 8 << 20, 200 << 10, 1 << 20, 20 << 10, 3 << 20, 130 << 10, 100 << 10];
    sustain(128 * MIB, 1200, &mix, 700 * MIB);
}

#[test]
fn the_smallest_limit_holds_for_short_and_long_bodies() {
    sustain(4 * MIB, 300, &[100, 400 << 10, 15 << 10, 20 << 10, 64 << 10, 17 << 10, 1000], 40 * MIB);
}

/// Bodies just long enough for a file of their own used up the inodes of the file system.
#[test]
fn the_limit_in_bytes_limits_the_number_of_files() {
    sustain(32 * MIB, 1100, &[33 << 10], 80 * MIB);
}

/// Each removal of another URL added a block to a table that no limit counted.
#[tokio::test]
async fn removals_do_not_use_up_the_limit() {
    const LIMIT: u64 = 4 * MIB;
    let dir = TestDir::new();
    let store = dir.sized(LIMIT);
    for n in 0..1500 {
        put(&store, n, 15_000).await.expect("put succeeds");
        store.remove(Scope::Key(&key(n + 1_000_000))).await.expect("remove succeeds");
        assert!(dir.used() <= LIMIT + LIMIT / 50, "{} bytes after {n} removals", dir.used());
    }
    let stats = store.stats().await.expect("stats succeeds");
    assert!(stats.entries > 150, "{} entries", stats.entries);
}

/// A scan over long files evicted the page that everyone reads.
#[tokio::test]
async fn a_long_body_in_use_outlives_a_scan() {
    let dir = TestDir::new();
    let store = dir.sized(64 * MIB);
    put(&store, 0, 1 << 20).await.expect("put succeeds");
    for n in 1..400 {
        put(&store, n, 1 << 20).await.expect("put succeeds");
        if n % 10 == 0 {
            assert!(find(&store, 0).await.is_some(), "it was evicted after {n} others");
        }
    }
    assert!(is_intact(&store, 0).await && is_intact(&store, 399).await && find(&store, 200).await.is_none());
    assert_eq!(store.stats().await.expect("stats succeeds").failed, 0);
}
