//! Kills a process repeatedly while it writes as fast as it can.
//!
//! The test starts its own executable as the process to kill. `LARDER_KILLS` sets the number of
//! kills (default 200); `cargo xtask chaos disk` sets a higher one.

mod setting;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use larder_core::{CacheStore as _, Scope};
use setting::{TestDir, find, is_intact, key, put};

const DIRECTORY: &str = "LARDER_CRASH_DIRECTORY";
const LIMIT: u64 = 24 << 20;
const KEYS: u64 = 400;

/// The process that is killed. Does nothing unless the environment variable is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let options = larder_disk::DiskOptions::default().with_max_bytes(LIMIT);
    let store = larder_disk::DiskStore::open(directory, options).expect("open succeeds after every crash");
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
                    0 => {
                        store.remove(Scope::Key(&key(n))).await.expect("remove succeeds");
                    }
                    1 => {
                        if let Some(found) = find(&store, n).await {
                            let head = setting::head();
                            let keep_until = head.keep_until();
                            let _ = store.freshen(&key(n), found.id, head, keep_until).await;
                        }
                    }
                    2 => drop(is_intact(&store, n).await),
                    3 => drop(put(&store, n, 300_000 + (n as usize) * 100).await),
                    _ => drop(put(&store, n, (random >> 40) as usize % 30_000).await),
                }
            }
        });
    }
    // The tasks run until the process is killed, or one of them panics.
    tasks.join_all().await;
}

/// Entries were read as whole that were not. Stores could not be opened. Directories grew with each
/// crash.
#[test]
fn kill_9_while_writing() {
    let kills: u64 = std::env::var("LARDER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(200);
    let dir = TestDir::new();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime");
    let mut found = 0;
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["victim", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the child process starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        assert!(
            lines.any(|line| line.expect("read succeeds").contains("writing")),
            "round {round}: the process did not start writing"
        );
        // Kills at different moments, after 0 to 20 ms of writing.
        std::thread::sleep(Duration::from_micros((round * 7919) % 20_000));
        assert!(
            child.try_wait().expect("try_wait succeeds").is_none(),
            "round {round}: the process exited before it was killed"
        );
        child.kill().expect("kill succeeds");
        child.wait().expect("wait succeeds");
        if round % 10 == 9 || round + 1 == kills {
            runtime.block_on(async {
                let store = dir.sized(LIMIT);
                for n in 0..KEYS {
                    found += u64::from(is_intact(&store, n).await);
                }
                assert_eq!(store.stats().await.expect("stats succeeds").corrupt, 0, "round {round}");
            });
        }
    }
    assert!(found > kills / 10 * 20, "{found} entries were found after {kills} kills");
    // Partially written files are reclaimed.
    let store = dir.sized(LIMIT);
    for _ in 0..500 {
        if dir.files_named("p-").is_empty() && dir.used() <= LIMIT + LIMIT / 50 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(dir.files_named("p-").is_empty(), "partially written bodies are left");
    assert!(dir.used() <= LIMIT + LIMIT / 50, "{} bytes are used", dir.used());
    drop(store);
}
