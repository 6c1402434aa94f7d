//! The Redis store beside a bare `GET` of the same bytes on the same server, tiers beside memory,
//! and four processes. `cargo xtask bench redis` runs it with the server's URL.

mod fleet;
mod python;

use std::{future::Future, sync::Arc, time::Instant};

use bytes::Bytes;
use larder_core::{CacheStore, StoredBody, StoredHead};
use larder_memory::MemoryStore;
use larder_redis::{RedisOptions, RedisStore};
use larder_testkit::key;
use larder_tiered::TieredStore;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("the server's URL"))?;
    let quick = std::env::args().any(|argument| argument == "--quick");
    let mut arguments = std::env::args().skip(1);
    if url == "node" {
        let (url, origin) = (arguments.nth(1).unwrap_or_default(), arguments.next().unwrap_or_default());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        return runtime.block_on(fleet::node(&url, &origin));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        for length in [1 << 10, 64 << 10] {
            for at_once in [1, 64] {
                hits(&url, length, at_once, quick).await?;
            }
        }
        tiers(&url, quick).await?;
        for at_once in [1, 64] {
            pages(&url, at_once, quick).await?;
        }
        fleet::run(&url).await
    })
}

fn head() -> Arc<StoredHead> {
    Arc::new(larder_testkit::head(
        &[
            ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "public, max-age=3600"),
            ("etag", "\"5f3c9-62a0b1c2d3e4f\""),
        ],
        &[],
    ))
}

/// Returns microseconds for a call, of the median round.
async fn race<F: Future<Output = anyhow::Result<()>>>(
    count: u64,
    at_once: usize,
    mut act: impl FnMut() -> F,
) -> anyhow::Result<f64> {
    use futures_util::{StreamExt as _, TryStreamExt as _};
    let begun = Instant::now();
    futures_util::stream::iter((0..count).map(|_| act()))
        .buffer_unordered(at_once)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed().as_nanos() as f64 / 1000.0 / count as f64)
}

fn print(what: &str, rows: Vec<(&str, Vec<f64>)>) {
    println!("\n| {what} | µs | ratio |\n|---|---|---|");
    let mut base = None;
    for (name, mut rounds) in rows {
        rounds.sort_by(f64::total_cmp);
        let median = rounds[rounds.len() / 2];
        println!("| {name} | {median:.2} | {:.2} |", median / *base.get_or_insert(median));
    }
}

async fn put(store: &dyn CacheStore, path: &str, length: usize) -> anyhow::Result<()> {
    let mut writer = store.reserve(&key(path)).await?.begin(head(), Some(length as u64), head().keep_until()).await?;
    writer.write(Bytes::from(vec![b'x'; length])).await?;
    writer.commit().await?;
    Ok(())
}

async fn read(store: &dyn CacheStore, path: &str, length: usize) -> anyhow::Result<()> {
    let found = store.lookup(&key(path)).await?;
    let StoredBody::Whole(bytes) = &found[0].body else { anyhow::bail!("it is short") };
    anyhow::ensure!(bytes.len() == length, "it is whole");
    Ok(())
}

async fn hits(url: &str, length: usize, at_once: usize, quick: bool) -> anyhow::Result<()> {
    let options = RedisOptions::default().with_command_timeout(std::time::Duration::from_secs(5));
    let store = RedisStore::connect(url, options).await?;
    put(&store, "/hit", length).await?;
    let bare = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let whole = {
        let mut out = Vec::new();
        larder_core::codec::encode_whole(
            &key("/hit"),
            &head(),
            larder_core::EntryId(1),
            &vec![b'x'; length],
            &mut out,
        )?;
        out
    };
    redis::cmd("SET").arg("bare").arg(&whole).query_async::<()>(&mut bare.clone()).await?;
    let (rounds, count) = if quick { (1, 10) } else { (9, if length > 4096 { 4_000 } else { 20_000 }) };
    let (mut get, mut hit) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        get.push(
            race(count, at_once, || {
                let mut bare = bare.clone();
                let wanted = whole.len();
                async move {
                    let bytes: Vec<u8> = redis::cmd("GET").arg("bare").query_async(&mut bare).await?;
                    anyhow::ensure!(bytes.len() == wanted, "it is whole");
                    Ok(())
                }
            })
            .await?,
        );
        hit.push(race(count, at_once, || read(&store, "/hit", length)).await?);
    }
    let what = format!("hit from Redis, {} KiB, {at_once} at once", length >> 10);
    print(
        &what,
        vec![
            ("bare GET of the same bytes, `redis` crate", get),
            ("**larder-redis**: look-up, verified", hit),
        ],
    );
    Ok(())
}

async fn tiers(url: &str, quick: bool) -> anyhow::Result<()> {
    let far = Arc::new(RedisStore::connect(url, RedisOptions::default()).await?);
    let memory = MemoryStore::default();
    let tiers = TieredStore::new(Arc::new(MemoryStore::default()), far);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    put(&memory, "/tier", 1024).await?;
    put(&tiers, "/tier", 1024).await?;
    let (rounds, count) = if quick { (1, 10) } else { (9, 200_000) };
    let (mut alone, mut tiered) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(race(count, 1, || read(&memory, "/tier", 1024)).await?);
        tiered.push(race(count, 1, || read(&tiers, "/tier", 1024)).await?);
    }
    print(
        "hit near, 1 KiB",
        vec![("larder-memory alone", alone), ("**larder-tiered**, memory over Redis", tiered)],
    );
    Ok(())
}

/// Measures a page through a caching client on Redis, as in the Python programs.
async fn pages(url: &str, at_once: usize, quick: bool) -> anyhow::Result<()> {
    const LENGTH: usize = 1024;
    let store = RedisStore::connect(url, RedisOptions::default()).await?;
    let cache = larder_core::Cache::builder(Arc::new(store)).build();
    let content: &'static [u8] = &[b'x'; LENGTH];
    let origin: Arc<dyn larder_core::Origin> =
        larder_testkit::FnOrigin::fixed(&[("cache-control", "public, max-age=3600")], content);
    let ask = || async {
        let request = http::Request::get("http://example.com/read").body(larder_core::Body::empty())?;
        let mut answer = cache.fetch(request, Arc::clone(&origin)).await?;
        let body = answer.into_body().try_into_bytes();
        anyhow::ensure!(body.is_ok_and(|body| body.len() == LENGTH), "it is whole");
        Ok(())
    };
    ask().await?;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let (rounds, count) = if quick { (1, 100) } else { (5, 20_000) };
    let (mut ours, mut hishel, mut aiocache) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(race(count, at_once, ask).await?);
        hishel.push(python::hit("hishel", url, LENGTH, at_once, count / 20)?);
        aiocache.push(python::hit("aiocache", url, LENGTH, at_once, count / 4)?);
    }
    print(
        &format!("a page from Redis, 1 KiB, {at_once} at once"),
        vec![
            ("**larder**: engine on larder-redis", ours),
            ("aiocache: bytes under a key", aiocache),
            ("hishel with httpx: a page by RFC 9111", hishel),
        ],
    );
    Ok(())
}
