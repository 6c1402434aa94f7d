//! The `larder` command. It parses, assembles and prints; everything it does is in the crates below.

mod admin_client;
mod client_args;
mod explain;
mod get;
mod humanize;
mod output;
mod proxy;
mod purge;
mod report;
mod stats;
mod store_url;
mod watch;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{Parser, Subcommand};

/// Measured: see benches/RESULTS.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An HTTP cache: in front of a server, or around a fetch.
#[derive(Debug, Parser)]
#[command(name = "larder", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more, on standard error: -v what happens to each request, -vv everything. `RUST_LOG` overrides it.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a caching reverse proxy in front of a server.
    Proxy(proxy::Args),
    /// Fetch URLs through a cache.
    Get(get::Args),
    /// Fetch pages again on time, and say what changed.
    Watch(watch::Args),
    /// Say what the cache would do with a URL, and why.
    Explain(explain::Args),
    /// Remove what is stored.
    Purge(purge::Args),
    /// Show what is in a store.
    Stats(stats::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.verbose);
    let result = match cli.command {
        Command::Proxy(args) => proxy::run(args),
        Command::Get(args) => get::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Stats(args) => stats::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("larder: {error:#}");
        ExitCode::from(if error.is::<store_url::UsageError>() { 2 } else { 1 })
    })
}

fn log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "larder=debug,warn",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
