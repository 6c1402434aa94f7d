//! `cargo xtask counts`: counts instructions and allocations of the hot paths and compares them
//! with `benches/counts.tsv`. Unlike times, counts do not depend on the machine's load.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use anyhow::Context as _;

use crate::{
    process::{cargo, output, run as call},
    setup,
};

const FILE: &str = "benches/counts.tsv";
const PROGRAM: &str = "target/release/larder-counts";
/// Iterations by which two runs differ. The difference of their counts leaves out what is done
/// once.
const TURNS: u64 = 1000;
/// A count that grew by more than this factor is reported.
const TOLERANCE: f64 = 1.02;
/// Hash maps are seeded at random in each process, so counts vary from run to run. The file stores
/// the median of this many runs; a check compares the least of them.
const RUNS: usize = 7;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the counts to benches/counts.tsv. Commit the file with the change that caused them.
    #[arg(long)]
    update: bool,
}

/// The counts of one path, per iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    instructions: u64,
    allocations: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    setup::run_for_counts()?;
    call(cargo().args(["build", "--release", "-p", "larder-counts"]))?;
    let compiler = output(Command::new("rustc").arg("--version"))?.trim().to_owned();
    let kept = fs::read_to_string(FILE).unwrap_or_default();
    let before = parse(&kept)?;
    // Another compiler version generates different instructions from the same source.
    let comparable = kept.lines().any(|line| line == format!("# {compiler}"));
    let counted = count(|name| match before.get(name) {
        Some(old) if comparable && !args.update => Some(limit(*old)),
        _ => None,
    })?;
    let mut grown = Vec::new();
    println!("{:<42} {:>12} {:>8} {:>12} {:>8}", "", "instructions", "change", "allocations", "change");
    for (name, now) in &counted {
        let old = before.get(name.as_str());
        let change = old.map_or_else(String::new, |old| {
            let percent = (now.instructions as f64 / old.instructions.max(1) as f64 - 1.0) * 100.0;
            format!("{percent:+.1} %")
        });
        let more = old.map_or_else(String::new, |old| match now.allocations.abs_diff(old.allocations) {
            0 => String::new(),
            by => format!("{}{by}", if now.allocations > old.allocations { "+" } else { "-" }),
        });
        println!("{name:<42} {:>12} {change:>8} {:>12} {more:>8}", now.instructions, now.allocations);
        let is_more = old.is_none_or(|old| {
            comparable && now.instructions > limit(*old) || now.allocations > old.allocations
        });
        if is_more {
            grown.push(name.as_str());
        }
    }
    if !comparable {
        println!("{FILE} was written with another compiler than {compiler}: only allocations are compared");
    }
    if args.update {
        return write(&compiler, &counted);
    }
    anyhow::ensure!(
        grown.is_empty(),
        "counts have grown: {}. If the change is worth it, run cargo xtask counts --update and commit {FILE} with it",
        grown.join(", ")
    );
    Ok(())
}

/// Returns the largest instruction count that is not reported as growth.
fn limit(old: Count) -> u64 {
    (old.instructions as f64 * TOLERANCE) as u64
}

/// Counts all paths. `enough` returns the instruction count at which a path needs no further run,
/// or `None` if all runs are needed for the median.
fn count(enough: impl Fn(&str) -> Option<u64>) -> anyhow::Result<Vec<(String, Count)>> {
    let mut counted = Vec::new();
    for line in output(Command::new(PROGRAM).arg("allocations"))?.lines() {
        let (name, allocations) = line
            .split_once('\t')
            .with_context(|| format!("{PROGRAM} printed '{line}', not a name and a number"))?;
        let enough = enough(name);
        let mut runs = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let turns = instructions(name, 100 + TURNS)?.saturating_sub(instructions(name, 100)?) / TURNS;
            runs.push(turns);
            if enough.is_some_and(|enough| turns <= enough) {
                break;
            }
        }
        runs.sort_unstable();
        let instructions = if enough.is_some() { runs[0] } else { runs[RUNS / 2] };
        counted.push((name.to_owned(), Count { instructions, allocations: allocations.parse()? }));
    }
    Ok(counted)
}

/// Counts the instructions of the whole program when it iterates `turns` times.
fn instructions(name: &str, turns: u64) -> anyhow::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", PROGRAM, "run", name]);
    let output = valgrind.arg(turns.to_string()).output().context("can't start valgrind")?;
    let printed = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{name} failed under valgrind:\n{printed}");
    let collected = printed.lines().find_map(|line| line.split_once("Collected :"));
    let (_, number) = collected.with_context(|| format!("valgrind printed no count:\n{printed}"))?;
    Ok(number.trim().parse()?)
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<&str, Count>> {
    let line = |line| -> Option<(&str, Count)> {
        let mut columns = str::split(line, '\t');
        let (name, instructions, allocations) = (columns.next()?, columns.next()?, columns.next()?);
        let count =
            Count { instructions: instructions.parse().ok()?, allocations: allocations.parse().ok()? };
        Some((name, count))
    };
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|one| line(one).with_context(|| format!("{FILE}: '{one}' is not a name and two numbers")))
        .collect()
}

fn write(compiler: &str, counted: &[(String, Count)]) -> anyhow::Result<()> {
    let mut text = format!(
        "# Instructions (Callgrind) and allocations of one iteration of each hot path: cargo xtask counts --update.\n\
         # CI fails where one has grown by more than 2 %.\n# {compiler}\n"
    );
    for (name, count) in counted {
        writeln!(text, "{name}\t{}\t{}", count.instructions, count.allocations)?;
    }
    fs::write(FILE, text)?;
    println!("written to {FILE}");
    Ok(())
}
