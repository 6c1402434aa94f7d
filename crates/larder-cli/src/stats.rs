//! `larder stats`: prints the statistics of a store, or of a running proxy.
//!
//! The admin listener of the proxy has [`store_json`] in its `GET /stats`.

use std::process::ExitCode;

use larder::{
    core::{Clock as _, SystemClock, Timestamp},
    disk::DiskStats,
    proxy::redact_url,
    redis::RedisStats,
};

use crate::{
    admin_client::AdminArgs,
    client_args::runtime,
    console::{OutputError, out},
    humanize::{duration, size},
    store_url::{self, OpenStore},
};

/// Show statistics of a store or of a running proxy.
///
/// For a disk store: entries, bytes, the age of the entries, and the hits, misses and evictions
/// since its directory was created. For a Redis store: entries, and the memory that its servers
/// use. For a running proxy: requests by outcome since its start, its stores, and the health of its
/// origins.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  # The cache of `larder get`.
  larder stats

  # A store on disk, as JSON.
  larder stats --store disk:/var/cache/larder --json

  # A proxy that was started with --admin 127.0.0.1:9321.
  larder stats --admin http://127.0.0.1:9321")]
pub(crate) struct Args {
    /// Store to inspect: disk:PATH or redis://HOST.
    #[arg(long, value_name = "STORE", conflicts_with = "admin")]
    store: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        if let Some(admin) = &args.admin.admin {
            let stats = args.admin.get(admin, "stats").await?;
            if args.json {
                out!("{stats}")?
            } else {
                print_proxy(&stats)?
            }
            return Ok(ExitCode::SUCCESS);
        }
        let address = args.store.as_deref().map_or_else(store_url::default_store, redact_url);
        match store_url::open_shared(args.store.as_deref()).await? {
            OpenStore::Disk(store) => {
                let (stats, now) = (store.stats().await?, SystemClock.now());
                match args.json {
                    true => out!("{}", with_address(disk_json(&stats, now), &address))?,
                    false => print_disk(&stats, now, &address)?,
                }
            }
            OpenStore::Redis(store) => {
                let stats = store.stats().await?;
                match args.json {
                    true => out!("{}", with_address(redis_json(&stats), &address))?,
                    false => print_redis(&stats, &address)?,
                }
            }
            OpenStore::Memory(_) => {}
        }
        anyhow::Ok(ExitCode::SUCCESS)
    })
}

/// Returns the statistics of a store as JSON. If the store fails, `error` has the reason.
pub(crate) async fn store_json(store: &OpenStore) -> serde_json::Value {
    let failed = |error: &dyn std::fmt::Display| serde_json::json!({ "error": error.to_string() });
    match store {
        OpenStore::Memory(store) => {
            serde_json::json!({ "kind": "memory", "keys": store.key_count(), "bytes": store.bytes_in_use() })
        }
        OpenStore::Disk(store) => {
            let stats = store.stats().await;
            stats.map_or_else(|error| failed(&error), |stats| disk_json(&stats, SystemClock.now()))
        }
        OpenStore::Redis(store) => {
            store.stats().await.map_or_else(|error| failed(&error), |stats| redis_json(&stats))
        }
    }
}

/// Converts the statistics of a Redis store to JSON.
fn redis_json(stats: &RedisStats) -> serde_json::Value {
    serde_json::json!({ "entries": stats.entries, "server_bytes": stats.server_bytes })
}

/// Adds the URL of the store to its statistics.
fn with_address(mut stats: serde_json::Value, address: &str) -> serde_json::Value {
    stats["store"] = address.into();
    stats
}

/// Prints the statistics of a Redis store.
fn print_redis(stats: &RedisStats, address: &str) -> Result<(), OutputError> {
    out!("store     {address}")?;
    out!("entries   {}", stats.entries)?;
    out!("memory    {}, used by the servers for all their data", size(stats.server_bytes))
}

/// Prints the statistics of a running proxy.
fn print_proxy(stats: &serde_json::Value) -> Result<(), OutputError> {
    let count = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
    out!("uptime    {}", duration(count(&stats["uptime_seconds"])))?;
    let none = serde_json::Map::new();
    let requests = stats["requests"].as_object().unwrap_or(&none);
    let all: u64 = requests.values().map(count).sum();
    let each: Vec<String> = requests
        .iter()
        .filter(|(_, value)| count(value) > 0)
        .map(|(outcome, value)| format!("{} {outcome}", count(value)))
        .collect();
    out!("requests  {all}{}{}", if each.is_empty() { "" } else { ": " }, each.join(", "))?;
    out!("stored    {}, {} not storable", count(&stats["stored"]), count(&stats["not_stored"]))?;
    let evicted = count(&stats["variants_evicted"]);
    if evicted > 0 {
        out!("variants  {evicted} evicted, from pages with more variants than are stored")?;
    }
    for store in stats["stores"].as_array().into_iter().flatten() {
        let entries = count(&store["entries"]) + count(&store["keys"]);
        let bytes = count(&store["bytes"]) + count(&store["server_bytes"]);
        out!("in store  {entries} entries, {}", size(bytes))?;
    }
    for origin in stats["origins"].as_array().into_iter().flatten() {
        let health = if origin["healthy"] == true { "healthy" } else { "UNHEALTHY" };
        out!("origin    {} {health}", origin["url"].as_str().unwrap_or_default())?;
    }
    let faults = count(&stats["broken_bodies"]) + count(&stats["store_failures"]);
    if faults > 0 {
        out!(
            "faults    {} incomplete bodies from origins, {} failed store operations",
            count(&stats["broken_bodies"]),
            count(&stats["store_failures"])
        )?;
    }
    Ok(())
}

/// Returns the 10th, 50th and 90th percentile and the maximum of the entries' ages, in seconds.
fn ages(arrived: &[Timestamp], now: Timestamp) -> Option<[u64; 4]> {
    let youngest_first = |part: usize| {
        let at = (arrived.len() - 1) * (10 - part) / 10;
        now.since(arrived[at]).as_secs()
    };
    (!arrived.is_empty()).then(|| [1, 5, 9, 10].map(youngest_first))
}

/// Converts the statistics of a disk store to JSON.
fn disk_json(stats: &DiskStats, now: Timestamp) -> serde_json::Value {
    let ages = ages(&stats.arrived, now);
    serde_json::json!({
        "entries": stats.entries, "bytes": stats.bytes, "max_bytes": stats.max_bytes,
        "hits": stats.hits, "misses": stats.misses, "stored": stats.stored, "evicted": stats.evicted,
        "corrupt": stats.corrupt, "failed": stats.failed,
        "age_seconds": ages.map(|[p10, p50, p90, oldest]| {
            serde_json::json!({ "p10": p10, "p50": p50, "p90": p90, "oldest": oldest })
        }),
    })
}

/// Prints the statistics of a disk store.
fn print_disk(stats: &DiskStats, now: Timestamp, address: &str) -> Result<(), OutputError> {
    out!("store     {address}")?;
    let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    let lookups = stats.hits + stats.misses;
    out!("entries   {}", stats.entries)?;
    let full = share(stats.bytes, stats.max_bytes);
    out!("size      {} of {} ({full:.0} %)", size(stats.bytes), size(stats.max_bytes))?;
    out!("hits      {} of {lookups} lookups ({:.1} %)", stats.hits, share(stats.hits, lookups))?;
    out!("stored    {}, {} evicted", stats.stored, stats.evicted)?;
    if let Some([p10, p50, p90, oldest]) = ages(&stats.arrived, now) {
        let [p10, p50, p90, oldest] = [p10, p50, p90, oldest].map(duration);
        out!("age       10 % up to {p10}, 50 % up to {p50}, 90 % up to {p90}, oldest {oldest}")?;
    }
    if stats.corrupt + stats.failed > 0 {
        out!("faults    {} corrupt entries removed, {} file operations failed", stats.corrupt, stats.failed)?;
    }
    Ok(())
}
