//! `cargo xtask bench`: measures Larder beside other caches and writes `benches/RESULTS.md`.
//!
//! Only ratios from one run are comparable: minutes later, the same machine may be half as fast.

mod client;
mod criterion;
mod disk;
mod herd;
mod others;
mod peers;
mod plots;
mod proxy;
mod python;
mod redis;
mod results;
mod scaling;
mod server;
mod stores;

use std::process::Command;

use crate::process::{cargo, run as call};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    baseline: Option<Baseline>,
    /// Benchmarks to run [default: all].
    #[arg(value_enum)]
    what: Vec<What>,
    /// Run each benchmark briefly, to check that it works. Writes no results.
    #[arg(long)]
    quick: bool,
    /// With `disk`: also measure ten million entries. Takes minutes, and 10 GB of disk.
    #[arg(long)]
    large: bool,
}

/// Compare the criterion benchmarks before and after a change.
#[derive(Debug, clap::Subcommand)]
enum Baseline {
    /// Run the criterion benchmarks, and save the results under a name.
    Save {
        /// Name for the results, such as a commit.
        name: String,
    },
    /// Run the criterion benchmarks, and show the changes since saved results.
    Compare {
        /// Name of the saved results.
        base: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The caching rules, compared with http-cache-semantics.
    Policy,
    /// The engine with the memory store, compared with a bare map.
    Engine,
    /// Memory, disk, Redis and tiers, compared with maps, databases and the stores of http-cache.
    Stores,
    /// The stored format, compared with copying and checksumming.
    Codec,
    /// The actix-web middleware without sockets, compared with the bare service.
    Actix,
    /// Hits of the client, compared with http-cache; a batch of URLs, compared with reqwest and
    /// Python clients.
    Client,
    /// `larder proxy`, compared with hyper, actix, nginx, Varnish, HAProxy, Squid, Traffic Server
    /// and pingora.
    Proxy,
    /// The disk store, compared with a bare read, other layouts and other stores; a proxy with the
    /// disk store, compared with nginx.
    Disk,
    /// The Redis store, compared with a bare GET; tiers, compared with memory; four processes that
    /// share a server.
    Redis,
    /// Application servers: the middleware, compared with a bare handler, other caches for
    /// actix-web and axum, and aiohttp; compression; a database.
    Server,
    /// 200 simultaneous requests for one key that is not stored.
    Herd,
    /// Hit ratios of a small memory store, compared with moka, quick_cache and foyer.
    Ratios,
    /// Costs for growing numbers of entries, connections, bytes, variants and groups.
    Scaling,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.baseline {
        Some(Baseline::Save { name }) => {
            return criterion::bench(&criterion::BENCHMARKS, &["--noplot", "--save-baseline", name]);
        }
        Some(Baseline::Compare { base }) => {
            println!("{}", criterion::compare(base)?);
            return Ok(());
        }
        None => {}
    }
    let all = args.what.is_empty();
    let wanted = |what| all || args.what.contains(&what);
    let benchmarks =
        [(What::Policy, "policy"), (What::Engine, "engine"), (What::Codec, "codec"), (What::Actix, "actix")];
    if args.quick && (wanted(What::Stores) || benchmarks.iter().any(|(what, _)| wanted(*what))) {
        criterion::quick()?;
    } else {
        for (_, name) in benchmarks.into_iter().filter(|(what, _)| wanted(*what)) {
            criterion::bench(&[name], &["--noplot"])?;
            results::write(name, &criterion::table(&criterion::found(&format!("{name}/"))?), false)?;
        }
        if wanted(What::Stores) {
            results::write("stores", &stores::run()?, false)?;
        }
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
        let tables = proxy::run(args.quick)?;
        results::write("proxy", &tables, args.quick)?;
        if !args.quick {
            results::write_readme(&tables)?;
        }
    }
    if wanted(What::Herd) {
        results::write("herd", &herd::run(args.quick)?, args.quick)?;
    }
    if wanted(What::Ratios) {
        results::write("ratios", &crate::process::output(&mut suite("ratios", args.quick))?, args.quick)?;
    }
    if wanted(What::Scaling) {
        results::write("scaling", &scaling::run(args.quick)?, args.quick)?;
    }
    Ok(())
}

/// Runs each criterion benchmark for a moment, as CI does.
pub(crate) fn quick() -> anyhow::Result<()> {
    criterion::quick()
}

/// Returns a command for a program of benches/suite.
fn suite(program: &str, quick: bool) -> Command {
    let mut command = cargo();
    command.args(["run", "--release", "--manifest-path", "benches/suite/Cargo.toml", "--bin", program, "--"]);
    command.args(quick.then_some("--quick"));
    command
}
