//! The `larder` command: dispatches to one module per subcommand, sets up logging, and maps errors
//! to exit codes.
//!
//! The subcommands parse arguments, combine library crates and print. The caching logic is in those
//! crates.

mod admin_client;
mod client_args;
mod console;
mod explain;
mod get;
mod humanize;
mod interrupt;
mod output;
mod proxy;
mod purge;
mod report;
mod stats;
mod store_url;
mod url_argument;
mod watch;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Chosen by measurement: see benches/RESULTS.md, and decision 084 for its version and the pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An HTTP cache: a caching reverse proxy, and a command-line client with a cache.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Examples:
  larder proxy --origin http://127.0.0.1:3000
  larder get https://example.com/
  larder watch https://example.com/news --every 10m
  larder explain https://example.com/

'larder COMMAND --help' describes a command, with examples."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more to standard error: -v adds Larder's debug messages, -vv all messages of all
    /// libraries. The environment variable RUST_LOG overrides this.
    #[arg(short, long, action = clap::ArgAction::Count, global = true, display_order = 900)]
    verbose: u8,
}

// Each subcommand's description and examples are on its `Args` type.
#[derive(Debug, Subcommand)]
enum Command {
    Proxy(proxy::Args),
    Check(proxy::CheckArgs),
    Get(get::Args),
    Watch(watch::Args),
    Explain(explain::Args),
    Purge(purge::Args),
    Stats(stats::Args),
}

fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    init_logging(cli.verbose);
    let result = match cli.command {
        Command::Proxy(args) => proxy::run(args),
        Command::Check(args) => proxy::run_check(&args),
        Command::Get(args) => get::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Stats(args) => stats::run(&args),
    };
    result.unwrap_or_else(|error| {
        if console::is_closed_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        console::note!("larder: {error:#}");
        ExitCode::from(if error.is::<store_url::UsageError>() { 2 } else { 1 })
    })
}

/// Returns the command line, with the URL of the default store in the help of the commands that use
/// it.
fn command() -> clap::Command {
    let default = format!(" [default: {}]", store_url::default_store());
    ["get", "watch", "explain", "stats", "purge"].into_iter().fold(Cli::command(), |cli, name| {
        cli.mut_subcommand(name, |command| {
            command.mut_arg("store", |arg| {
                let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let long = arg.get_long_help().map_or_else(|| short.clone(), ToString::to_string);
                // The first line of the long help is the short one.
                let rest = long.strip_prefix(&*short).unwrap_or_default().to_owned();
                let short = short + &default;
                arg.long_help(format!("{short}{rest}")).help(short)
            })
        })
    })
}

/// Sends logs to standard error, at the level that `-v` or `RUST_LOG` selects.
fn init_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "larder=debug,warn",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colors = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colors)
        // Otherwise it panics if standard error is closed.
        .log_internal_errors(false)
        .init();
}
