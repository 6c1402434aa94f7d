//! The disk store, alone and behind the proxy.

use std::{fmt::Write as _, fs, path::Path};

use super::{
    peers,
    proxy::{Benchmark, race},
};
use crate::process::{cargo, output, run as call};

pub(crate) fn run(quick: bool, large: bool) -> anyhow::Result<String> {
    let folder = Path::new("target/bench-disk");
    fs::create_dir_all(folder)?;
    let mut compare = super::suite("disk", quick);
    compare.args(large.then_some("--large"));
    let mut table = output(compare.env("LARDER_BENCH_DIR", folder.canonicalize()?))?;
    crate::setup::run_for_benchmarks()?;
    call(cargo().args(["build", "--release", "-p", "larder-cli", "-p", "larder-peers"]))?;
    let (_origin, port) = peers::origin()?;
    let mut servers = peers::limits(port)?;
    servers.retain(|peer| peer.name.starts_with("hyper"));
    let store = folder.join("proxy");
    let _ = fs::remove_dir_all(&store);
    servers.push(peers::larder_on("**larder proxy, on disk**", &format!("disk:{}", store.display()), port)?);
    servers.push(peers::larder(port)?);
    servers.push(peers::nginx(port, folder, false)?);
    let benchmarks = [
        Benchmark::hit("hit from disk, 1 KiB", "/1k", &servers),
        Benchmark::hit("hit from disk, 64 KiB", "/64k", &servers),
    ];
    write!(table, "{}", race(&benchmarks, quick)?)?;
    Ok(table)
}
