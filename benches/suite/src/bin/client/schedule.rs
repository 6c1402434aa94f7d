//! Ten thousand scheduled pages: the cost of waiting, and the delay of a run.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use larder_reqwest::{CachedClient, Schedule};

use crate::store;

pub(crate) fn run(origin: &str, quick: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (pages, idle, ticks) = if quick { (200, 1, 2) } else { (10_000, 10, 10) };
    println!("\n| scheduled pages | |\n|---|---|");
    runtime.block_on(waiting(origin, pages, Duration::from_secs(idle)))?;
    runtime.block_on(drift(origin, ticks))
}

async fn waiting(origin: &str, pages: usize, idle: Duration) -> anyhow::Result<()> {
    let client = CachedClient::builder().no_proxy().store(store()).build()?;
    // The first responses are stored before the measurement, which is of the schedule alone.
    let urls: Vec<String> = (0..pages).map(|n| format!("{origin}/1k?schedule{n}")).collect();
    anyhow::ensure!(client.fetch_all(urls.clone()).count().await == pages, "each is fetched");
    let before = resident()?;
    let (refresher, events) = client.refresher().per_host(64).start();
    for url in &urls {
        refresher.add(url, Schedule::every(Duration::from_secs(3600)))?;
    }
    let mut events = events.take(pages);
    while events.next().await.is_some() {}
    let memory = resident()?.saturating_sub(before);
    let (begun, cpu) = (Instant::now(), cpu_ticks()?);
    tokio::time::sleep(idle).await;
    let used = (cpu_ticks()? - cpu) as f64 / 100.0 / begun.elapsed().as_secs_f64() * 100.0;
    println!("| {pages} pages that wait: CPU, of one core | {used:.2} % |");
    println!("| memory for each, beside its response | {} bytes |", memory / pages as u64);
    refresher.stop().await;
    Ok(())
}

async fn drift(origin: &str, ticks: u32) -> anyhow::Result<()> {
    let client = CachedClient::builder().no_proxy().build()?;
    let (refresher, mut events) = client.refresher().start();
    let second = Duration::from_secs(1);
    refresher.add(format!("{origin}/1k-nostore"), Schedule::every(second))?;
    events.next().await.context("a first run")?;
    let (first, mut worst) = (Instant::now(), Duration::ZERO);
    for tick in 1..=ticks {
        events.next().await.context("a run")?;
        worst = worst.max(first.elapsed().abs_diff(second * tick));
    }
    println!(
        "| every second, {ticks} times: farthest from its time | {:.1} ms |",
        worst.as_secs_f64() * 1000.0
    );
    println!(
        "| the last, which shows any drift | {:.1} ms |",
        first.elapsed().abs_diff(second * ticks).as_secs_f64() * 1000.0
    );
    Ok(())
}

/// Returns user and system time, in hundredths of a second.
fn cpu_ticks() -> anyhow::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().context("fields")?.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

fn resident() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
