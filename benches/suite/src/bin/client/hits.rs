//! Fresh hits of a client. All clients receive the same bodies.

use std::{future::Future, sync::Arc, time::Instant};

use bytes::Bytes;
use http_cache_reqwest::{Cache as HttpCache, CacheMode, HttpCacheOptions, MokaManager, RedbManager};
use larder_counts::allocations;
use larder_reqwest::{CachedClient, CachingMiddleware};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware};
use tokio::runtime::{Builder, Runtime};

use crate::{floor::Floor, median, private, store};

/// The clients.
struct Contest {
    cached: CachedClient,
    stacks: Vec<(&'static str, ClientWithMiddleware)>,
    plain: reqwest::Client,
    _folder: tempfile::TempDir,
}

fn stack(http: &reqwest::Client, middleware: impl Middleware) -> ClientWithMiddleware {
    ClientBuilder::new(http.clone()).with(middleware).build()
}

impl Contest {
    fn new() -> anyhow::Result<Self> {
        let plain = reqwest::Client::builder().no_proxy().build()?;
        let folder = tempfile::tempdir()?;
        let moka = || moka::future::Cache::builder().max_capacity(100_000).build();
        let options = HttpCacheOptions::default;
        let stacks = vec![
            (
                "floor: a middleware with a moka look-up",
                stack(&plain, Floor(moka::sync::Cache::new(100_000))),
            ),
            ("**larder**, `CachingMiddleware`", stack(&plain, CachingMiddleware::new(private(store())))),
            ("http-cache-reqwest, moka", {
                let manager = MokaManager::new(moka());
                let cache =
                    http_cache_reqwest::HttpCache { mode: CacheMode::Default, manager, options: options() };
                stack(&plain, HttpCache(cache))
            }),
            ("http-cache-reqwest, its default store (redb)", {
                let manager =
                    RedbManager::new(folder.path().join("redb")).map_err(anyhow::Error::from_boxed)?;
                let cache =
                    http_cache_reqwest::HttpCache { mode: CacheMode::Default, manager, options: options() };
                stack(&plain, HttpCache(cache))
            }),
        ];
        let cached = CachedClient::builder().no_proxy().store(store()).build()?;
        Ok(Self { cached, stacks, plain, _folder: folder })
    }
}

pub(crate) fn run(origin: &str, quick: bool) -> anyhow::Result<()> {
    for (size, path, keys, count) in
        [("1 KiB", "1k", 10_000, 40_000), ("64 KiB", "64k", 500, 10_000), ("1 MiB", "1m", 20, 1_000)]
    {
        let count = if quick { keys } else { count };
        let one = Builder::new_current_thread().enable_all().build()?;
        round(&one, origin, (size, path), keys, count, 1, quick)?;
        let two = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        round(&two, origin, (size, path), keys, count, 64, quick)?;
    }
    Ok(())
}

fn round(
    runtime: &Runtime,
    origin: &str,
    (size, path): (&str, &str),
    keys: usize,
    count: usize,
    tasks: usize,
    quick: bool,
) -> anyhow::Result<()> {
    let contest = runtime.block_on(async { Contest::new() })?;
    let urls: Arc<Vec<String>> = Arc::new((0..keys).map(|n| format!("{origin}/{path}?{n}")).collect());
    let mut names = vec!["**larder**, `CachedClient`"];
    names.extend(contest.stacks.iter().map(|(name, _)| *name));
    names.push("reqwest, no cache");
    let mut rounds = vec![Vec::new(); names.len()];
    let mut allocated = vec![0; names.len()];
    let times = if quick { 1 } else { 5 };
    // The first request fills the cache.
    for time in 0..=times {
        let mut keep = |index: usize, (took, allocations)| {
            if time > 0 {
                rounds[index].push(took);
                allocated[index] = allocations;
            }
        };
        let count = if time == 0 { keys } else { count };
        let cached = contest.cached.clone();
        keep(
            0,
            race(runtime, &urls, count, tasks, move |url| {
                let cached = cached.clone();
                async move { Ok(cached.get(&url).send().await?.bytes().await?) }
            })?,
        );
        for (index, (_, stack)) in contest.stacks.iter().enumerate() {
            let stack = stack.clone();
            keep(
                index + 1,
                race(runtime, &urls, count, tasks, move |url| {
                    let stack = stack.clone();
                    async move { Ok(stack.get(&url).send().await?.bytes().await?) }
                })?,
            );
        }
        let plain = contest.plain.clone();
        keep(
            names.len() - 1,
            race(runtime, &urls, count / 10, tasks, move |url| {
                let plain = plain.clone();
                async move { Ok(plain.get(&url).send().await?.bytes().await?) }
            })?,
        );
    }
    println!(
        "\n| a client's hit, {size}, {tasks} at once | µs | times `CachedClient` | allocations |\n|---|---|---|---|"
    );
    let mut base = None;
    for ((name, rounds), allocations) in names.iter().zip(rounds).zip(allocated) {
        let each = median(rounds);
        println!("| {name} | {each:.2} | {:.2} | {allocations} |", each / *base.get_or_insert(each));
    }
    Ok(())
}

/// Measures microseconds and allocations of each client.
fn race<F>(
    runtime: &Runtime,
    urls: &Arc<Vec<String>>,
    count: usize,
    tasks: usize,
    get: impl Fn(String) -> F + Clone + Send + Sync + 'static,
) -> anyhow::Result<(f64, u64)>
where
    F: Future<Output = anyhow::Result<Bytes>> + Send + 'static,
{
    let each = (count / tasks).max(1);
    let (begun, before) = (Instant::now(), allocations());
    runtime.block_on(async {
        let mut running = Vec::new();
        for task in 0..tasks {
            let (urls, get) = (Arc::clone(urls), get.clone());
            running.push(tokio::spawn(async move {
                for n in 0..each {
                    // The text is decoded here for all clients.
                    let url = urls[(task * each + n) % urls.len()].clone();
                    anyhow::ensure!(get(url).await?.len() >= 1024, "it is whole");
                }
                Ok(())
            }));
        }
        for task in running {
            task.await??;
        }
        anyhow::Ok(())
    })?;
    let total = (each * tasks) as u64;
    let took = begun.elapsed().as_nanos() as f64 / 1000.0 / total as f64;
    Ok((took, ((allocations() - before) / total).saturating_sub(1)))
}
