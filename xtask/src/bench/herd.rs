//! Two hundred concurrent requests for one cold key, with an origin that takes 200 ms.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use super::peers::{self, Peer};

const CLIENTS: usize = 200;

pub(crate) fn run(quick: bool) -> anyhow::Result<String> {
    let rounds = if quick { 1 } else { 5 };
    let folder = Path::new("target/bench-peers");
    let (_origin, port) = peers::origin()?;
    let mut servers = vec![peers::larder(port)?];
    servers.extend(peers::caches(port, folder, false)?);
    servers.push(peers::nginx(port, folder, true)?);
    let mut table = String::from(
        "| server | storable: requests at the origin | p50 ms | not storable: wall ms, first | again |\n|---|---|---|---|---|\n",
    );
    for peer in &servers {
        let (mut requests, mut p50, mut first, mut again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            count(port)?;
            let times = herd(peer, &format!("/slow/1k/{round}"))?;
            requests.push(count(port)?);
            p50.push(times[CLIENTS / 2]);
            let path = format!("/slow/nostore/1k/{round}");
            first.push(herd(peer, &path)?[CLIENTS - 1]);
            again.push(herd(peer, &path)?[CLIENTS - 1]);
        }
        let ms = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2].as_millis()
        };
        requests.sort_unstable();
        let (name, requests) = (peer.name, requests[requests.len() / 2]);
        writeln!(table, "| {name} | {requests} | {} | {} | {} |", ms(p50), ms(first), ms(again))?;
    }
    Ok(table)
}

/// Returns the number of requests that the origin received since the last call.
fn count(origin: u16) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", origin))?;
    stream.write_all(b"GET /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.rsplit("\r\n").next().unwrap_or_default().trim().parse()?)
}

/// Sends all requests at once, on open connections, and returns their sorted durations.
#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn herd(peer: &Peer, path: &str) -> anyhow::Result<Vec<Duration>> {
    let start = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (start, port) = (Arc::clone(&start), peer.port);
            let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port))?;
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                start.wait();
                let begun = Instant::now();
                stream.write_all(request.as_bytes())?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer)?;
                anyhow::ensure!(
                    answer.starts_with(b"HTTP/1.1 200") && answer.len() > 1024,
                    "not the whole response"
                );
                Ok(begun.elapsed())
            })
        })
        .collect();
    let mut times = Vec::with_capacity(CLIENTS);
    for client in clients {
        times.push(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    times.sort();
    Ok(times)
}
