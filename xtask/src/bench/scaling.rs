//! The cost of growing numbers: entries, connections, bytes of a body, variants, groups.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Instant,
};

use anyhow::Context as _;

use super::{
    peers::{self, Peer},
    plots::{self, Plot},
    proxy::{self, Benchmark, GZIP},
};
use crate::process::{cargo, output, run as call};

/// The explanation of the curves' shapes.
const SHAPES: &str = "
- **Entries in memory**: a lookup reads one bucket of a hash table, whatever the number of entries. With
  more entries, the bucket is more often not in the processor's caches, until each lookup waits for memory
  about four times.
- **Connections**: one connection has one request in progress at a time. A hundred keep the core busy. A
  request on one of a thousand connections costs about 1.3 times as much as on one of a hundred, and on one
  of ten thousand 1.6 times: the data of a connection has left the processor's caches when its next request
  arrives.
- **Bodies**: below 16 KiB the request costs more than its bytes; above, the kernel's copies cost more.
  Resident memory grows by less than 16 MiB: each chunk is forwarded before the next is read.
- **Variants**: the selecting values of each variant are compared in turn, newest first, so time grows
  linearly. A key has at most 64 variants by default.
- **Groups**: a hit looks up each group of its own response, whatever the number of groups. Removing a group
  changes one entry of a table.
";

pub(crate) fn run(quick: bool) -> anyhow::Result<String> {
    crate::setup::run_for_benchmarks()?;
    let mut table = output(&mut super::suite("scaling", quick))?;
    call(cargo().args(["build", "--release", "-p", "larder-cli", "-p", "larder-peers"]))?;
    let (_origin, port) = peers::origin()?;
    connections(&mut table, &peers::larder_for_many_connections(port)?, quick)?;
    let folder = Path::new("target/bench-scaling");
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    bodies(&mut table, folder, port, quick)?;
    fs::remove_dir_all(folder)?;
    if !quick {
        draw(&table)?;
    }
    table.push_str(SHAPES);
    Ok(table)
}

fn connections(table: &mut String, larder: &Peer, quick: bool) -> anyhow::Result<()> {
    writeln!(
        table,
        "\n| connections | requests/s | CPU µs a request | p50 µs | p99 µs | memory, KiB a connection |"
    )?;
    writeln!(table, "|---|---|---|---|---|---|")?;
    let before = larder.memory();
    for count in [1, 10, 100, 1000, 10_000] {
        let benchmark = Benchmark { connections: count, ..Benchmark::alone("/1k", larder, GZIP) };
        proxy::measure(larder, &benchmark, 1)?;
        let found = proxy::measure(larder, &benchmark, if quick { 1 } else { 5 })?;
        let memory = larder.memory().saturating_sub(before) as f64 / 1024.0 / f64::from(count);
        let memory = if count < 100 { String::new() } else { format!("{memory:.1}") };
        writeln!(
            table,
            "| {count} | {:.0} | {:.2} | {:.0} | {:.0} | {memory} |",
            found.per_second, found.cpu_us, found.p50_us, found.p99_us
        )?;
    }
    Ok(())
}

/// Measures hits of growing bodies through a proxy with the disk store. The first request fills it.
#[expect(clippy::disallowed_methods, reason = "a stopwatch for a benchmark")]
fn bodies(table: &mut String, folder: &Path, origin: u16, quick: bool) -> anyhow::Result<()> {
    let store = format!("disk:{}?max=8GiB", folder.display());
    let larder = peers::larder_on("larder proxy, on disk", &store, origin)?;
    writeln!(table, "\n| bytes of a body | hit, µs | MiB/s | memory added, MiB |\n|---|---|---|---|")?;
    let longest = if quick { 1 << 20 } else { 1 << 30 };
    let lengths = [0, 1 << 10, 16 << 10, 256 << 10, 4 << 20, 64 << 20, 1 << 30];
    for length in lengths.into_iter().filter(|length| *length <= longest) {
        let path = format!("/bytes/{length}");
        read(larder.port, &path, length)?;
        let before = larder.memory();
        let rounds = if quick { 1 } else { ((256 << 20) / (length + 1)).clamp(3, 200) };
        let mut took = Vec::new();
        for _ in 0..rounds {
            let begun = Instant::now();
            read(larder.port, &path, length)?;
            took.push(begun.elapsed().as_secs_f64());
        }
        took.sort_by(f64::total_cmp);
        let median = took[took.len() / 2];
        let rate = length as f64 / f64::from(1 << 20) / median;
        let added = larder.memory_at_most().saturating_sub(before) as f64 / f64::from(1 << 20);
        writeln!(table, "| {length} | {:.0} | {rate:.0} | {added:.1} |", median * 1e6)?;
    }
    Ok(())
}

/// Sends one request on a new connection and reads the response to its end.
fn read(port: u16, path: &str, length: u64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    let mut head = None;
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        if head.is_none() {
            head =
                buffer[..read].windows(4).position(|window| window == b"\r\n\r\n").map(|end| end as u64 + 4);
        }
        total += read as u64;
    }
    let head = head.context("the head did not arrive in one chunk")?;
    anyhow::ensure!(total - head == length, "{path}: {} of {length} bytes arrived", total - head);
    Ok(())
}

fn draw(table: &str) -> anyhow::Result<()> {
    let entries = plots::lines(table, "| entries in memory", &[(1, "the same hundred"), (2, "any of them")]);
    Plot { file: "entries", title: "A hit in memory", x: "entries", y: "ns", lines: entries }.write()?;
    let connections = plots::lines(table, "| connections", &[(1, "larder proxy")]);
    let title = "Hits of 1 KiB through larder proxy on one core";
    Plot { file: "connections", title, x: "connections", y: "requests/s", lines: connections }.write()?;
    let bodies = plots::lines(table, "| bytes of a body", &[(1, "larder proxy, on disk")]);
    let title = "A hit through larder proxy, from disk, on a new connection";
    Plot { file: "bodies", title, x: "bytes of the body", y: "µs", lines: bodies }.write()?;
    let variants = plots::lines(table, "| variants of one key", &[(1, "any of them")]);
    Plot {
        file: "variants",
        title: "A hit among variants",
        x: "variants of one key",
        y: "ns",
        lines: variants,
    }
    .write()
}

/// Returns the resident memory of a server and its children in bytes, now or at its peak.
impl Peer {
    fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn memory_at_most(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let of = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        self.server.processes().iter().filter_map(of).sum::<u64>() * 1024
    }
}
