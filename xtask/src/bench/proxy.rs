//! Hits and misses through a server on one core, the load on the other: CPU time a request, and requests a second.

use std::{fmt::Write as _, path::Path, process::Command};

use anyhow::Context as _;

use super::{
    others,
    peers::{self, Peer},
};
use crate::process::output;

/// What one round found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) cpu_us: f64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// What is asked of which servers, and the one that the others are held against.
pub(super) struct Question<'a> {
    pub(super) title: &'static str,
    pub(super) path: &'static str,
    pub(super) of: Vec<&'a Peer>,
    pub(super) base: &'static str,
    /// What else is in the requests.
    pub(super) field: &'static str,
    pub(super) connections: u32,
}

/// As many as keep a core busy.
const CONNECTIONS: u32 = 32;

impl<'a> Question<'a> {
    /// Of those that keep responses.
    pub(super) fn hit(title: &'static str, path: &'static str, servers: &'a [Peer]) -> Self {
        let of = servers.iter().filter(|peer| peer.caches).collect();
        Self { title, path, of, base: "hyper, bare static handler", field: GZIP, connections: CONNECTIONS }
    }

    /// Of all of these; the first is what the others are held against.
    pub(super) fn of(
        title: &'static str,
        path: &'static str,
        servers: &'a [Peer],
        field: &'static str,
    ) -> Self {
        Self {
            title,
            path,
            of: servers.iter().collect(),
            base: servers[0].name,
            field,
            connections: CONNECTIONS,
        }
    }

    /// Of one server, to be measured by itself.
    pub(super) fn alone(path: &'static str, server: &'a Peer, field: &'static str) -> Self {
        Self { title: "", path, of: vec![server], base: server.name, field, connections: CONNECTIONS }
    }

    /// Of those that pass requests on.
    pub(super) fn miss(title: &'static str, path: &'static str, servers: &'a [Peer]) -> Self {
        let of = servers.iter().filter(|peer| peer.forwards).collect();
        Self { title, path, of, base: "hyper pass-through", field: GZIP, connections: CONNECTIONS }
    }
}

/// As any client sends it.
pub(super) const GZIP: &str = "Accept-Encoding: gzip";

pub(crate) fn run(quick: bool) -> anyhow::Result<String> {
    let (_origin, port) = peers::origin()?;
    let mut servers = peers::limits(port)?;
    servers.push(peers::larder(port)?);
    servers.extend(peers::caches(port, Path::new("target/bench-peers"), false)?);
    servers.extend(others::caches(port, Path::new("target/bench-peers"))?);
    let questions = [
        Question::hit("hit, 1 KiB", "/1k", &servers),
        Question::hit("hit, 64 KiB", "/64k", &servers),
        Question::miss("miss, 1 KiB", "/nostore/1k", &servers),
        Question::miss("miss, 64 KiB", "/nostore/64k", &servers),
    ];
    race(&questions, quick)
}

/// A table for each question, the servers taking turns.
pub(super) fn race(questions: &[Question<'_>], quick: bool) -> anyhow::Result<String> {
    let (rounds, seconds) = if quick { (1, 1) } else { (5, 2) };
    let mut table = String::new();
    for question in questions {
        let asked = &question.of;
        let mut found: Vec<Vec<Round>> = vec![Vec::new(); asked.len()];
        for round in 0..rounds {
            for (index, peer) in asked.iter().enumerate() {
                eprint!(
                    "\r{:<70}",
                    format!("{}: round {}/{rounds}: {}", question.title, round + 1, peer.name)
                );
                if round == 0 {
                    measure(peer, question, 1)?;
                }
                found[index].push(measure(peer, question, seconds)?);
            }
        }
        eprintln!();
        let base = asked.iter().position(|peer| peer.name == question.base);
        let base = base.context("what it is held against is among the servers")?;
        write_table(&mut table, question.title, asked, &found, base)?;
    }
    Ok(table)
}

fn write_table(
    table: &mut String,
    title: &str,
    asked: &[&Peer],
    found: &[Vec<Round>],
    base: usize,
) -> anyhow::Result<()> {
    writeln!(table, "\n### {title}\n")?;
    writeln!(
        table,
        "| server | CPU µs a request (spread) | CPU, ratio | requests/s | ratio | p50 / p99 µs |"
    )?;
    writeln!(table, "|---|---|---|---|---|---|")?;
    let limit_cpu = median(&found[base], |round| round.cpu_us);
    let limit_rate = median(&found[base], |round| round.per_second);
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by(|a, b| {
        median(&found[*a], |round| round.cpu_us).total_cmp(&median(&found[*b], |round| round.cpu_us))
    });
    for index in order {
        let rounds = &found[index];
        let cpu = median(rounds, |round| round.cpu_us);
        let rate = median(rounds, |round| round.per_second);
        let least = rounds.iter().map(|round| round.cpu_us).fold(f64::INFINITY, f64::min);
        let most = rounds.iter().map(|round| round.cpu_us).fold(0.0, f64::max);
        writeln!(
            table,
            "| {} | {cpu:.2} ({least:.2} to {most:.2}) | {:.2} | {rate:.0} | {:.2} | {:.0} / {:.0} |",
            asked[index].name,
            cpu / limit_cpu,
            rate / limit_rate,
            median(rounds, |round| round.p50_us),
            median(rounds, |round| round.p99_us),
        )?;
    }
    Ok(())
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(super) fn measure(peer: &Peer, question: &Question<'_>, seconds: u32) -> anyhow::Result<Round> {
    let path = question.path;
    let url = format!("http://127.0.0.1:{}{path}", peer.port);
    let before = peer.cpu();
    let mut wrk = Command::new("taskset");
    wrk.args([
        "-c",
        "1",
        "wrk",
        "-t1",
        &format!("-c{}", question.connections),
        "--latency",
        &format!("-d{seconds}s"),
        "-H",
        question.field,
        &url,
    ]);
    let printed = output(&mut wrk)?;
    let cpu = peer.cpu().saturating_sub(before) as f64 / 1000.0;
    let requests: f64 =
        field(&printed, |line| line.split_once(" requests in").map(|(count, _)| count.trim().to_owned()))?
            .parse()?;
    let failed = printed.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
    anyhow::ensure!(failed.is_none(), "{} at {path}: {}", peer.name, failed.unwrap_or_default().trim());
    let rate =
        field(&printed, |line| line.trim().strip_prefix("Requests/sec:").map(|rate| rate.trim().to_owned()))?;
    let latency = |percent: &str| {
        let found =
            field(&printed, |line| line.trim().strip_prefix(percent).map(|time| time.trim().to_owned()));
        found.and_then(|time| micros(&time))
    };
    Ok(Round {
        cpu_us: cpu / requests,
        per_second: rate.parse()?,
        p50_us: latency("50%")?,
        p99_us: latency("99%")?,
    })
}

fn field(printed: &str, find: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    printed.lines().find_map(find).with_context(|| format!("wrk printed something else:\n{printed}"))
}

/// `191.00us`, `1.16ms`.
fn micros(time: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = time.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    anyhow::bail!("'{time}' is no time")
}
