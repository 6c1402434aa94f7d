//! The Python caches `hishel` and `aiocache` on the same server. Each round is a process; the time
//! is measured inside it, after a warm-up round.

use std::process::Command;

use anyhow::Context as _;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/redis_hits.py");

/// Returns microseconds for a hit.
pub(crate) fn hit(which: &str, url: &str, length: usize, at_once: usize, count: u64) -> anyhow::Result<f64> {
    let python =
        std::env::var("LARDER_PYTHON").context("cargo xtask bench redis names a Python with its peers")?;
    let numbers = [length as u64, at_once as u64, count].map(|number| number.to_string());
    let output = Command::new(python).args([SCRIPT, which, url]).args(numbers).output()?;
    anyhow::ensure!(output.status.success(), "{which}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
