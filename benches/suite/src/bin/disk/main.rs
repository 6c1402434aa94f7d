//! The disk store beside a bare positioned read, other layouts, and the stores of others, in one
//! run with alternating rounds. `cargo xtask bench disk` runs it.
//!
//! `disk [--quick] [--large]`: `--large` writes ten million entries, which takes minutes and ten
//! gigabytes.

mod numbers;
mod race;

use std::{
    fs::{self, File},
    hint::black_box,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use larder_core::{CacheKey, CacheStore as _, EntryId, StoredBody, StoredHead, codec};
use larder_disk::{DiskOptions, DiskStore};
use race::Race;
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Number of keys that are read in turn.
const KEYS: u64 = 512;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        hits(quick).await?;
        fills(quick).await?;
        let sizes: &[u64] = match (quick, arguments.iter().any(|argument| argument == "--large")) {
            (true, _) => &[1_000],
            (_, false) => &[10_000, 1_000_000],
            (_, true) => &[10_000, 1_000_000, 10_000_000],
        };
        numbers::numbers(sizes).await
    })
}

fn place() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(
        std::env::var_os("LARDER_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from),
    )?)
}

fn key(n: u64) -> CacheKey {
    larder_testkit::key(&format!("/catalogue/items/{n}"))
}

/// Returns ten headers, as typical responses have.
fn head() -> Arc<StoredHead> {
    Arc::new(larder_testkit::head(
        &[
            ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
            ("server", "nginx/1.26.2"),
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "public, max-age=3600"),
            ("etag", "\"5f3c9-62a0b1c2d3e4f\""),
            ("last-modified", "Tue, 14 Nov 2023 20:00:00 GMT"),
            ("x-content-type-options", "nosniff"),
            ("strict-transport-security", "max-age=31536000"),
            ("x-request-id", "6f1c2a9e-5d1b-4a57-9a57-0d3f7b1c2e11"),
        ],
        &[],
    ))
}

fn name(directory: &Path, n: u64) -> PathBuf {
    directory.join(format!("{:02x}/{n:016x}", n % 256))
}

/// Reads a warm hit to its last byte.
async fn hits(quick: bool) -> anyhow::Result<()> {
    for (what, length, count) in [
        ("warm hit, 1 KiB", 1 << 10, 20_000),
        ("warm hit, 64 KiB", 64 << 10, 5_000),
        ("warm hit, 1 MiB", 1 << 20, 400),
    ] {
        let place = place()?;
        let contestants =
            Contestants::filled(place.path(), length, KEYS.min(if quick { 8 } else { 4096 })).await?;
        let mut race = Race::new(what, if quick { 10 } else { count });
        for _ in 0..if quick { 1 } else { 9 } {
            contestants.run(&mut race).await?;
        }
        race.print();
    }
    Ok(())
}

struct Contestants {
    keys: Vec<CacheKey>,
    /// All bodies in one file.
    file: File,
    length: usize,
    store: DiskStore,
    /// The disk store without its read cache.
    cold: DiskStore,
    tree: PathBuf,
    redb: Database,
    cacache: PathBuf,
    foyer: foyer::HybridCache<u64, Vec<u8>>,
}

impl Contestants {
    async fn filled(place: &Path, length: usize, keys: u64) -> anyhow::Result<Self> {
        let body = Bytes::from((0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        let keys: Vec<CacheKey> = (0..keys).map(key).collect();
        let file =
            File::options().create(true).truncate(true).read(true).write(true).open(place.join("file"))?;
        let store = DiskStore::open(place.join("larder"), DiskOptions::default().with_max_bytes(16 << 30))?;
        let options = DiskOptions::default().with_max_bytes(16 << 30).with_read_cache_bytes(0);
        let cold = DiskStore::open(place.join("larder"), options)?;
        let tree = place.join("tree");
        for n in 0..256 {
            fs::create_dir_all(tree.join(format!("{n:02x}")))?;
        }
        let redb = Database::create(place.join("redb"))?;
        let cacache = place.join("cacache");
        let foyer = foyer_in(&place.join("foyer")).await?;
        for (n, key) in (0..).zip(&keys) {
            file.write_all_at(&body, n * length as u64)?;
            let mut writer = store.reserve(key).await?.begin(head(), Some(length as u64), head().keep_until()).await?;
            writer.write(body.clone()).await?;
            writer.commit().await?;
            let whole = whole(key, &body);
            fs::write(name(&tree, n), &whole)?;
            redb_put(&redb, key, &whole)?;
            cacache::write(&cacache, n.to_string(), &whole).await?;
            foyer.insert(n, whole);
        }
        foyer.memory().flush().await;
        let length = body.len();
        Ok(Self { keys, file, length, store, cold, tree, redb, cacache, foyer })
    }

    async fn run(&self, race: &mut Race<'_>) -> anyhow::Result<()> {
        let many = self.keys.len() as u64;
        let mut buffer = vec![0; self.length];
        race.turn("positioned read into a buffer", |n| {
            let read = self.file.read_exact_at(&mut buffer, n * 7 % many * self.length as u64);
            async move { Ok(read?) }
        })
        .await?;
        for (name, store) in [
            ("**larder-disk**: look-up and body, verified; nothing kept in memory", &self.cold),
            ("**larder-disk** with its defaults: 32 MiB of it kept in memory", &self.store),
        ] {
            race.turn(name, |n| async move {
                let found = store.lookup(&self.keys[(n * 7 % many) as usize]).await?;
                match &found[0].body {
                    StoredBody::Whole(bytes) => drop(black_box(bytes.clone())),
                    StoredBody::Source(source) => {
                        let mut stream = source.stream(None).await?;
                        while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await
                        {
                            black_box(piece?);
                        }
                    }
                }
                Ok(())
            })
            .await?;
        }
        race.turn("layout: a file an entry; open, read, decode", |n| async move {
            let bytes = Bytes::from(fs::read(name(&self.tree, n * 7 % many))?);
            black_box(codec::decode_whole(&bytes, &self.keys[(n * 7 % many) as usize]).map_err(wrong)?);
            Ok(())
        })
        .await?;
        race.turn("layout: redb; get, copy, decode", |n| async move {
            let key = &self.keys[(n * 7 % many) as usize];
            let table = self.redb.begin_read()?.open_table(TABLE)?;
            let found = table.get(key.as_bytes())?.ok_or_else(|| anyhow::anyhow!("a miss"))?;
            let bytes = Bytes::copy_from_slice(found.value());
            black_box(codec::decode_whole(&bytes, key).map_err(wrong)?);
            Ok(())
        })
        .await?;
        race.turn("cacache, async", |n| async move {
            black_box(cacache::read(&self.cacache, (n * 7 % many).to_string()).await?);
            Ok(())
        })
        .await?;
        race.turn("foyer, hybrid with next to no memory", |n| async move {
            black_box(self.foyer.get(&(n * 7 % many)).await?);
            Ok(())
        })
        .await
    }
}

fn wrong(error: codec::NotAnEntry) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

fn whole(key: &CacheKey, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_whole(key, &head(), EntryId(7), body, &mut out).expect("it fits");
    out
}

fn redb_put(redb: &Database, key: &CacheKey, whole: &[u8]) -> anyhow::Result<()> {
    let mut write = redb.begin_write()?;
    write.set_durability(Durability::None)?;
    write.open_table(TABLE)?.insert(key.as_bytes(), whole)?;
    Ok(write.commit()?)
}

async fn foyer_in(path: &Path) -> anyhow::Result<foyer::HybridCache<u64, Vec<u8>>> {
    use foyer::{BlockEngineConfig, DeviceBuilder as _, FsDeviceBuilder, HybridCacheBuilder};
    let device = FsDeviceBuilder::new(path).with_capacity(2 << 30).build()?;
    Ok(HybridCacheBuilder::new()
        .memory(64 << 10)
        .with_weighter(|_, value: &Vec<u8>| value.len())
        .storage()
        .with_engine_config(BlockEngineConfig::new(device))
        .build()
        .await?)
}

/// Measures one new entry after the other.
async fn fills(quick: bool) -> anyhow::Result<()> {
    for (what, length, count) in
        [("fill, 1 KiB", 1 << 10, 4_000u64), ("fill, 64 KiB", 64 << 10, 1_000), ("fill, 1 MiB", 1 << 20, 100)]
    {
        let place = place()?;
        let body = Bytes::from(vec![b'x'; length]);
        let store =
            DiskStore::open(place.path().join("larder"), DiskOptions::default().with_max_bytes(16 << 30))?;
        let tree = place.path().join("tree");
        for n in 0..256 {
            fs::create_dir_all(tree.join(format!("{n:02x}")))?;
        }
        let redb = Database::create(place.path().join("redb"))?;
        let cacache = place.path().join("cacache");
        let count = if quick { 4 } else { count };
        let mut race = Race::new(what, count);
        for round in 0..if quick { 1 } else { 5 } {
            let at = |n: u64| round * count + n;
            race.turn("plain file: write beside, rename", |n| {
                let path = name(&tree, at(n));
                let written = fs::write(tree.join("new"), whole(&key(at(n)), &body))
                    .and_then(|()| fs::rename(tree.join("new"), path));
                async move { Ok(written?) }
            })
            .await?;
            race.turn("**larder-disk**", |n| {
                let (store, body) = (&store, body.clone());
                async move {
                    let mut writer =
                        store.reserve(&key(at(n))).await?.begin(head(), Some(body.len() as u64), head().keep_until()).await?;
                    writer.write(body).await?;
                    writer.commit().await?;
                    Ok(())
                }
            })
            .await?;
            race.turn("redb, a transaction each, not durable", |n| {
                let put = redb_put(&redb, &key(at(n)), &whole(&key(at(n)), &body));
                async move { put }
            })
            .await?;
            race.turn("cacache, async", |n| {
                let (cacache, body) = (&cacache, whole(&key(at(n)), &body));
                async move {
                    cacache::write(cacache, at(n).to_string(), body).await?;
                    Ok(())
                }
            })
            .await?;
        }
        race.print();
    }
    Ok(())
}
