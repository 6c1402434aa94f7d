//! A Python environment with current client and cache libraries.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::process::run as call;

const WANTED: &str = "benches/python/requirements.txt";

/// Returns the path of the interpreter. The environment is created at the first call, and again for
/// other versions.
pub(crate) fn with_peers() -> anyhow::Result<PathBuf> {
    let folder = Path::new("target/python");
    // Absolute but not canonical: the target of the link is the interpreter outside the
    // environment.
    let python = std::path::absolute(folder.join("bin/python"))?;
    let wanted = fs::read_to_string(WANTED).context(WANTED)?;
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    println!("installing the Python clients and caches of the benchmarks");
    call(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))
        .context("can't create a Python environment; try apt-get install python3-venv")?;
    call(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement", WANTED]))?;
    fs::write(installed, wanted)?;
    Ok(python)
}
