//! Every chore of this repository: `cargo xtask --help`.

mod bench;
mod chaos;
mod ci;
mod conformance;
mod counts;
mod features;
mod fuzz;
mod layers;
mod process;
mod setup;
mod tests;
mod tidy;

use clap::{Parser, Subcommand};

/// Every chore of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what tests, conformance and benchmarks need and this machine lacks (Debian packages, cargo tools).
    Setup(setup::Args),
    /// Run all tests, with the servers that they need.
    Test,
    /// What the build machine runs: every check, cheap ones first.
    Ci,
    /// Check that arrows between crates point down.
    Layers,
    /// Check the house rules that clippy does not know.
    Tidy,
    /// Check that each crate builds alone, with no features, with each, and with all.
    Features,
    /// Feed parsers and codec with what strangers might send, a minute each.
    Fuzz(fuzz::Args),
    /// Kill and break what the stores stand on, again and again.
    Chaos(chaos::Args),
    /// Run the public suite for HTTP caches against `larder proxy`.
    Conformance(conformance::Args),
    /// Count instructions and allocations of the hot paths, and hold them against benches/counts.tsv.
    Counts(counts::Args),
    /// Measure, beside others, and write benches/RESULTS.md.
    Bench(bench::Args),
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    // Wherever it is called from, everything below is relative to the repository's root.
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))?;
    match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Test => tests::run(),
        Command::Ci => ci::run(),
        Command::Layers => layers::run(),
        Command::Tidy => tidy::run(),
        Command::Features => features::run(),
        Command::Chaos(args) => chaos::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Counts(args) => counts::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
