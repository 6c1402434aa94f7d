//! `cargo xtask bench`: measure beside others, and write `benches/RESULTS.md`.
//!
//! Ratios from one run are what counts: the same machine minutes later may be half as fast.

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

/// What a change does to criterion's benches.
#[derive(Debug, clap::Subcommand)]
enum Baseline {
    /// Run criterion's benches, and keep what they find under a name.
    Save {
        /// The name: a commit's, say.
        name: String,
    },
    /// Run them again, and show what has changed since.
    Compare {
        /// The name that was saved.
        base: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The rules, beside http-cache-semantics.
    Policy,
    /// The engine on memory, beside a bare map.
    Engine,
    /// Memory, disk, Redis and tiers, beside maps, databases and http-cache's managers.
    Stores,
    /// The stored format, beside copying and checksumming.
    Codec,
    /// The actix-web middleware without sockets, beside the bare service.
    Actix,
    /// A client's hits beside http-cache, and a batch of URLs beside reqwest and Python's clients.
    Client,
    /// `larder proxy` beside hyper, actix, nginx, Varnish, HAProxy, Squid, Traffic Server and pingora.
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
    /// How many requests find what they ask for in a small memory store, beside moka, quick_cache and foyer.
    Ratios,
    /// Ever more entries, connections, bytes, variants and groups.
    Scaling,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.baseline {
        Some(Baseline::Save { name }) => {
            return criterion::bench(&criterion::QUESTIONS, &["--noplot", "--save-baseline", name]);
        }
        Some(Baseline::Compare { base }) => {
            println!("{}", criterion::compare(base)?);
            return Ok(());
        }
        None => {}
    }
    let all = args.what.is_empty();
    let wanted = |what| all || args.what.contains(&what);
    let questions =
        [(What::Policy, "policy"), (What::Engine, "engine"), (What::Codec, "codec"), (What::Actix, "actix")];
    if args.quick && (wanted(What::Stores) || questions.iter().any(|(what, _)| wanted(*what))) {
        criterion::quick()?;
    } else {
        for (_, name) in questions.into_iter().filter(|(what, _)| wanted(*what)) {
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

/// What CI runs: each of criterion's benches, for a moment.
pub(crate) fn quick() -> anyhow::Result<()> {
    criterion::quick()
}

/// A program of benches/suite, which has dependencies of its own.
fn suite(program: &str, quick: bool) -> Command {
    let mut command = cargo();
    command.args(["run", "--release", "--manifest-path", "benches/suite/Cargo.toml", "--bin", program, "--"]);
    command.args(quick.then_some("--quick"));
    command
}
