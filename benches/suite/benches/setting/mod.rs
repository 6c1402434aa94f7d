//! What the benchmarks share: keys, bodies, runtimes, and an origin.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::Criterion;
use larder_core::CacheKey;
use larder_testkit::{RawOrigin, fixtures::RESPONSE};
use tokio::runtime::Runtime;

pub(crate) const SIZES: [(&str, usize); 3] = [("1KiB", 1 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20)];

/// Configures short rounds, because there are many benchmarks. Criterion's command-line flags
/// override this.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(800))
        .sample_size(10)
        .configure_from_args()
}

pub(crate) fn key(n: u64) -> CacheKey {
    larder_testkit::key(&format!("/catalogue/items/{n}"))
}

pub(crate) fn body(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

/// Measures how long `count` calls take, with a number of them in progress at once.
pub(crate) fn timed<F>(
    runtime: &Runtime,
    count: u64,
    tasks: u64,
    act: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Duration
where
    F: Future<Output = ()> + Send,
{
    let begun = Instant::now();
    if tasks == 1 {
        runtime.block_on(async {
            for n in 0..count {
                act(n).await;
            }
        });
        return begun.elapsed();
    }
    runtime.block_on(async {
        let one = |task: u64| {
            let act = act.clone();
            tokio::spawn(async move {
                for n in (task..count).step_by(tasks as usize) {
                    act(n).await;
                }
            })
        };
        for running in (0..tasks.min(count)).map(one).collect::<Vec<_>>() {
            running.await.expect("no panic");
        }
    });
    begun.elapsed()
}

pub(crate) fn runtime(tasks: u64) -> Runtime {
    let mut builder = match tasks {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build().expect("a runtime")
}

/// Starts an origin that answers every request with a body of this length, fresh for an hour.
pub(crate) fn origin(length: usize) -> RawOrigin {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n").into_bytes();
    for (name, value) in RESPONSE.iter().filter(|(name, _)| *name != "vary") {
        answer.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body(length));
    RawOrigin::start(move |_, stream| stream.write_all(&answer).is_ok())
}
