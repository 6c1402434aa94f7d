//! SPEC: which store, in one word: `memory`, `memory:512MiB`, `disk:PATH`, `disk:PATH?max=10GiB`.

use std::{error::Error, fmt, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use larder::{
    core::CacheStore,
    disk::{DiskOptions, DiskStore},
    memory::MemoryStore,
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
}

/// The store that the SPECs name; in memory, if there are none.
pub(crate) fn store_or_memory(specs: &[String]) -> anyhow::Result<Arc<dyn CacheStore>> {
    one(specs)?.map_or_else(|| Ok(Arc::new(MemoryStore::default()) as _), |spec| open(&spec))
}

/// The store that the SPECs name; on disk, in the user's cache directory, if there are none.
pub(crate) fn store_or_disk(specs: &[String]) -> anyhow::Result<Arc<dyn CacheStore>> {
    let default = || users().context("give one with --store, e.g. --store memory or --store disk:PATH");
    match one(specs)? {
        Some(spec) => open(&spec),
        None => open(&Spec::Disk { path: default()?, max: None })
            .context("the cache in your cache directory (another: --store memory or --store disk:PATH)"),
    }
}

/// The disk store that the SPECs name; the user's own, if there are none.
pub(crate) fn disk(specs: &[String]) -> anyhow::Result<DiskStore> {
    match one(specs)? {
        Some(Spec::Disk { path, max }) => open_disk(&path, max),
        Some(Spec::Memory(_)) => {
            let why = "--store memory: what is in memory is in another process's; e.g. --store disk:PATH";
            Err(UsageError(why.to_owned()).into())
        }
        None => open_disk(&users()?, None),
    }
}

/// The directory in which this user's programs keep their caches, and in it ours.
fn users() -> anyhow::Result<PathBuf> {
    use etcetera::BaseStrategy as _;
    let user = etcetera::choose_base_strategy().context("there is no cache directory (HOME is not set)")?;
    Ok(user.cache_dir().join("larder").join("http"))
}

fn open(spec: &Spec) -> anyhow::Result<Arc<dyn CacheStore>> {
    Ok(match spec {
        Spec::Memory(None) => Arc::new(MemoryStore::default()),
        Spec::Memory(Some(bytes)) => Arc::new(MemoryStore::with_capacity(*bytes)),
        Spec::Disk { path, max } => Arc::new(open_disk(path, *max)?),
    })
}

fn open_disk(path: &PathBuf, max: Option<u64>) -> anyhow::Result<DiskStore> {
    let options = max.map_or_else(DiskOptions::default, DiskOptions::with_max_bytes);
    DiskStore::open(path, options).with_context(|| format!("can't use {} for a cache", path.display()))
}

fn one(specs: &[String]) -> Result<Option<Spec>, UsageError> {
    match specs {
        [] => Ok(None),
        [spec] => parse(spec).map(Some),
        _ => Err(UsageError(
            "--store twice needs a near and a far store, and this build has no tiers; give it once, \
                             e.g. --store memory:512MiB"
                .to_owned(),
        )),
    }
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
        "redis" | "rediss" | "redis+cluster" | "redis+sentinel" => {
            Err(wrong("this build has no Redis store; e.g. --store memory:512MiB"))
        }
        _ => Err(wrong(&format!("there is no store called '{kind}'; e.g. --store memory:512MiB"))),
    }
}

/// `1048576`, `512MiB`, `1GB`.
fn bytes(text: &str) -> Option<u64> {
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
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
