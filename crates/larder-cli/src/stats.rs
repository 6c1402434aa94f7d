//! `larder stats`: what is in a store.

use std::process::ExitCode;

use larder::{
    core::{Clock as _, SystemClock, Timestamp},
    disk::DiskStats,
    redis::RedisStats,
};

use crate::{
    admin_client::Remote,
    humanize::{duration, size},
    store_url::{self, OpenStore},
};

/// Show what is in a store, and how well it does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder stats
  larder stats --store disk:/var/cache/larder --json
  larder stats --admin http://127.0.0.1:9321")]
pub(crate) struct Args {
    /// Which store: disk:PATH, redis://host. [default: the one in your cache directory]
    #[arg(long, value_name = "SPEC", conflicts_with = "admin")]
    store: Option<String>,
    #[command(flatten)]
    remote: Remote,
    /// Print a line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    actix_rt::System::new().block_on(async {
        if let Some(admin) = &args.remote.admin {
            let stats = args.remote.get(admin, "stats").await?;
            if args.json {
                println!("{stats}")
            } else {
                running(&stats)
            }
            return Ok(ExitCode::SUCCESS);
        }
        match store_url::shared(args.store.as_deref()).await? {
            OpenStore::Disk(store) => {
                let (stats, now) = (store.stats().await?, SystemClock.now());
                if args.json { println!("{}", json(&stats, now)) } else { print(&stats, now) }
            }
            OpenStore::Redis(store) => redis(&store.stats().await?, args.json),
            OpenStore::Memory(_) => {}
        }
        anyhow::Ok(ExitCode::SUCCESS)
    })
}

/// A store, as JSON.
pub(crate) async fn of(store: &OpenStore) -> serde_json::Value {
    let failed = |error: &dyn std::fmt::Display| serde_json::json!({ "error": error.to_string() });
    match store {
        OpenStore::Memory(store) => {
            serde_json::json!({ "kind": "memory", "keys": store.keys(), "bytes": store.weight() })
        }
        OpenStore::Disk(store) => {
            let stats = store.stats().await;
            stats.map_or_else(|error| failed(&error), |stats| json(&stats, SystemClock.now()))
        }
        OpenStore::Redis(store) => {
            store.stats().await.map_or_else(|error| failed(&error), |stats| redis_json(&stats))
        }
    }
}

fn redis_json(stats: &RedisStats) -> serde_json::Value {
    serde_json::json!({ "entries": stats.entries, "server_bytes": stats.server_bytes })
}

fn redis(stats: &RedisStats, as_json: bool) {
    if as_json {
        println!("{}", redis_json(stats));
    } else {
        println!("entries   {}", stats.entries);
        println!("memory    {}, everything that the servers keep", size(stats.server_bytes));
    }
}

/// What a running proxy says of itself.
fn running(stats: &serde_json::Value) {
    let count = |of: &serde_json::Value| of.as_u64().unwrap_or_default();
    println!("uptime    {}", duration(count(&stats["uptime_seconds"])));
    let none = serde_json::Map::new();
    let requests = stats["requests"].as_object().unwrap_or(&none);
    let all: u64 = requests.values().map(count).sum();
    let each: Vec<String> = requests
        .iter()
        .filter(|(_, value)| count(value) > 0)
        .map(|(outcome, value)| format!("{} {outcome}", count(value)))
        .collect();
    println!("requests  {all}{}{}", if each.is_empty() { "" } else { ": " }, each.join(", "));
    println!("stored    {}, {} kept out by the rules", count(&stats["stored"]), count(&stats["not_stored"]));
    for store in stats["stores"].as_array().into_iter().flatten() {
        let entries = count(&store["entries"]) + count(&store["keys"]);
        let bytes = count(&store["bytes"]) + count(&store["server_bytes"]);
        println!("in store  {entries} entries, {}", size(bytes));
    }
    for origin in stats["origins"].as_array().into_iter().flatten() {
        let well = if origin["healthy"] == true { "healthy" } else { "NOT healthy" };
        println!("origin    {} {well}", origin["url"].as_str().unwrap_or_default());
    }
    let faults = count(&stats["broken_bodies"]) + count(&stats["store_failures"]);
    if faults > 0 {
        println!(
            "faults    {} bodies broke off, {} calls to the store failed",
            count(&stats["broken_bodies"]),
            count(&stats["store_failures"])
        );
    }
}

/// The ages below which a tenth, a half, nine tenths and all of the entries are.
fn ages(arrived: &[Timestamp], now: Timestamp) -> Option<[u64; 4]> {
    let youngest_first = |part: usize| {
        let at = (arrived.len() - 1) * (10 - part) / 10;
        now.since(arrived[at]).as_secs()
    };
    (!arrived.is_empty()).then(|| [1, 5, 9, 10].map(youngest_first))
}

fn json(stats: &DiskStats, now: Timestamp) -> serde_json::Value {
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

fn print(stats: &DiskStats, now: Timestamp) {
    let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    let looked_up = stats.hits + stats.misses;
    println!("entries   {}", stats.entries);
    let full = share(stats.bytes, stats.max_bytes);
    println!("size      {} of {} ({full:.0} %)", size(stats.bytes), size(stats.max_bytes));
    println!("look-ups  {looked_up}, {} found ({:.1} %)", stats.hits, share(stats.hits, looked_up));
    println!("stored    {}, of which {} had to make room", stats.stored, stats.evicted);
    if let Some([p10, p50, p90, oldest]) = ages(&stats.arrived, now) {
        let [p10, p50, p90, oldest] = [p10, p50, p90, oldest].map(duration);
        println!(
            "age       a tenth under {p10}, half under {p50}, nine tenths under {p90}, the oldest {oldest}"
        );
    }
    if stats.corrupt + stats.failed > 0 {
        println!("faults    {} damaged entries removed, {} calls failed", stats.corrupt, stats.failed);
    }
}
