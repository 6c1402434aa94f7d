//! `larder stats`: what is in a store.

use std::process::ExitCode;

use larder::{
    core::{Clock as _, SystemClock, Timestamp},
    disk::DiskStats,
    redis::RedisStats,
};

use crate::{
    amounts::{duration, size},
    spec::{self, Named},
};

/// Show what is in a store, and how well it does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder stats
  larder stats --store disk:/var/cache/larder --json")]
pub(crate) struct Args {
    /// Which store: disk:PATH, redis://host. [default: the one in your cache directory]
    #[arg(long, value_name = "SPEC")]
    store: Option<String>,
    /// Print a line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    actix_rt::System::new().block_on(async {
        match spec::shared(args.store.as_deref()).await? {
            Named::Disk(store) => {
                let (stats, now) = (store.stats().await?, SystemClock.now());
                if args.json { println!("{}", json(&stats, now)) } else { print(&stats, now) }
            }
            Named::Redis(store) => redis(&store.stats().await?, args.json),
            Named::Memory(_) => {}
        }
        anyhow::Ok(ExitCode::SUCCESS)
    })
}

fn redis(stats: &RedisStats, as_json: bool) {
    if as_json {
        println!("{}", serde_json::json!({ "entries": stats.entries, "server_bytes": stats.server_bytes }));
    } else {
        println!("entries   {}", stats.entries);
        println!("memory    {}, everything that the servers keep", size(stats.server_bytes));
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
