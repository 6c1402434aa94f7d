//! Runs one hot path a number of times, for Callgrind, or all of them, and counts allocations.
//!
//! `larder-counts list`, `larder-counts run NAME COUNT`, `larder-counts allocations`. `cargo xtask
//! counts` runs it.

mod paths;

use std::alloc::System;

use larder_counts::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting(System);

/// Iterations before counting, so that one-time work is done.
const WARM: u64 = 50;
const COUNTED: u64 = 1000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => paths::ALL.iter().for_each(|(name, _)| println!("{name}")),
        ["run", name, times] => {
            let path = paths::ALL.iter().find(|(known, _)| *known == name);
            let (_, make) = path.ok_or_else(|| anyhow::anyhow!("no path is called '{name}'"))?;
            let mut path = make();
            for _ in 0..WARM + times.parse::<u64>()? {
                path();
            }
        }
        ["allocations"] => {
            for (name, make) in paths::ALL {
                let mut path = make();
                (0..WARM).for_each(|_| path());
                let before = allocations();
                (0..COUNTED).for_each(|_| path());
                println!("{name}\t{}", (allocations() - before) / COUNTED);
            }
        }
        _ => anyhow::bail!("larder-counts list | run NAME COUNT | allocations"),
    }
    Ok(())
}
