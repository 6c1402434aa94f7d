//! Hits and misses through a server on one core, with the load on the other: CPU time for a
//! request, requests/s.

use std::{fmt::Write as _, path::Path, process::Command};

use anyhow::Context as _;

use super::{
    others,
    peers::{self, Peer},
};
use crate::process::output;

/// The result of one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) cpu_us: f64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// A benchmark: a request, the servers, and the one that the others are compared with.
pub(super) struct Benchmark<'a> {
    pub(super) title: &'static str,
    pub(super) path: &'static str,
    pub(super) of: Vec<&'a Peer>,
    pub(super) base: &'static str,
    /// Further headers of the requests.
    pub(super) field: &'static str,
    pub(super) connections: u32,
}

/// Number of connections that keep one core busy.
const CONNECTIONS: u32 = 32;

impl<'a> Benchmark<'a> {
    /// Selects the servers that cache.
    pub(super) fn hit(title: &'static str, path: &'static str, servers: &'a [Peer]) -> Self {
        let of = servers.iter().filter(|peer| peer.caches).collect();
        Self { title, path, of, base: "hyper, bare static handler", field: GZIP, connections: CONNECTIONS }
    }

    /// Selects these servers; the others are compared with the first.
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

    /// Selects one server, measured alone.
    pub(super) fn alone(path: &'static str, server: &'a Peer, field: &'static str) -> Self {
        Self { title: "", path, of: vec![server], base: server.name, field, connections: CONNECTIONS }
    }

    /// Selects the servers that forward requests.
    pub(super) fn miss(title: &'static str, path: &'static str, servers: &'a [Peer]) -> Self {
        let of = servers.iter().filter(|peer| peer.forwards).collect();
        Self {
            title,
            path,
            of,
            base: "hyper pass-through, pool of its thread",
            field: GZIP,
            connections: CONNECTIONS,
        }
    }
}

/// A request as a typical client sends it.
pub(super) const GZIP: &str = "Accept-Encoding: gzip";

pub(crate) fn run(quick: bool) -> anyhow::Result<String> {
    let mut tables = Vec::new();
    // New processes each time: the memory placement of a process changes its speed by up to a
    // third.
    for start in 0..if quick { 1 } else { 3 } {
        let (_origin, port) = peers::origin()?;
        let mut servers = peers::limits(port)?;
        servers.push(peers::larder(port)?);
        servers.extend(peers::caches(port, Path::new("target/bench-peers"), false)?);
        servers.extend(others::caches(port, Path::new("target/bench-peers"))?);
        let benchmarks = [
            Benchmark::hit("hit, 1 KiB", "/1k", &servers),
            Benchmark::hit("hit, 64 KiB", "/64k", &servers),
            Benchmark::miss("miss, 1 KiB", "/nostore/1k", &servers),
            Benchmark::miss("miss, 64 KiB", "/nostore/64k", &servers),
        ];
        if start == 0 {
            tables = benchmarks.iter().map(Table::of).collect::<anyhow::Result<_>>()?;
        }
        for (table, benchmark) in tables.iter_mut().zip(&benchmarks) {
            table.race(benchmark, if quick { 1 } else { 2 }, quick)?;
        }
    }
    written(&tables)
}

/// Measures all benchmarks with alternating servers and returns a table for each.
pub(super) fn race(benchmarks: &[Benchmark<'_>], quick: bool) -> anyhow::Result<String> {
    let mut tables: Vec<Table> = benchmarks.iter().map(Table::of).collect::<anyhow::Result<_>>()?;
    for (table, benchmark) in tables.iter_mut().zip(benchmarks) {
        table.race(benchmark, if quick { 1 } else { 5 }, quick)?;
    }
    written(&tables)
}

fn written(tables: &[Table]) -> anyhow::Result<String> {
    let mut text = String::new();
    tables.iter().try_for_each(|table| table.write(&mut text))?;
    Ok(text)
}

/// The results of one benchmark.
struct Table {
    title: &'static str,
    rows: Vec<Row>,
    /// The row that the others are compared with.
    base: usize,
}

struct Row {
    name: &'static str,
    rounds: Vec<Round>,
}

impl Table {
    fn of(benchmark: &Benchmark<'_>) -> anyhow::Result<Self> {
        let rows = benchmark.of.iter().map(|peer| Row { name: peer.name, rounds: Vec::new() }).collect();
        let base = benchmark.of.iter().position(|peer| peer.name == benchmark.base);
        let base = base.context("the server to compare with is not among the servers")?;
        Ok(Self { title: benchmark.title, rows, base })
    }

    /// Measures a number of rounds, with alternating servers.
    fn race(&mut self, benchmark: &Benchmark<'_>, rounds: usize, quick: bool) -> anyhow::Result<()> {
        for round in 0..rounds {
            for (row, peer) in self.rows.iter_mut().zip(&benchmark.of) {
                eprint!(
                    "\r{:<70}",
                    format!("{}: round {}: {}", benchmark.title, row.rounds.len() + 1, peer.name)
                );
                if round == 0 {
                    measure(peer, benchmark, 1)?;
                }
                row.rounds.push(measure(peer, benchmark, if quick { 1 } else { 2 })?);
            }
        }
        eprintln!();
        Ok(())
    }

    fn write(&self, text: &mut String) -> anyhow::Result<()> {
        writeln!(text, "\n### {}\n", self.title)?;
        writeln!(
            text,
            "| server | CPU µs a request (spread) | CPU, ratio | requests/s | ratio | p50 / p99 µs | rank |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|")?;
        let base = &self.rows[self.base];
        let (limit_cpu, limit_rate) =
            (base.median(|round| round.cpu_us), base.median(|round| round.per_second));
        let mut order: Vec<&Row> = self.rows.iter().collect();
        order.sort_by(|a, b| a.median(|round| round.cpu_us).total_cmp(&b.median(|round| round.cpu_us)));
        for row in order {
            let (cpu, rate) = (row.median(|round| round.cpu_us), row.median(|round| round.per_second));
            writeln!(
                text,
                "| {} | {cpu:.2} ({:.2} to {:.2}) | {:.2} | {rate:.0} | {:.2} | {:.0} / {:.0} | {} |",
                row.name,
                row.least(),
                row.most(),
                cpu / limit_cpu,
                rate / limit_rate,
                row.median(|round| round.p50_us),
                row.median(|round| round.p99_us),
                self.rank(row),
            )?;
        }
        Ok(())
    }

    /// Returns the rank by CPU time, as a range where spreads overlap.
    fn rank(&self, row: &Row) -> String {
        let first = 1 + self.rows.iter().filter(|other| other.most() < row.least()).count();
        let last = self.rows.len() - self.rows.iter().filter(|other| row.most() < other.least()).count();
        if first == last { first.to_string() } else { format!("{first}–{last}") }
    }
}

impl Row {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn least(&self) -> f64 {
        self.rounds.iter().map(|round| round.cpu_us).fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.rounds.iter().map(|round| round.cpu_us).fold(0.0, f64::max)
    }
}

pub(super) fn measure(peer: &Peer, benchmark: &Benchmark<'_>, seconds: u32) -> anyhow::Result<Round> {
    let path = benchmark.path;
    let url = format!("http://127.0.0.1:{}{path}", peer.port);
    let before = peer.cpu();
    let mut wrk = Command::new("taskset");
    wrk.args([
        "-c",
        "1",
        "wrk",
        "-t1",
        &format!("-c{}", benchmark.connections),
        "--latency",
        &format!("-d{seconds}s"),
        "-H",
        benchmark.field,
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

/// Parses `191.00us` and `1.16ms`.
fn micros(time: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = time.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    anyhow::bail!("'{time}' is no time")
}
