//! Ten thousand URLs, half of them cached: Larder's batch, bare reqwest, and Python's clients.

use std::{process::Command, time::Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use larder_reqwest::{CacheOutcome, CachedClient};

use crate::{median, store};

const CONCURRENCY: usize = 32;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/batch.py");

pub(crate) fn run(origin: &str, quick: bool) -> anyhow::Result<()> {
    let (count, times) = if quick { (200, 1) } else { (10_000, 5) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
    let mut keep = |name, seconds| match rows.iter_mut().find(|(known, _)| *known == name) {
        Some((_, rounds)) => rounds.push(seconds),
        None => rows.push((name, vec![seconds])),
    };
    for time in 0..times {
        let urls: Vec<String> = (0..count).map(|n| format!("{origin}/1k?{time}.{n}")).collect();
        keep("**larder**, `fetch_all`", runtime.block_on(larder(&urls))?);
        keep("reqwest, `buffer_unordered`, no cache", runtime.block_on(bare(&urls))?);
        for which in ["aiohttp", "aiohttp-client-cache", "hishel"] {
            if time == 0 || which == "aiohttp" {
                keep(which, python(which, origin, count)?);
            }
        }
    }
    println!(
        "\n| {count} URLs, half of them cached, {CONCURRENCY} at once | s | times larder |\n|---|---|---|"
    );
    let mut base = None;
    for (name, rounds) in rows {
        let seconds = median(rounds);
        println!("| {name} | {seconds:.3} | {:.1} |", seconds / *base.get_or_insert(seconds));
    }
    Ok(())
}

async fn larder(urls: &[String]) -> anyhow::Result<f64> {
    let client = CachedClient::builder().no_proxy().store(store()).build()?;
    let all = |urls: Vec<String>| client.fetch_all(urls).concurrency(CONCURRENCY).per_host(CONCURRENCY);
    let half: Vec<String> = urls.iter().step_by(2).cloned().collect();
    let half = all(half).count().await;
    let begun = Instant::now();
    let mut hits = 0;
    let mut pages = all(urls.to_vec());
    while let Some(page) = pages.next().await {
        let response = page.result?;
        hits += usize::from(response.outcome() == CacheOutcome::Hit);
        anyhow::ensure!(response.bytes().await?.len() == 1024, "it is whole");
    }
    anyhow::ensure!(hits == half, "{hits} hits");
    Ok(begun.elapsed().as_secs_f64())
}

async fn bare(urls: &[String]) -> anyhow::Result<f64> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let get = |url: &String| {
        let request = client.get(url);
        async move { anyhow::Ok(request.send().await?.bytes().await?.len()) }
    };
    let begun = Instant::now();
    let lengths: Vec<usize> =
        futures_util::stream::iter(urls.iter().map(get)).buffer_unordered(CONCURRENCY).try_collect().await?;
    anyhow::ensure!(lengths.iter().all(|length| *length == 1024), "each is whole");
    Ok(begun.elapsed().as_secs_f64())
}

fn python(which: &str, origin: &str, count: usize) -> anyhow::Result<f64> {
    let python = std::env::var("LARDER_PYTHON")?;
    let numbers = [count, CONCURRENCY].map(|number| number.to_string());
    let output = Command::new(python).args([SCRIPT, which, origin]).args(numbers).output()?;
    anyhow::ensure!(output.status.success(), "{which}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
