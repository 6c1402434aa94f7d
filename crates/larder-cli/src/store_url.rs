//! SPEC: which store, in one word: `memory`, `memory:512MiB`, `disk:PATH?max=10GiB`, `redis://host:6379/0`. Two of them are a
//! near store over a far one.

use std::{error::Error, fmt, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use larder::{
    core::CacheStore,
    disk::{DiskOptions, DiskStore},
    memory::MemoryStore,
    redis::{RedisOptions, RedisStore},
    tiered::TieredStore,
};

/// What a person typed can't be meant. Ends with exit code 2.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}

/// One SPEC, understood and not yet opened.
#[derive(Debug, PartialEq)]
enum Spec {
    Memory(Option<u64>),
    Disk { path: PathBuf, max: Option<u64> },
    Redis(String),
}

/// What the SPECs of a command line name.
#[derive(Debug, Clone)]
pub(crate) enum OpenStore {
    Memory(MemoryStore),
    Disk(DiskStore),
    Redis(RedisStore),
}

/// Whether they can be meant, before anything is opened.
pub(crate) fn check(specs: &[String]) -> Result<(), UsageError> {
    let parsed = specs.iter().map(|spec| parse(spec)).collect::<Result<Vec<_>, _>>()?;
    match &*parsed {
        [] | [_] | [Spec::Memory(_), _] => Ok(()),
        [_, _] => Err(UsageError(format!(
            "--store {} --store {}: the first is the near one, which is memory; e.g. --store memory:1GiB --store {}",
            specs[0], specs[1], specs[1]
        ))),
        _ => Err(UsageError("--store more than twice: there is a near store and a far one".to_owned())),
    }
}

/// What a proxy keeps responses in: one store, or a near one over a far one.
#[derive(Debug, Clone)]
pub(crate) struct Stores {
    near: OpenStore,
    far: Option<(OpenStore, TieredStore)>,
}

impl Stores {
    /// Those that the SPECs name; memory, if there are none.
    pub(crate) async fn open(specs: &[String]) -> anyhow::Result<Self> {
        check(specs)?;
        let mut named = Vec::new();
        for spec in specs {
            named.push(one(&parse(spec)?).await?);
        }
        let mut named = named.into_iter();
        let near = named.next().unwrap_or_else(|| OpenStore::Memory(MemoryStore::default()));
        let far = named.next().map(|far| {
            let tiers = TieredStore::new(near.clone().into_store(), far.clone().into_store());
            (far, tiers)
        });
        Ok(Self { near, far })
    }

    /// As one.
    pub(crate) fn store(&self) -> Arc<dyn CacheStore> {
        match &self.far {
            Some((_, tiers)) => Arc::new(tiers.clone()),
            None => self.near.clone().into_store(),
        }
    }

    /// What is in them.
    pub(crate) fn each(&self) -> impl Iterator<Item = &OpenStore> {
        std::iter::once(&self.near).chain(self.far.as_ref().map(|(far, _)| far))
    }
}

/// The store that the SPECs name; on disk, in the user's cache directory, if there are none.
pub(crate) async fn store_or_disk(specs: &[String]) -> anyhow::Result<Arc<dyn CacheStore>> {
    if !specs.is_empty() {
        return Ok(Stores::open(specs).await?.store());
    }
    let path = user_cache_dir().context("give one with --store, e.g. --store memory or --store disk:PATH")?;
    let opened = open_disk(&path, None);
    Ok(Arc::new(
        opened.context("the cache in your cache directory (another: --store memory or --store disk:PATH)")?,
    ))
}

/// One store that is not this process's alone; the user's own on disk, if none is named.
pub(crate) async fn shared(spec: Option<&str>) -> anyhow::Result<OpenStore> {
    match spec {
        None => Ok(OpenStore::Disk(open_disk(&user_cache_dir()?, None)?)),
        Some(spec) => match one(&parse(spec)?).await? {
            OpenStore::Memory(_) => {
                let why = "--store memory: what is in memory is in another process's; e.g. --store disk:PATH";
                Err(UsageError(why.to_owned()).into())
            }
            named => Ok(named),
        },
    }
}

impl OpenStore {
    pub(crate) fn into_store(self) -> Arc<dyn CacheStore> {
        match self {
            Self::Memory(store) => Arc::new(store),
            Self::Disk(store) => Arc::new(store),
            Self::Redis(store) => Arc::new(store),
        }
    }
}

async fn one(spec: &Spec) -> anyhow::Result<OpenStore> {
    Ok(match spec {
        Spec::Memory(None) => OpenStore::Memory(MemoryStore::default()),
        Spec::Memory(Some(bytes)) => OpenStore::Memory(MemoryStore::with_capacity(*bytes)),
        Spec::Disk { path, max } => OpenStore::Disk(open_disk(path, *max)?),
        Spec::Redis(url) => OpenStore::Redis(
            RedisStore::connect(url, RedisOptions::default())
                .await
                .with_context(|| format!("--store {}", without_password(url)))?,
        ),
    })
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

/// The directory in which this user's programs keep their caches, and in it ours.
fn user_cache_dir() -> anyhow::Result<PathBuf> {
    use etcetera::BaseStrategy as _;
    let user = etcetera::choose_base_strategy().context("there is no cache directory (HOME is not set)")?;
    Ok(user.cache_dir().join("larder").join("http"))
}

fn open_disk(path: &PathBuf, max: Option<u64>) -> anyhow::Result<DiskStore> {
    let options = max.map_or_else(DiskOptions::default, DiskOptions::with_max_bytes);
    DiskStore::open(path, options).with_context(|| format!("can't use {} for a cache", path.display()))
}

fn parse(spec: &str) -> Result<Spec, UsageError> {
    let wrong = |why: &str| UsageError(format!("--store {spec}: {why}"));
    let (kind, rest) = spec.split_once(':').unwrap_or((spec, ""));
    match kind {
        "memory" if rest.is_empty() => Ok(Spec::Memory(None)),
        "memory" => {
            let why =
                || wrong(&format!("'{rest}' is not a size of at least 1MiB; e.g. --store memory:512MiB"));
            bytes(rest)
                .filter(|bytes| *bytes >= 1 << 20)
                .map(|bytes| Spec::Memory(Some(bytes)))
                .ok_or_else(why)
        }
        "disk" => {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            if path.is_empty() {
                return Err(wrong("which directory? e.g. --store disk:/var/cache/larder?max=10GiB"));
            }
            let max = match query.split_once('=') {
                None if query.is_empty() => None,
                Some(("max", size)) => {
                    let why = || wrong(&format!("'{size}' is not a size of at least 4MiB; e.g. ?max=10GiB"));
                    Some(bytes(size).filter(|bytes| *bytes >= 4 << 20).ok_or_else(why)?)
                }
                _ => {
                    return Err(wrong(&format!("'{query}' is not an option; there is max, e.g. ?max=10GiB")));
                }
            };
            Ok(Spec::Disk { path: path.into(), max })
        }
        "redis" | "rediss" | "redis+cluster" | "redis+sentinel" | "rediss+cluster" | "rediss+sentinel"
            if rest.starts_with("//") =>
        {
            match RedisStore::check_url(spec) {
                Ok(()) => Ok(Spec::Redis(spec.to_owned())),
                Err(error) => Err(UsageError(format!("--store {}: {error}", without_password(spec)))),
            }
        }
        "redis" | "rediss" => Err(wrong("which server? e.g. --store redis://127.0.0.1:6379/0")),
        _ => Err(wrong(&format!("there is no store called '{kind}'; e.g. --store memory:512MiB"))),
    }
}

/// `1048576`, `512MiB`, `1GB`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1048576", Some(1 << 20)),
            ("512MiB", Some(512 << 20)),
            ("2GB", Some(2_000_000_000)),
            ("10 GiB", Some(10 << 30)),
            ("1e3", None),
            ("-1", None),
            ("", None),
            ("99999999999GiB", None),
            ("5 parsecs", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn specs() {
        let disk = |path: &str, max| Some(Spec::Disk { path: path.into(), max });
        for (text, expected) in [
            ("memory", Some(Spec::Memory(None))),
            ("memory:2MiB", Some(Spec::Memory(Some(2 << 20)))),
            ("memory:1KiB", None),
            ("disk:/var/cache/x", disk("/var/cache/x", None)),
            ("disk:relative", disk("relative", None)),
            ("disk:/a?max=10GiB", disk("/a", Some(10 << 30))),
            ("disk:", None),
            ("disk", None),
            ("disk:/a?max=1", None),
            ("disk:/a?size=10GiB", None),
            ("dsik:/a", None),
            ("redis://h:1/0", Some(Spec::Redis("redis://h:1/0".to_owned()))),
            ("redis+cluster://a:1,b:2", Some(Spec::Redis("redis+cluster://a:1,b:2".to_owned()))),
            ("redis:h", None),
            ("redis+cluster://a:port", None),
            ("redis+sentinel://a:1", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn near_and_far() {
        let specs =
            |specs: &[&str]| check(&specs.iter().map(|&spec| spec.to_owned()).collect::<Vec<_>>()).is_ok();
        assert!(specs(&[]) && specs(&["disk:/a"]) && specs(&["memory", "redis://h"]));
        assert!(
            !specs(&["redis://h", "memory"]) && !specs(&["memory", "memory", "memory"]) && !specs(&["what"])
        );
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("redis://user:secret@h:1/0"), "redis://…@h:1/0");
        assert_eq!(without_password("redis://h:1/0"), "redis://h:1/0");
    }
}
