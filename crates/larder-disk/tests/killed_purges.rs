//! Kills a process repeatedly while it writes and removes: a removal that has returned is never
//! undone.
//!
//! The test starts its own executable as the process to kill, which prints each removal that has
//! returned. `LARDER_KILLS` sets the number of kills (default 50); `cargo xtask chaos disk` sets a
//! higher one.

mod setting;

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{CacheGroup, CacheKey, CacheStore as _, Scope, StoreError, StoredHead};
use larder_disk::DiskStore;
use setting::{TestDir, read};

const DIRECTORY: &str = "LARDER_PURGES_DIRECTORY";
const FIRST_STAMP: &str = "LARDER_PURGES_FIRST_STAMP";
const LIMIT: u64 = 24 << 20;
const KEYS: u64 = 40;
/// Keys are spread over this many groups, and over this many prefixes.
const GROUPS: u64 = 4;
const PREFIXES: u64 = 3;

fn key(n: u64) -> CacheKey {
    larder_testkit::key(&format!("/p{}/{n}", n % PREFIXES))
}

fn group(n: u64) -> CacheGroup {
    CacheGroup::new("http://example.com", &format!("g{n}"))
}

fn head(n: u64) -> Arc<StoredHead> {
    let group = format!("\"g{}\"", n % GROUPS);
    Arc::new(larder_testkit::head(&[("cache-control", "max-age=3600"), ("cache-groups", &group)], &[]))
}

/// Stores an entry. Its body begins with a stamp that is taken after the reservation: a removal
/// with a higher stamp has begun after it.
async fn put(store: &DiskStore, n: u64, length: usize, stamps: &AtomicU64) -> Result<(), StoreError> {
    let reserved = store.reserve(&key(n)).await?;
    let stamp = stamps.fetch_add(1, Ordering::SeqCst);
    let mut body = stamp.to_le_bytes().to_vec();
    body.resize(length.max(8), n as u8);
    let mut writer = reserved.begin(head(n), None, head(n).keep_until()).await?;
    writer.write(Bytes::from(body)).await?;
    writer.commit().await.map(drop)
}

/// Returns the stamp of an entry, if it is stored.
async fn stamp(store: &DiskStore, n: u64) -> Option<u64> {
    let found = store.lookup(&key(n)).await.expect("lookup succeeds");
    let body = read(&found.first()?.body, None).await.expect("it is intact");
    Some(u64::from_le_bytes(*body.first_chunk().expect("it has a stamp")))
}

/// Removes a random scope. Returns what a removal with this stamp concerns: a kind and a number.
async fn remove(store: &DiskStore, random: u64) -> (&'static str, u64) {
    let n = random >> 8;
    match random % 16 {
        0 => {
            store.remove(Scope::All).await.expect("it removes");
            ("all", 0)
        }
        1..4 => {
            let prefix = format!("http://example.com/p{}/", n % PREFIXES);
            store.remove(Scope::Prefix(&prefix)).await.expect("it removes");
            ("prefix", n % PREFIXES)
        }
        4..8 => {
            store.remove(Scope::Group(&group(n % GROUPS))).await.expect("it removes");
            ("group", n % GROUPS)
        }
        _ => {
            store.remove(Scope::Key(&key(n % KEYS))).await.expect("it removes");
            ("key", n % KEYS)
        }
    }
}

/// The process that is killed. Does nothing unless the environment variable is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let options = larder_disk::DiskOptions::default().with_max_bytes(LIMIT);
    let store = DiskStore::open(directory, options).expect("open succeeds after every crash");
    let first = std::env::var(FIRST_STAMP).expect("a stamp").parse::<u64>().expect("a number");
    let stamps = Arc::new(AtomicU64::new(first));
    println!("writing");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4u64 {
        let (store, stamps) = (store.clone(), Arc::clone(&stamps));
        tasks.spawn(async move {
            let mut random = (first + task).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            loop {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let n = random >> 16 & 0xFFFF;
                match random >> 40 & 7 {
                    0 | 1 => {
                        let stamp = stamps.fetch_add(1, Ordering::SeqCst);
                        let (kind, number) = remove(&store, random >> 16).await;
                        println!("removed {kind} {number} {stamp}");
                    }
                    2 => {
                        let n = n % KEYS;
                        let found = store.lookup(&key(n)).await.expect("lookup succeeds");
                        if let Some(found) = found.first() {
                            let _ = store.freshen(&key(n), found.id, head(n), head(n).keep_until()).await;
                        }
                    }
                    3 => drop(put(&store, n % KEYS, 300_000, &stamps).await),
                    _ => drop(put(&store, n % KEYS, (random >> 44) as usize % 30_000, &stamps).await),
                }
            }
        });
    }
    // The tasks run until the process is killed, or one of them panics.
    tasks.join_all().await;
}

/// The highest stamp of the removals of each kind and number that have returned.
#[derive(Default)]
struct Removed(HashMap<(String, u64), u64>);

impl Removed {
    fn add(&mut self, kind: &str, number: u64, stamp: u64) {
        let highest = self.0.entry((kind.to_owned(), number)).or_default();
        *highest = stamp.max(*highest);
    }

    /// Returns the lowest stamp that an entry may have.
    fn of(&self, n: u64) -> u64 {
        let scopes = [("all", 0), ("prefix", n % PREFIXES), ("group", n % GROUPS), ("key", n)];
        let stamps = scopes.iter().filter_map(|(kind, number)| self.0.get(&((*kind).to_owned(), *number)));
        stamps.max().copied().unwrap_or(0)
    }
}

/// Starts a process, kills it after a moment, and returns what it has printed.
fn run_and_kill(dir: &TestDir, round: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir.path())
        .env(FIRST_STAMP, (round << 32).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the child process starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let begins = lines.any(|line| line.expect("read succeeds").contains("writing"));
    assert!(begins, "round {round}: the process did not start writing");
    let reading = std::thread::spawn(move || lines.map_while(Result::ok).collect());
    // Kills at different moments, after 0 to 40 ms of writing.
    std::thread::sleep(Duration::from_micros((round * 7919) % 40_000));
    assert!(child.try_wait().expect("try_wait succeeds").is_none(), "round {round}: the process exited");
    child.kill().expect("kill succeeds");
    child.wait().expect("wait succeeds");
    reading.join().expect("no panic")
}

/// A page was purged, and the process was killed. Would the next process serve the page?
#[test]
fn a_purge_that_returned_is_never_undone_by_a_kill() {
    let kills: u64 = std::env::var("LARDER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(50);
    let dir = TestDir::new();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime");
    let (mut removed, mut removals, mut found) = (Removed::default(), 0, 0);
    for round in 1..=kills {
        for line in run_and_kill(&dir, round) {
            let words: Vec<_> = line.split(' ').collect();
            let ["removed", kind, number, stamp] = words[..] else { panic!("round {round}: {line}") };
            removed.add(kind, number.parse().expect("a number"), stamp.parse().expect("a stamp"));
            removals += 1;
        }
        runtime.block_on(async {
            let store = dir.sized(LIMIT);
            for n in 0..KEYS {
                let Some(stamp) = stamp(&store, n).await else { continue };
                assert!(stamp >= removed.of(n), "round {round}: entry {n} is served after its removal");
                found += 1;
            }
            // A removal by a process that ends as it should, in between.
            let (kind, number) = remove(&store, round * 7919).await;
            removed.add(kind, number, (round << 32) + (1 << 31));
        });
    }
    assert!(removals > kills, "{removals} removals returned before {kills} kills");
    assert!(found > kills, "{found} entries were found after {kills} kills");
}
