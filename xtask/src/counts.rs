//! `cargo xtask counts`: instructions and allocations of the hot paths, which don't depend on the machine's mood, held against
//! `benches/counts.tsv`.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use anyhow::Context as _;

use crate::{
    process::{cargo, output, run as call},
    setup,
};

const FILE: &str = "benches/counts.tsv";
const PROGRAM: &str = "target/release/larder-counts";
/// Turns between the two runs whose difference is counted: what is done once cancels out.
const TURNS: u64 = 1000;
/// More than this is more.
const TOLERANCE: f64 = 1.02;
/// Hashes have a seed of their own in each process, and visit other places each time. Of so many runs the median is kept, and the
/// least is held against it.
const RUNS: usize = 7;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write what was counted into benches/counts.tsv, to be committed with what changed it.
    #[arg(long)]
    update: bool,
}

/// One path's.
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
    // Another compiler makes other instructions of the same source.
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
        println!("{FILE} is of another compiler than {compiler}: only allocations are held against it");
    }
    if args.update {
        return write(&compiler, &counted);
    }
    anyhow::ensure!(
        grown.is_empty(),
        "more than before: {}. If it is worth it, run cargo xtask counts --update and commit {FILE} with the change",
        grown.join(", ")
    );
    Ok(())
}

/// The most instructions that are no more than before.
fn limit(old: Count) -> u64 {
    (old.instructions as f64 * TOLERANCE) as u64
}

/// `enough` says how few instructions need not be counted again; none of a path that is counted for keeping.
fn count(enough: impl Fn(&str) -> Option<u64>) -> anyhow::Result<Vec<(String, Count)>> {
    let mut counted = Vec::new();
    for line in output(Command::new(PROGRAM).arg("allocations"))?.lines() {
        let (name, allocations) = line.split_once('\t').context("a name and a number")?;
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

/// Of the whole program, with so many turns.
fn instructions(name: &str, turns: u64) -> anyhow::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", PROGRAM, "run", name]);
    let output = valgrind.arg(turns.to_string()).output().context("valgrind")?;
    let printed = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{name} failed under valgrind:\n{printed}");
    let collected = printed.lines().find_map(|line| line.split_once("Collected :"));
    let (_, number) = collected.with_context(|| format!("valgrind printed something else:\n{printed}"))?;
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
        .map(|one| line(one).with_context(|| format!("{FILE}: '{one}' is no name and two numbers")))
        .collect()
}

fn write(compiler: &str, counted: &[(String, Count)]) -> anyhow::Result<()> {
    let mut text = format!(
        "# Instructions (Callgrind) and allocations of one turn of each hot path: cargo xtask counts --update.\n\
         # CI fails where one has grown by more than 2 %.\n# {compiler}\n"
    );
    for (name, count) in counted {
        writeln!(text, "{name}\t{}\t{}", count.instructions, count.allocations)?;
    }
    fs::write(FILE, text)?;
    println!("written to {FILE}");
    Ok(())
}
