//! A client's hits beside `http-cache-reqwest`, and a batch beside bare reqwest and Python's
//! clients. `cargo xtask bench client` runs it with the URL of an origin.

mod batch;
mod floor;
mod hits;
mod schedule;

use std::sync::Arc;

use larder_core::{Cache, Rules};
use larder_counts::Counting;
use larder_memory::{MemoryOptions, MemoryStore};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Counting<MiMalloc> = Counting(MiMalloc);

fn main() -> anyhow::Result<()> {
    let origin = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("the origin's URL"))?;
    let quick = std::env::args().any(|argument| argument == "--quick");
    hits::run(&origin, quick)?;
    batch::run(&origin, quick)?;
    schedule::run(&origin, quick)
}

/// A store that has room for everything that is measured.
fn store() -> Arc<MemoryStore> {
    let options = MemoryOptions::default().with_capacity(2 << 30);
    Arc::new(MemoryStore::new(options))
}

fn private(store: Arc<MemoryStore>) -> Cache {
    Cache::builder(store).rules(Rules::private()).build()
}

/// Returns the median.
fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
