//! `cargo xtask fuzz`: strangers' bytes against parsers and codec, with libFuzzer on the stable toolchain.
//!
//! Coverage counters are an LLVM pass that any rustc can be told to run; only sanitizers need nightly, and without
//! `unsafe` code there is little for them to find. What each target asserts stands in `fuzz/fuzz_targets/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use crate::process::{cargo, is_installed, output, run as call};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One of codec, directives, key, range; all of them without it.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// Ten seconds each instead: enough to see that nothing broke.
    #[arg(long)]
    short: bool,
    /// Run the target once, with this file, and show everything: to see why it fails.
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

const TARGETS: [&str; 4] = ["codec", "directives", "key", "range"];

/// What `cargo fuzz` passes without a sanitizer; none of it is unstable.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Ours, so that the instrumented build never invalidates the ordinary one.
const FOLDER: &str = "target/fuzz";

/// One input may take no longer.
const HANG: u64 = 5;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let targets = match &args.target {
        Some(target) => vec![target.as_str()],
        None => TARGETS.to_vec(),
    };
    if let Some(unknown) = targets.iter().find(|target| !TARGETS.contains(target)) {
        bail!("there is no target {unknown}; there are {}", TARGETS.join(", "));
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

/// Builds all targets; where they are.
fn build() -> anyhow::Result<PathBuf> {
    ensure!(is_installed("c++"), "libFuzzer needs a C++ compiler: apt-get install g++");
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV has no host")?;
    // With a target named, the flags stay away from build scripts and macros.
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
        // New inputs go to the first folder; the seeds in git are only read.
        .args([&found, &format!("fuzz/corpus/{target}")])
        .args([format!("-max_total_time={seconds}"), format!("-timeout={HANG}")])
        .args([format!("-artifact_prefix={broken}"), "-print_final_stats=1".into()])
        .output()
        .with_context(|| format!("can't start {target}"))?;
    let said = String::from_utf8_lossy(&result.stderr);
    if !result.status.success() {
        let input = said.lines().find_map(|line| line.split_once("Test unit written to "));
        let input = input.map_or("(none was written)", |(_, path)| path);
        let tail: Vec<_> = said.lines().rev().take(60).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        bail!(
            "{}\n{target} broke with {input}\n  see it again: cargo xtask fuzz {target} --input {input}\n  \
             once mended, keep it: cp {input} fuzz/corpus/{target}/",
            tail.join("\n")
        );
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("{target}: {} inputs, nothing broke", runs.map_or("?", str::trim));
    Ok(())
}
