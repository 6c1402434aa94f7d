//! Store URLs: parses `memory:512MiB`, `disk:PATH?max=10GiB` or `redis://host:6379/0`, and opens
//! the store.
//!
//! Two of them are a near tier and a far tier. This module also has [`UsageError`], which ends the
//! process with exit code 2.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use larder::{
    core::CacheStore,
    disk::{DiskOptions, DiskStore},
    memory::MemoryStore,
    proxy::{parse_size, redact_url},
    redis::{RedisOptions, RedisStore},
    tiered::TieredStore,
};

/// An invalid argument or configuration file. The process exits with code 2.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}

/// A parsed store URL.
#[derive(Debug, PartialEq)]
enum StoreUrl {
    Memory(Option<u64>),
    Disk { path: PathBuf, max: Option<u64> },
    Redis(String),
}

/// An open store of any kind.
#[derive(Debug, Clone)]
pub(crate) enum OpenStore {
    Memory(MemoryStore),
    Disk(DiskStore),
    Redis(RedisStore),
}

/// Checks the store URLs of a command or a configuration file, without opening anything.
pub(crate) fn check(urls: &[String]) -> Result<(), UsageError> {
    let parsed = urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
    match &*parsed {
        [] | [_] | [StoreUrl::Memory(_), _] => Ok(()),
        [_, second] => {
            let [first_url, second_url] = [&urls[0], &urls[1]].map(|url| redact_url(url));
            // With memory second, the two are probably in the wrong order.
            let far = if matches!(second, StoreUrl::Memory(_)) { &first_url } else { &second_url };
            Err(UsageError(format!(
                "stores {first_url} and {second_url}: the first is the near tier, which must be memory; \
                 e.g. --store memory:1GiB --store {far}"
            )))
        }
        _ => Err(UsageError(
            "at most two --store options: the first is the near tier, the second the far tier".to_owned(),
        )),
    }
}

/// The stores of a proxy or client: one, or a near tier and a far tier.
#[derive(Debug, Clone)]
pub(crate) struct Stores {
    near: OpenStore,
    far: Option<(OpenStore, TieredStore)>,
}

impl Stores {
    /// Opens the stores with these URLs. Without any it opens a memory store with its default limit
    /// of 512 MiB.
    pub(crate) async fn open(urls: &[String]) -> anyhow::Result<Self> {
        check(urls)?;
        let mut opened = Vec::new();
        for url in urls {
            // A server that is not there costs hits, not responses. `?required=true` overrides it.
            opened.push(open(&parse(url)?, RedisOptions::default().with_lazy_connect(true)).await?);
        }
        Ok(tiers(opened))
    }

    /// Returns the store for the engine: the only one, or both tiers as one.
    pub(crate) fn store(&self) -> Arc<dyn CacheStore> {
        match &self.far {
            Some((_, tiers)) => Arc::new(tiers.clone()),
            None => self.near.clone().into_store(),
        }
    }

    /// Returns each store, the near tier first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &OpenStore> {
        std::iter::once(&self.near).chain(self.far.as_ref().map(|(far, _)| far))
    }
}

/// Opens the stores with these URLs, to store responses. Without any it opens the disk store in the
/// user's cache directory.
pub(crate) async fn open_or_default(urls: &[String]) -> anyhow::Result<Arc<dyn CacheStore>> {
    if !urls.is_empty() {
        return Ok(Stores::open(urls).await?.store());
    }
    let store = user_cache_dir().and_then(|path| open_disk(&path, None));
    let store = store
        .context("can't open the default store (choose another with --store memory or --store disk:PATH)")?;
    Ok(Arc::new(store))
}

/// Opens the stores with these URLs for a command that only looks. A disk store must exist.
///
/// Without a URL it opens the disk store in the user's cache directory or, if there is none, an
/// empty store.
pub(crate) async fn open_to_look(urls: &[String]) -> anyhow::Result<Arc<dyn CacheStore>> {
    check(urls)?;
    if urls.is_empty() {
        return match DiskStore::open_existing(user_cache_dir()?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Arc::new(MemoryStore::default())),
            opened => Ok(Arc::new(opened.context("can't open the default store")?)),
        };
    }
    let mut opened = Vec::new();
    for url in urls {
        opened.push(open_existing(&parse(url)?).await?);
    }
    Ok(tiers(opened).store())
}

/// Opens a store that other processes use, to look at it or to remove entries. A disk store must
/// exist. Without a URL it opens the disk store in the user's cache directory.
///
/// A memory store is an error: it exists only within the process that has created it.
pub(crate) async fn open_shared(url: Option<&str>) -> anyhow::Result<OpenStore> {
    match url {
        None => Ok(OpenStore::Disk(open_existing_disk(&user_cache_dir()?)?)),
        Some(url) => match open_existing(&parse(url)?).await? {
            OpenStore::Memory(_) => {
                let why = "--store memory: other processes can't reach a store in memory; \
                           use --store disk:PATH or redis://HOST, or --admin URL for a running proxy";
                Err(UsageError(why.to_owned()).into())
            }
            store => Ok(store),
        },
    }
}

impl OpenStore {
    /// Returns the store behind the trait of the engine.
    pub(crate) fn into_store(self) -> Arc<dyn CacheStore> {
        match self {
            Self::Memory(store) => Arc::new(store),
            Self::Disk(store) => Arc::new(store),
            Self::Redis(store) => Arc::new(store),
        }
    }
}

/// Returns the stores as one or two tiers. Without any, the only tier is a memory store.
fn tiers(opened: Vec<OpenStore>) -> Stores {
    let mut opened = opened.into_iter();
    let near = opened.next().unwrap_or_else(|| OpenStore::Memory(MemoryStore::default()));
    let far = opened.next().map(|far| {
        let tiers = TieredStore::new(near.clone().into_store(), far.clone().into_store());
        (far, tiers)
    });
    Stores { near, far }
}

/// Opens one store. A disk store must exist; the limit of its URL is not used.
async fn open_existing(url: &StoreUrl) -> anyhow::Result<OpenStore> {
    match url {
        StoreUrl::Disk { path, .. } => Ok(OpenStore::Disk(open_existing_disk(path)?)),
        StoreUrl::Memory(_) | StoreUrl::Redis(_) => open(url, RedisOptions::default()).await,
    }
}

/// Opens one store.
async fn open(url: &StoreUrl, redis: RedisOptions) -> anyhow::Result<OpenStore> {
    Ok(match url {
        StoreUrl::Memory(None) => OpenStore::Memory(MemoryStore::default()),
        StoreUrl::Memory(Some(bytes)) => OpenStore::Memory(MemoryStore::with_capacity(*bytes)),
        StoreUrl::Disk { path, max } => OpenStore::Disk(open_disk(path, *max)?),
        StoreUrl::Redis(url) => OpenStore::Redis(
            RedisStore::connect(url, redis)
                .await
                .with_context(|| format!("can't open the store {}", redact_url(url)))?,
        ),
    })
}

/// Returns the URL of the default store for people: that of `larder get` and `larder watch`.
pub(crate) fn default_store() -> String {
    match user_cache_dir() {
        Ok(path) => format!("disk:{}", path.display()),
        Err(_) => "disk, but HOME is not set".to_owned(),
    }
}

/// Returns the directory of the default store: `larder/http` in the user's cache directory.
fn user_cache_dir() -> anyhow::Result<PathBuf> {
    use etcetera::BaseStrategy as _;
    let user = etcetera::choose_base_strategy().context("the cache directory is unknown: HOME is not set")?;
    Ok(user.cache_dir().join("larder").join("http"))
}

/// Opens an existing disk store, without evicting anything.
fn open_existing_disk(path: &Path) -> anyhow::Result<DiskStore> {
    DiskStore::open_existing(path).with_context(|| format!("can't open the disk store {}", path.display()))
}

/// Opens a disk store, and sets its limit to `max` bytes. Without one its limit stays as it is.
fn open_disk(path: &Path, max: Option<u64>) -> anyhow::Result<DiskStore> {
    let options = max.map_or_else(DiskOptions::default, |max| DiskOptions::default().with_max_bytes(max));
    DiskStore::open(path, options).with_context(|| format!("can't open the disk store {}", path.display()))
}

/// Parses a store URL.
fn parse(url: &str) -> Result<StoreUrl, UsageError> {
    let wrong = |why: &str| UsageError(format!("store {}: {why}", redact_url(url)));
    let (kind, rest) = url.split_once(':').unwrap_or((url, ""));
    match kind {
        "memory" if rest.is_empty() => Ok(StoreUrl::Memory(None)),
        "memory" => {
            let size = redact_url(rest);
            let why =
                || wrong(&format!("'{size}' is not a size of at least 1MiB; e.g. --store memory:512MiB"));
            parse_size(rest)
                .filter(|bytes| *bytes >= 1 << 20)
                .map(|bytes| StoreUrl::Memory(Some(bytes)))
                .ok_or_else(why)
        }
        "disk" => {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            if path.is_empty() {
                return Err(wrong("the directory is missing; e.g. --store disk:/var/cache/larder?max=10GiB"));
            }
            let max = match query.split_once('=') {
                None if query.is_empty() => None,
                Some(("max", size)) => {
                    let why = || wrong("max is not a size of at least 4MiB; e.g. ?max=10GiB");
                    Some(parse_size(size).filter(|bytes| *bytes >= 4 << 20).ok_or_else(why)?)
                }
                _ => {
                    return Err(wrong("unknown option; the only option is max, e.g. ?max=10GiB"));
                }
            };
            Ok(StoreUrl::Disk { path: path.into(), max })
        }
        "redis" | "rediss" | "valkey" | "valkeys" | "redis+cluster" | "redis+sentinel" | "rediss+cluster"
        | "rediss+sentinel"
            if rest.starts_with("//") =>
        {
            match RedisStore::check_url(url) {
                Ok(()) => Ok(StoreUrl::Redis(url.to_owned())),
                Err(error) => Err(UsageError(format!("store {}: {error}", redact_url(url)))),
            }
        }
        "redis" | "rediss" => Err(wrong("the server is missing; e.g. --store redis://127.0.0.1:6379/0")),
        _ => Err(wrong(&format!(
            "unknown store '{}'; use memory, disk:PATH or redis://HOST; e.g. --store memory:512MiB",
            redact_url(kind)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_urls() {
        let disk = |path: &str, max| Some(StoreUrl::Disk { path: path.into(), max });
        for (text, expected) in [
            ("memory", Some(StoreUrl::Memory(None))),
            ("memory:2MiB", Some(StoreUrl::Memory(Some(2 << 20)))),
            ("memory:1KiB", None),
            ("disk:/var/cache/x", disk("/var/cache/x", None)),
            ("disk:relative", disk("relative", None)),
            ("disk:/a?max=10GiB", disk("/a", Some(10 << 30))),
            ("disk:", None),
            ("disk", None),
            ("disk:/a?max=1", None),
            ("disk:/a?size=10GiB", None),
            ("dsik:/a", None),
            ("redis://h:1/0", Some(StoreUrl::Redis("redis://h:1/0".to_owned()))),
            ("redis+cluster://a:1,b:2", Some(StoreUrl::Redis("redis+cluster://a:1,b:2".to_owned()))),
            ("redis:h", None),
            ("redis+cluster://a:port", None),
            ("redis+sentinel://a:1", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn near_and_far_tiers() {
        let valid =
            |urls: &[&str]| check(&urls.iter().map(|&url| url.to_owned()).collect::<Vec<_>>()).is_ok();
        assert!(valid(&[]) && valid(&["disk:/a"]) && valid(&["memory", "redis://h"]));
        assert!(
            !valid(&["redis://h", "memory"]) && !valid(&["memory", "memory", "memory"]) && !valid(&["what"])
        );
    }
}
