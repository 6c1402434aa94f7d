//! A process that has run out of file descriptors. Alone in its file: the limit is the whole process's.

mod setting;

use std::fs::File;

use larder_core::CacheStore as _;
use setting::{Place, is_right, key, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_file_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let place = Place::new();
    let store = place.open();
    for n in 0..20 {
        put(&store, n, 200_000).await.expect("it stores");
    }
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: before.maximum }).expect("a limit");
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let mut failed = 0;
    for n in 0..20 {
        // An error, a miss, a hit: all but a wrong answer.
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
    assert!(failed > 0, "the limit was not met");
    drop(hoard);
    setrlimit(Resource::Nofile, before).expect("a limit");
    for n in 0..20 {
        put(&store, 200 + n, 200_000).await.expect("it stores again");
        assert!(is_right(&store, n).await && is_right(&store, 200 + n).await);
    }
}
