//! Runs the criterion benchmarks and reads their results.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::Value;

use crate::process::{cargo, run as call};

const SUITE: &str = "benches/suite/Cargo.toml";
const FOUND: &str = "benches/suite/target/criterion";

/// The names of all criterion benchmarks.
pub(super) const BENCHMARKS: [&str; 7] = ["policy", "engine", "stores", "codec", "client", "batch", "actix"];

/// The result of one benchmark function.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) group: String,
    pub(super) name: String,
    /// Nanoseconds of the median sample.
    pub(super) nanos: f64,
    /// The change of the median against a baseline, and the ends of its confidence interval.
    pub(super) change: Option<[f64; 3]>,
}

/// Runs some of the benchmarks with these criterion flags.
pub(super) fn bench(benchmarks: &[&str], flags: &[&str]) -> anyhow::Result<()> {
    let mut bench = cargo();
    bench.args(["bench", "--manifest-path", SUITE]);
    for benchmark in benchmarks {
        bench.args(["--bench", benchmark]);
    }
    // Criterion prints many lines; the table summarises them.
    call(bench.arg("--").args(flags))
}

/// Compiles and runs each benchmark once, without optimisation, which would take minutes.
pub(super) fn quick() -> anyhow::Result<()> {
    let mut test = cargo();
    test.args(["test", "--quiet", "--manifest-path", SUITE]);
    for benchmark in BENCHMARKS {
        test.args(["--bench", benchmark]);
    }
    call(&mut test)
}

/// Returns the results of the last run for groups with this prefix.
pub(super) fn found(prefix: &str) -> anyhow::Result<Vec<Found>> {
    let mut all = Vec::new();
    collect(Path::new(FOUND), &mut all)?;
    all.retain(|found| found.group.starts_with(prefix));
    all.sort_by(|a, b| a.group.cmp(&b.group).then(a.nanos.total_cmp(&b.nanos)));
    Ok(all)
}

fn collect(folder: &Path, all: &mut Vec<Found>) -> anyhow::Result<()> {
    let new = folder.join("new/benchmark.json");
    if new.is_file() {
        let (about, estimates) = (json(&new)?, json(&folder.join("new/estimates.json"))?);
        let text = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
        let change = folder.join("change/estimates.json");
        let change = if change.is_file() {
            let median = &json(&change)?["median"];
            let interval = &median["confidence_interval"];
            let ends = [&median["point_estimate"], &interval["lower_bound"], &interval["upper_bound"]];
            Some(ends.map(|end| end.as_f64().unwrap_or(0.0)))
        } else {
            None
        };
        let nanos = estimates["median"]["point_estimate"].as_f64().context("an estimate")?;
        all.push(Found { group: text("group_id"), name: text("function_id"), nanos, change });
        return Ok(());
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("{}: run the benches first", folder.display()))?;
    for entry in entries {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            collect(&path, all)?;
        }
    }
    Ok(())
}

fn json(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// Formats a table for each group. Ratios are to the fastest contestant that is not Larder.
pub(super) fn table(found: &[Found]) -> String {
    let mut table = String::new();
    for group in found.chunk_by(|a, b| a.group == b.group) {
        let base = group.iter().find(|one| !one.name.starts_with("larder")).or(group.first());
        let base = base.map_or(1.0, |base| base.nanos);
        table.push_str(&format!("\n| {} | time | ratio |\n|---|---|---|\n", group[0].group));
        for one in group {
            let name = match one.name.starts_with("larder") {
                true => format!("**{}**", one.name),
                false => one.name.clone(),
            };
            table.push_str(&format!("| {name} | {} | {:.2} |\n", time(one.nanos), one.nanos / base));
        }
    }
    table
}

pub(super) fn time(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.2} µs", nanos / 1e3),
        _ => format!("{:.2} ms", nanos / 1e6),
    }
}

/// Compares with a baseline that `bench save` stored, and formats a table.
pub(super) fn compare(baseline: &str) -> anyhow::Result<String> {
    bench(&BENCHMARKS, &["--baseline-lenient", baseline])?;
    let mut changed = found("")?;
    changed.retain(|found| found.change.is_some());
    let by = |found: &Found| found.change.map_or(0.0, |change| change[0]);
    changed.sort_by(|a, b| by(a).total_cmp(&by(b)));
    let mut table = format!("\n| against {baseline} | now | change (95 % interval) | |\n|---|---|---|---|\n");
    for one in changed {
        let [change, low, high] = one.change.unwrap_or_default().map(|part| part * 100.0);
        let verdict = match (low, high) {
            (_, ..0.0) if change < -3.0 => "faster",
            (0.0.., _) if change > 3.0 => "slower",
            _ => "",
        };
        let what = format!("{}, {}", one.group, one.name);
        let row = format!(
            "| {what} | {} | {change:+.1} % ({low:+.1} to {high:+.1}) | {verdict} |\n",
            time(one.nanos)
        );
        table.push_str(&row);
    }
    Ok(table)
}
