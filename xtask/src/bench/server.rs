//! Application servers: actix-web and axum, bare and behind caches, and aiohttp.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::{
    peers::{Peer, on_core},
    proxy::{Benchmark, GZIP, race},
    python,
};
use crate::process::{Server, cargo, free_port, run as call};

const SERVER: &str = "benches/suite/target/release/server";

pub(crate) fn run(quick: bool) -> anyhow::Result<String> {
    crate::setup::run_for_tests()?;
    crate::setup::run_for_benchmarks()?;
    let build = ["build", "--release", "--manifest-path", "benches/suite/Cargo.toml", "--bin", "server"];
    call(cargo().args(build))?;
    let (_redis, redis_port) = redis()?;
    let redis = format!("redis://127.0.0.1:{redis_port}");
    let postgres = Postgres::start()?;
    let web = [
        start("actix-web, bare handler", "actix-bare", "")?,
        start("**actix-web with `larder_actix::CacheMiddleware`**", "actix-larder", "")?,
        start("axum, bare handler", "axum-bare", "")?,
        start("**axum with `larder_tower::CacheLayer`**", "axum-larder", "")?,
        start("axum with `http-cache-tower-server` (moka)", "axum-http-cache", "")?,
        start("axum with `axum-response-cache`", "axum-response-cache", "")?,
        start("axum with `tower-http-cache` (memory)", "axum-tower-http-cache", "")?,
    ];
    let shared = [
        start("**actix-web with `larder_actix::CacheMiddleware` on Redis**", "actix-larder-redis", &redis)?,
        start("actix-web with `actix-request-reply-cache` on Redis", "actix-request-reply-cache", &redis)?,
        aiohttp(redis_port)?,
    ];
    let compressed = [
        start("actix-web's `Compress`", "actix-compress", "")?,
        start("**`larder_actix::CacheMiddleware` with compression**", "actix-larder-compress", "")?,
    ];
    let databases = [
        start("PostgreSQL", "database", &postgres.url())?,
        start("SQLite in memory", "database", "sqlite::memory:")?,
    ];
    let ask = |title, path, servers| Benchmark::of(title, path, servers, GZIP);
    let mut benchmarks = vec![
        ask("middleware, hit, 1 KiB", "/1k", &web[..]),
        ask("middleware, hit, 64 KiB", "/64k", &web[..]),
        ask("middleware, not to be stored, 1 KiB", "/nostore/1k", &web[..4]),
        ask("on Redis, hit, 1 KiB", "/1k", &shared[..]),
    ];
    for (title, field) in [
        ("64 KiB of HTML, gzip", GZIP),
        ("64 KiB of HTML, br", "Accept-Encoding: br"),
        ("64 KiB of HTML, zstd", "Accept-Encoding: zstd"),
    ] {
        benchmarks.push(Benchmark::of(title, "/page", &compressed, field));
    }
    benchmarks.push(ask("a row of a database, read each time", "/direct/42", &databases));
    benchmarks.push(ask("a row of a database, kept", "/kept/42", &databases));
    race(&benchmarks, quick)
}

fn start(name: &'static str, mode: &str, what: &str) -> anyhow::Result<Peer> {
    let port = free_port()?;
    let mut command = on_core("0", SERVER);
    command.args([mode, &format!("127.0.0.1:{port}"), what]);
    listening(name, port, &mut command)
}

fn aiohttp(redis: u16) -> anyhow::Result<Peer> {
    let port = free_port()?;
    let python = python::with_peers()?;
    let mut command = on_core("0", &python.display().to_string());
    command.args(["benches/python/server.py", &port.to_string(), "127.0.0.1", &redis.to_string()]);
    listening("aiohttp with aiocache on Redis", port, &mut command)
}

fn listening(name: &'static str, port: u16, command: &mut Command) -> anyhow::Result<Peer> {
    let mut server = Server::start(command)?;
    server.wait_for_port(port).with_context(|| name.to_owned())?;
    Ok(Peer { name, port, server, forwards: false, caches: true })
}

/// Starts a server on the core of the load generator, because its clients are measured, not the
/// server.
fn redis() -> anyhow::Result<(Server, u16)> {
    let port = free_port()?;
    let mut redis = on_core("1", "redis-server");
    redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let mut server = Server::start(&mut redis)?;
    server.wait_for_port(port)?;
    Ok((server, port))
}

/// A private PostgreSQL server on the core of the load generator.
struct Postgres {
    port: u16,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Postgres {
    fn start() -> anyhow::Result<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .context("PostgreSQL is missing: apt-get install postgresql")?
            .flatten();
        let programs = versions
            .map(|version| version.path().join("bin"))
            .max()
            .context("no version of PostgreSQL is installed")?;
        let folder =
            tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        if crate::setup::is_root() {
            call(Command::new("chown").arg("postgres").arg(&data))?;
        }
        let initdb = as_another(&programs.join("initdb"));
        call(
            Command::new("taskset")
                .args(["-c", "1"])
                .args(initdb)
                .args(["--auth=trust", "--username=larder", "--no-sync", "-D"])
                .arg(&data)
                .stdout(std::process::Stdio::null()),
        )?;
        let port = free_port()?;
        let mut postgres = Command::new("taskset");
        postgres.args(["-c", "1"]).args(as_another(&programs.join("postgres"))).arg("-D").arg(&data);
        postgres.args([
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ]);
        let mut server = Server::start(&mut postgres)?;
        server.wait_for_port(port)?;
        // PostgreSQL listens a moment before it accepts clients.
        for _ in 0..100 {
            let ready = Command::new(programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()?;
            if ready.success() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(Self { port, _server: server, _folder: folder })
    }

    fn url(&self) -> String {
        format!("postgres://larder@127.0.0.1:{}/postgres", self.port)
    }
}

/// Runs a command as another user, because PostgreSQL does not run as root.
fn as_another(program: &Path) -> Vec<PathBuf> {
    if !crate::setup::is_root() {
        return vec![program.to_owned()];
    }
    let mut words: Vec<PathBuf> =
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"].map(PathBuf::from).into();
    words.push(program.to_owned());
    words
}
