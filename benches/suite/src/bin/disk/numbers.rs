//! The cost of the number of entries.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use larder_core::{CacheKey, CacheStore as _};
use larder_disk::{DiskOptions, DiskStore};

use crate::{key, place};

/// Measures a hit, opening and memory with a growing number of entries.
pub(crate) async fn numbers(sizes: &[u64]) -> anyhow::Result<()> {
    println!(
        "\n| entries of 100 bytes | open | first hit | hit on 10,000 of them, µs | ratio | on any, µs | index, bytes an entry | memory, bytes an entry |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut base = None;
    for &size in sizes {
        let place = place()?;
        let path = place.path().join("larder");
        let options = DiskOptions::default().with_max_bytes(40 << 30);
        let store = DiskStore::open(&path, options.clone())?;
        let (head, body) = (Arc::new(larder_testkit::head(&[], &[])), Bytes::from(vec![b'x'; 100]));
        let fillers = 64;
        let tasks = (0..fillers).map(|part| {
            let (store, head, body) = (store.clone(), Arc::clone(&head), body.clone());
            tokio::spawn(async move {
                for n in (part..size).step_by(fillers as usize) {
                    let mut writer =
                        store.reserve(&key(n)).await?.begin(Arc::clone(&head), Some(100), head.keep_until()).await?;
                    writer.write(body.clone()).await?;
                    writer.commit().await?;
                }
                anyhow::Ok(())
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await??;
        }
        drop(store);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = resident()?;
        let begun = Instant::now();
        let store = DiskStore::open(&path, options)?;
        let opened = begun.elapsed();
        anyhow::ensure!(store.lookup(&key(size / 2)).await?.len() == 1, "the entry is there");
        let first = begun.elapsed();
        let mut random = fastrand::Rng::with_seed(7);
        let mut any = || -> Vec<CacheKey> { (0..10_000).map(|_| key(random.u64(..size))).collect() };
        let same = any();
        let mut some = Vec::new();
        for round in 0..16 {
            let each = looked_up(&store, &same).await?;
            // The first look-up copies them into the near tier.
            some.extend((round > 0).then_some(each));
        }
        let mut all = Vec::new();
        for _ in 0..15 {
            all.push(looked_up(&store, &any()).await?);
        }
        let (median, any) = (median(some), median(all));
        let base = *base.get_or_insert(median);
        let memory = resident()?.saturating_sub(before) as f64 / size as f64;
        let index = fs::metadata(path.join("v1.1/index"))?.len() as f64 / size as f64;
        println!(
            "| {size} | {opened:.1?} | {first:.1?} | {:.2} | {:.2} | {:.2} | {index:.0} | {memory:.1} |",
            median / 1000.0,
            median / base,
            any / 1000.0
        );
    }
    Ok(())
}

/// Returns nanoseconds for a look-up.
async fn looked_up(store: &DiskStore, keys: &[CacheKey]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut found = 0;
    for key in keys {
        found += store.lookup(key).await?.len();
    }
    anyhow::ensure!(found * 1000 > keys.len() * 999, "{found} of {} are there", keys.len());
    Ok(begun.elapsed().as_nanos() as f64 / keys.len() as f64)
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn resident() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    Ok(text.split(' ').nth(1).unwrap_or("0").parse::<u64>()? * 4096)
}
