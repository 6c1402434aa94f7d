//! Writes `benches/RESULTS.md`: a section for each benchmark, with its machine, date, commit and
//! command.

use std::{fs, process::Command};

use anyhow::Context as _;

use crate::process::output;

const FILE: &str = "benches/RESULTS.md";

/// Prints a section and replaces the one of that name in the file.
pub(crate) fn write(name: &str, table: &str, quick: bool) -> anyhow::Result<()> {
    println!("\n{table}");
    if quick {
        return Ok(());
    }
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let before = fs::read_to_string(FILE).unwrap_or_default();
    let section = format!("{begin}\n{}\n{table}\n{end}", provenance(name)?);
    let text = match (before.find(&begin), before.find(&end)) {
        (Some(from), Some(to)) => format!("{}{section}{}", &before[..from], &before[to + end.len()..]),
        _ => format!("{before}\n{section}\n"),
    };
    fs::write(FILE, text)?;
    println!("written to {FILE}");
    Ok(())
}

/// Writes the first table of `bench proxy` into the README.
pub(crate) fn write_readme(tables: &str) -> anyhow::Result<()> {
    const BEGIN: &str = "<!-- hits -->\n";
    let rows = tables.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let mut table = "| server | CPU a request, ratio | requests/s, ratio |\n|---|---|---|\n".to_owned();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        if let [server, _, cpu, _, rate, ..] = *cells {
            table.push_str(&format!("| {server} | {cpu} | {rate} |\n"));
        }
    }
    let before = fs::read_to_string("README.md")?;
    let begin = before.find(BEGIN).context("README.md has no <!-- hits -->")? + BEGIN.len();
    let end = before.find("<!-- /hits -->").context("README.md has no <!-- /hits -->")?;
    fs::write("README.md", format!("{}{table}{}", &before[..begin], &before[end..]))?;
    Ok(())
}

fn provenance(name: &str) -> anyhow::Result<String> {
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let commit = output(Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
    // Changes of the files that this writes do not count as changes of the measured code.
    let sources =
        ["status", "--porcelain", "--", ".", ":!README.md", ":!benches/RESULTS.md", ":!benches/plots"];
    let changed = if output(Command::new("git").args(sources))?.is_empty() { "" } else { ", changed" };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown")
        .trim_matches([' ', '\t', ':']);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    Ok(format!(
        "`cargo xtask bench {name}`, {}, commit {}{changed},\n{cores} cores of {model}, loopback.\n",
        date.trim(),
        commit.trim()
    ))
}
