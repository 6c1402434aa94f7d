//! `cargo xtask`: builds, checks and measures this repository. Each command has a module.

mod attacks;
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
mod structured_fields;
mod tests;
mod tidy;

use clap::{Parser, Subcommand};

/// Build, check and measure this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the Debian packages and cargo tools that the other commands need.
    Setup(setup::Args),
    /// Run all tests. Tests that need a server start a private one on a free port.
    Test,
    /// Run every check, as CI does, cheap ones first.
    Ci,
    /// Check that each crate depends only on crates of lower layers.
    Layers,
    /// Check the rules for names, comments and documents that clippy does not check.
    Tidy,
    /// Check that each crate builds alone: without features, with each feature, and with all.
    Features,
    /// Fuzz the parsers and the codec, by default one minute each.
    Fuzz(fuzz::Args),
    /// Repeat the fault tests of the stores: kills, full disks, failovers.
    Chaos(chaos::Args),
    /// Run the public test files for structured fields (RFC 9651).
    StructuredFields(structured_fields::Args),
    /// Attack the proxy and the middlewares as hostile clients and origins do.
    Attacks(attacks::Args),
    /// Run the public suite for HTTP caches against `larder proxy`.
    Conformance(conformance::Args),
    /// Count instructions and allocations of the hot paths, and compare with benches/counts.tsv.
    Counts(counts::Args),
    /// Run the benchmarks, also of other caches, and write the results to benches/RESULTS.md.
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
    // All paths in the modules are relative to the repository's root.
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
        Command::StructuredFields(args) => structured_fields::run(&args),
        Command::Attacks(args) => attacks::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Counts(args) => counts::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
