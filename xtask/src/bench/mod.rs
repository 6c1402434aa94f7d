//! `cargo xtask bench`: measure beside others, and write `benches/RESULTS.md`.
//!
//! Ratios from one run are what counts: the same machine minutes later may be half as fast.

mod client;
mod disk;
mod herd;
mod peers;
mod proxy;
mod python;
mod redis;
mod results;
mod server;

use std::process::Command;

use crate::process::{cargo, run as call};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure; everything, if nothing is named.
    #[arg(value_enum)]
    what: Vec<What>,
    /// A moment each, to see that it runs. Writes nothing.
    #[arg(long)]
    quick: bool,
    /// With `disk`: ten million entries, too. Takes minutes, and ten gigabytes.
    #[arg(long)]
    large: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Policy and engine, by criterion.
    Engine,
    /// A client's hits beside http-cache, and a batch of URLs beside reqwest and Python's clients.
    Client,
    /// `larder proxy` beside hyper, actix, nginx, Varnish and HAProxy.
    Proxy,
    /// The disk store beside a bare read, other layouts and other people's stores; a proxy on it beside nginx.
    Disk,
    /// The Redis store beside a bare GET, tiers beside memory, and a fleet of four.
    Redis,
    /// A web application's own server: the middleware beside a bare handler, other caches for actix-web and axum, compression, a
    /// database, and aiohttp.
    Server,
    /// Two hundred requests at once for one cold key.
    Herd,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let all = args.what.is_empty();
    let wanted = |what| all || args.what.contains(&what);
    if wanted(What::Engine) {
        engine(args.quick)?;
    }
    if wanted(What::Client) {
        results::write("client", &client::run(args.quick)?, args.quick)?;
    }
    if wanted(What::Disk) {
        results::write("disk", &disk::run(args.quick, args.large)?, args.quick)?;
    }
    if wanted(What::Redis) {
        results::write("redis", &redis::run(args.quick)?, args.quick)?;
    }
    if wanted(What::Server) {
        results::write("server", &server::run(args.quick)?, args.quick)?;
    }
    if wanted(What::Proxy) || wanted(What::Herd) {
        crate::setup::run_for_benchmarks()?;
        call(cargo().args(["build", "--release", "-p", "larder-cli", "-p", "larder-peers"]))?;
    }
    if wanted(What::Proxy) {
        results::write("proxy", &proxy::run(args.quick)?, args.quick)?;
    }
    if wanted(What::Herd) {
        results::write("herd", &herd::run(args.quick)?, args.quick)?;
    }
    Ok(())
}

/// What CI runs: the benches of the engine, for a moment.
pub(crate) fn quick() -> anyhow::Result<()> {
    engine(true)
}

/// A program of benches/suite, which has dependencies of its own.
fn compare(program: &str, quick: bool) -> Command {
    let mut compare = cargo();
    compare.args(["run", "--release", "--manifest-path", "benches/suite/Cargo.toml", "--bin", program, "--"]);
    compare.args(quick.then_some("--quick"));
    compare
}

fn engine(quick: bool) -> anyhow::Result<()> {
    let mut bench = cargo();
    bench.args(["bench", "-p", "larder-benches"]);
    if quick {
        bench.args(["--", "--test"]);
    }
    call(&mut bench)
}
