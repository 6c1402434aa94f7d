//! What every question shares: a request and a response as browsers and servers send them, and an origin.
#![allow(dead_code, reason = "each question uses a part of it")]

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::Criterion;
use http::{HeaderMap, HeaderName, HeaderValue};
use larder_core::{CacheKey, CacheStore, StoredHead};
use larder_testkit::RawOrigin;
use tokio::runtime::Runtime;

/// When requests are made, in seconds: a little after responses have come.
pub(crate) const NOW: u64 = 1_700_000_010;

pub(crate) const RESPONSE: [(&str, &str); 10] = [
    ("server", "origin/1.0"),
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "public, max-age=3600"),
    ("etag", "\"abcdef123456\""),
    ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("vary", "accept-encoding"),
    ("x-request-id", "8f14e45fceea167a5a36dedd4bea2543"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "sameorigin"),
    ("content-language", "en"),
];

pub(crate) const SIZES: [(&str, usize); 3] = [("1KiB", 1 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20)];

/// Short rounds: there are many questions. Criterion's own flags go before this.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(800))
        .sample_size(10)
        .configure_from_args()
}

pub(crate) fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(field).collect()
}

/// As a browser asks.
pub(crate) fn request() -> HeaderMap {
    fields(&[
        ("host", "example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("connection", "keep-alive"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "none"),
        ("priority", "u=0, i"),
    ])
}

pub(crate) fn head() -> Arc<StoredHead> {
    Arc::new(larder_testkit::head(&RESPONSE, &[("accept-encoding", "gzip, deflate, br, zstd")]))
}

/// The same, of a page that does not vary: tiers keep those near.
pub(crate) fn plain_head() -> Arc<StoredHead> {
    let fields = RESPONSE.iter().filter(|(name, _)| *name != "vary").copied().collect::<Vec<_>>();
    Arc::new(larder_testkit::head(&fields, &[]))
}

pub(crate) fn key(n: u64) -> CacheKey {
    larder_testkit::key(&format!("/catalogue/items/{n}"))
}

pub(crate) async fn put(store: &dyn CacheStore, key: &CacheKey, head: &Arc<StoredHead>, body: Bytes) {
    let reserved = store.reserve(key).await.expect("it reserves");
    let mut writer = reserved.begin(Arc::clone(head), Some(body.len() as u64)).await.expect("it begins");
    writer.write(body).await.expect("it takes it");
    writer.commit().await.expect("it commits");
}

pub(crate) fn body(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

/// How long `count` of these take, so many at once.
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

/// An origin on a socket, that answers everything with so many bytes, fresh for an hour.
pub(crate) fn origin(length: usize) -> RawOrigin {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n").into_bytes();
    for (name, value) in RESPONSE.iter().filter(|(name, _)| *name != "vary") {
        answer.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body(length));
    RawOrigin::start(move |_, stream| stream.write_all(&answer).is_ok())
}
