//! Runs a process out of file descriptors. The test has its own file because the limit applies to
//! the whole process.

mod setting;

use std::fs::File;

use larder_core::CacheStore as _;
use setting::{TestDir, is_intact, key, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_file_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let dir = TestDir::new();
    let store = dir.open();
    for n in 0..20 {
        put(&store, n, 200_000).await.expect("put succeeds");
    }
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: before.maximum }).expect("a limit");
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let mut failed = 0;
    for n in 0..20 {
        // An error, a miss or a hit are all correct; wrong bytes are not.
        match store.lookup(&key(n)).await {
            Ok(found) => {
                for one in found.iter() {
                    failed += u32::from(setting::read(&one.body, None).await.is_err());
                }
            }
            Err(_) => failed += 1,
        }
        failed += u32::from(put(&store, 100 + n, 200_000).await.is_err());
    }
    assert!(failed > 0, "the limit was not reached");
    drop(hoard);
    setrlimit(Resource::Nofile, before).expect("a limit");
    for n in 0..20 {
        put(&store, 200 + n, 200_000).await.expect("put succeeds again");
        assert!(is_intact(&store, n).await && is_intact(&store, 200 + n).await);
    }
}
