//! `cargo xtask fuzz`: fuzzes the parsers and the codec with libFuzzer on the stable toolchain.
//!
//! Coverage counters are an LLVM pass that stable rustc can run. Only sanitizers need nightly, and
//! code without `unsafe` gives them little to find. `fuzz/fuzz_targets/` has the assertions of each
//! target.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use crate::process::{cargo, is_installed, output, run as call};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Target to fuzz: codec, directives, exchange, key, lists, proxy_header, purge_request or
    /// range [default: all].
    target: Option<String>,
    /// How many minutes each target runs.
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// Run each target for ten seconds instead.
    #[arg(long)]
    short: bool,
    /// Run the target once with this input file, and show its output.
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

const TARGETS: [&str; 8] =
    ["codec", "directives", "exchange", "key", "lists", "proxy_header", "purge_request", "range"];

/// The flags that `cargo fuzz` passes without a sanitizer. All of them are stable.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// A target directory of its own, so that instrumented builds do not invalidate the others.
const FOLDER: &str = "target/fuzz";

/// Seconds after which one input counts as a hang.
const HANG: u64 = 5;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let targets = match &args.target {
        Some(target) => vec![target.as_str()],
        None => TARGETS.to_vec(),
    };
    if let Some(unknown) = targets.iter().find(|target| !TARGETS.contains(target)) {
        bail!("unknown target {unknown}: the targets are {}", TARGETS.join(", "));
    }
    let programs = build()?;
    if let Some(input) = &args.input {
        return call(Command::new(programs.join(targets[0])).arg(input));
    }
    let seconds = if args.short { 10 } else { args.minutes.max(1) * 60 };
    for target in targets {
        println!("{target}: {seconds} s");
        fuzz(&programs, target, seconds)?;
    }
    Ok(())
}

/// Builds all targets and returns their directory.
fn build() -> anyhow::Result<PathBuf> {
    ensure!(is_installed("c++"), "libFuzzer needs a C++ compiler: apt-get install g++");
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV has no host")?;
    // With an explicit target, the flags do not apply to build scripts and procedural macros.
    let build = ["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", host];
    call(cargo().args(build).env("CARGO_TARGET_DIR", FOLDER).env("RUSTFLAGS", INSTRUMENTED))?;
    Ok(Path::new(FOLDER).join(host).join("release"))
}

fn fuzz(programs: &Path, target: &str, seconds: u64) -> anyhow::Result<()> {
    let found = format!("{FOLDER}/corpus/{target}");
    let broken = format!("{FOLDER}/broken/{target}-");
    fs::create_dir_all(&found)?;
    fs::create_dir_all(format!("{FOLDER}/broken"))?;
    let result = Command::new(programs.join(target))
        // libFuzzer writes new inputs to the first folder and only reads the seeds in git.
        .args([&found, &format!("fuzz/corpus/{target}")])
        .args([format!("-max_total_time={seconds}"), format!("-timeout={HANG}")])
        .args([format!("-artifact_prefix={broken}"), "-print_final_stats=1".into()])
        .output()
        .with_context(|| format!("can't start {target}"))?;
    let printed = String::from_utf8_lossy(&result.stderr);
    if !result.status.success() {
        let input = printed.lines().find_map(|line| line.split_once("Test unit written to "));
        let input = input.map_or("(none was written)", |(_, path)| path);
        let tail: Vec<_> = printed.lines().rev().take(60).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        bail!(
            "{}\n{target} failed with {input}\n  reproduce: cargo xtask fuzz {target} --input {input}\n  \
             once fixed, add it to the seeds: cp {input} fuzz/corpus/{target}/",
            tail.join("\n")
        );
    }
    let runs = printed.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("{target}: {} inputs, no failure", runs.map_or("?", str::trim));
    Ok(())
}
