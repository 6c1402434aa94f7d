//! Hit ratios with room for a hundredth of the requested keys: the memory store beside maps that it
//! could be built on. `cargo xtask bench ratios` runs it.
//!
//! `ratios [--quick]`

mod traces;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use larder_core::{CacheKey, CacheStore, StoredHead};
use larder_memory::MemoryStore;
use larder_testkit::{head, key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of entries for which there is room.
const ROOM: usize = 10_000;
/// Number of keys that are requested.
const KEYS: usize = 1_000_000;

/// A bounded cache.
trait Subject {
    /// Looks up an entry, inserts it if it is missing, and returns whether it was found.
    fn ask(&self, n: usize) -> bool;
}

struct Larder {
    store: MemoryStore,
    head: Arc<StoredHead>,
    keys: Vec<CacheKey>,
}

impl Larder {
    /// Creates a store with room, by weight, for as many entries as the others.
    fn new(keys: Vec<CacheKey>) -> Self {
        let probe = Self { store: MemoryStore::with_capacity(1 << 30), head: Arc::new(head(&[], &[])), keys };
        probe.ask(KEYS / 2);
        let each = probe.store.bytes_in_use();
        // An eighth is reserved for entries that are being written.
        let store = MemoryStore::with_capacity(each * ROOM as u64 * 8 / 7);
        Self { store, ..probe }
    }
}

impl Subject for Larder {
    fn ask(&self, n: usize) -> bool {
        let now = async {
            if !self.store.lookup(&self.keys[n]).await.expect("it looks up").is_empty() {
                return true;
            }
            let reserved = self.store.reserve(&self.keys[n]).await.expect("it reserves");
            let mut writer = reserved.begin(Arc::clone(&self.head), Some(1), self.head.keep_until()).await.expect("it begins");
            writer.write(Bytes::from_static(b"x")).await.expect("it takes it");
            writer.commit().await.expect("it commits");
            false
        };
        now.now_or_never().expect("memory waits for nothing")
    }
}

impl Subject for moka::sync::Cache<usize, Arc<()>> {
    fn ask(&self, n: usize) -> bool {
        let found = self.get(&n).is_some();
        if !found {
            self.insert(n, Arc::default());
        }
        found
    }
}

impl Subject for quick_cache::sync::Cache<usize, Arc<()>> {
    fn ask(&self, n: usize) -> bool {
        let found = self.get(&n).is_some();
        if !found {
            self.insert(n, Arc::default());
        }
        found
    }
}

impl Subject for foyer::Cache<usize, Arc<()>> {
    fn ask(&self, n: usize) -> bool {
        let found = self.get(&n).is_some();
        if !found {
            self.insert(n, Arc::default());
        }
        found
    }
}

fn foyer_map() -> Box<dyn Subject> {
    let map: foyer::Cache<usize, Arc<()>> = foyer::CacheBuilder::new(ROOM).build();
    Box::new(map)
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let count = if quick { 10_000 } else { 3_000_000 };
    let keys: Vec<CacheKey> = (0..KEYS).map(|n| key(&format!("/{n}"))).collect();
    println!("\n| trace | cache | found | ns a request |\n|---|---|---|---|");
    for (name, trace) in traces::all(count, KEYS, ROOM) {
        let subjects: [(&str, Box<dyn Subject>); 4] = [
            ("**larder-memory**", Box::new(Larder::new(keys.clone()))),
            ("moka", Box::new(moka::sync::Cache::<usize, Arc<()>>::new(ROOM as u64))),
            ("quick_cache", Box::new(quick_cache::sync::Cache::<usize, Arc<()>>::new(ROOM))),
            ("foyer", foyer_map()),
        ];
        for (cache, subject) in subjects {
            let begun = Instant::now();
            let found = trace.iter().filter(|n| subject.ask(**n)).count();
            let each = begun.elapsed().as_nanos() as f64 / trace.len() as f64;
            let share = found as f64 * 100.0 / trace.len() as f64;
            println!("| {name} | {cache} | {share:.1} % | {each:.0} |");
        }
    }
}
