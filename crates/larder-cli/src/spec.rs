//! SPEC: which store, in one word: `memory`, `memory:512MiB`.

use std::{error::Error, fmt, sync::Arc};

use larder::{core::CacheStore, memory::MemoryStore};

/// What a person typed can't be meant. Ends with exit code 2.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}

/// The store that a SPEC names.
pub(crate) fn store(specs: &[String]) -> Result<Arc<dyn CacheStore>, UsageError> {
    match specs {
        [] => Ok(Arc::new(MemoryStore::default())),
        [spec] => one(spec),
        _ => Err(UsageError(
            "--store twice needs a near and a far store, and this build has only memory; give it once, \
                             e.g. --store memory:512MiB"
                .to_owned(),
        )),
    }
}

fn one(spec: &str) -> Result<Arc<dyn CacheStore>, UsageError> {
    let (kind, rest) = spec.split_once(':').unwrap_or((spec, ""));
    match kind {
        "memory" if rest.is_empty() => Ok(Arc::new(MemoryStore::default())),
        "memory" => {
            let bytes = bytes(rest).filter(|bytes| *bytes >= 1 << 20).ok_or_else(|| {
                UsageError(format!(
                    "--store {spec}: '{rest}' is not a size of at least 1MiB; e.g. --store memory:512MiB"
                ))
            })?;
            Ok(Arc::new(MemoryStore::with_capacity(bytes)))
        }
        "disk" | "redis" | "rediss" | "redis+cluster" | "redis+sentinel" => Err(UsageError(format!(
            "--store {spec}: this build has no {} store; e.g. --store memory:512MiB",
            if kind == "disk" { "disk" } else { "Redis" }
        ))),
        _ => Err(UsageError(format!(
            "--store {spec}: there is no store called '{kind}'; e.g. --store memory:512MiB"
        ))),
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
}
