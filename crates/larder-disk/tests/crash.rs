//! A process is killed while it writes as fast as it can, again and again.
//!
//! The test starts itself anew as the process to be killed. `LARDER_KILLS` says how often; `cargo xtask chaos disk` sets
//! it higher.

mod setting;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use larder_core::CacheStore as _;
use setting::{Place, find, is_right, key, put};

const DIRECTORY: &str = "LARDER_CRASH_DIRECTORY";
const LIMIT: u64 = 24 << 20;
const KEYS: u64 = 400;

/// The process that is killed: without the variable, this is no test and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let options = larder_disk::DiskOptions::with_max_bytes(LIMIT);
    let store = larder_disk::DiskStore::open(directory, options).expect("it opens after every crash");
    let seed = u64::from(std::process::id());
    println!("writing");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4u64 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut random = (seed * 4 + task).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            loop {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let n = random % KEYS;
                match random >> 32 & 15 {
                    0 => store.remove(&key(n)).await.expect("it removes"),
                    1 => {
                        if let Some(found) = find(&store, n).await {
                            let head = setting::head();
                            let _ = store.freshen(&key(n), found.id, head).await;
                        }
                    }
                    2 => drop(is_right(&store, n).await),
                    3 => drop(put(&store, n, 300_000 + (n as usize) * 100).await),
                    _ => drop(put(&store, n, (random >> 40) as usize % 30_000).await),
                }
            }
        });
    }
    // Only a panic ends one of them.
    tasks.join_all().await;
}

/// Entries that read as whole and weren't; stores that could not be opened; directories that grew with each crash.
#[test]
fn kill_9_while_writing() {
    let kills: u64 = std::env::var("LARDER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(200);
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut found = 0;
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["victim", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        assert!(
            lines.any(|line| line.expect("it reads").contains("writing")),
            "round {round}: it did not start"
        );
        // Different moments: a few microseconds to some tens of milliseconds of writing.
        std::thread::sleep(Duration::from_micros((round * 7919) % 20_000));
        assert!(child.try_wait().expect("a state").is_none(), "round {round}: it ended by itself");
        child.kill().expect("it is killed");
        child.wait().expect("it is gone");
        if round % 10 == 9 || round + 1 == kills {
            runtime.block_on(async {
                let store = place.sized(LIMIT);
                for n in 0..KEYS {
                    found += u64::from(is_right(&store, n).await);
                }
                assert_eq!(store.stats().await.expect("statistics").corrupt, 0, "round {round}");
            });
        }
    }
    assert!(found > kills / 10 * 20, "{found} entries were found after {kills} kills");
    // What they have left half-written is reclaimed.
    let store = place.sized(LIMIT);
    for _ in 0..500 {
        if place.files_named("p-").is_empty() && place.used() <= LIMIT + LIMIT / 50 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(place.files_named("p-").is_empty(), "half-written bodies are left");
    assert!(place.used() <= LIMIT + LIMIT / 50, "{} bytes are used", place.used());
    drop(store);
}
