//! Configures and starts the measured servers, each on its own core.

use std::{fs, path::Path, process::Command};

use crate::process::{Server, free_port};

/// A server under measurement.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) server: Server,
    /// The server forwards requests, so that misses can be measured.
    pub(crate) forwards: bool,
    /// The server caches.
    pub(crate) caches: bool,
}

const PEERS: &str = "target/release/larder-peers";

pub(crate) fn on_core(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core, program]);
    command
}

/// Starts the origin on the core of the load generator.
pub(crate) fn origin() -> anyhow::Result<(Server, u16)> {
    let port = free_port()?;
    let mut server = Server::start(on_core("1", PEERS).args(["origin", &format!("127.0.0.1:{port}")]))?;
    server.wait_for_port(port)?;
    Ok((server, port))
}

/// Starts the servers that only answer, or only forward.
pub(crate) fn limits(origin: u16) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for (name, mode) in [
        ("hyper, bare static handler", "hyper"),
        ("actix-http, bare handler", "actix-http"),
        ("actix-web, bare handler", "actix-web"),
        ("actix-web with `larder_actix::CacheMiddleware`", "actix-cached"),
        ("hyper pass-through", "pass"),
        ("hyper pass-through, pool of its thread", "pass-own-pool"),
    ] {
        let port = free_port()?;
        let mut command = on_core("0", PEERS);
        command.args([mode, &format!("127.0.0.1:{port}")]);
        let forwards = mode.starts_with("pass");
        if forwards {
            command.arg(format!("http://127.0.0.1:{origin}"));
        }
        let mut server = Server::start(&mut command)?;
        server.wait_for_port(port)?;
        peers.push(Peer { name, port, server, forwards, caches: !forwards });
    }
    Ok(peers)
}

/// Starts `larder proxy` with the memory store.
pub(crate) fn larder(origin: u16) -> anyhow::Result<Peer> {
    larder_on("**larder proxy**", "memory", origin)
}

/// Starts `larder proxy` for a client with more connections than one client may have.
pub(crate) fn larder_for_many_connections(origin: u16) -> anyhow::Result<Peer> {
    larder_with("**larder proxy**", "memory", origin, &["--trust-forwarded=127.0.0.1"])
}

/// Starts `larder proxy` with a given store.
pub(crate) fn larder_on(name: &'static str, store: &str, origin: u16) -> anyhow::Result<Peer> {
    larder_with(name, store, origin, &[])
}

fn larder_with(name: &'static str, store: &str, origin: u16, args: &[&str]) -> anyhow::Result<Peer> {
    let mut command = on_core("0", "target/release/larder");
    command.args(["proxy", "--workers", "1", "--listen", "127.0.0.1:0", "--store", store, "--origin"]);
    command.arg(format!("http://127.0.0.1:{origin}")).args(args);
    let (server, base) = Server::start_until(&mut command, "listening on http://127.0.0.1:")?;
    Ok(Peer { name, port: base.parse()?, server, forwards: true, caches: true })
}

/// Starts other caches, each on one core, configured for speed.
pub(crate) fn caches(origin: u16, folder: &Path, lock: bool) -> anyhow::Result<Vec<Peer>> {
    fs::create_dir_all(folder)?;
    Ok(vec![nginx(origin, folder, lock)?, haproxy(origin, folder)?, varnish(origin, folder)?])
}

pub(crate) fn nginx(origin: u16, folder: &Path, lock: bool) -> anyhow::Result<Peer> {
    let port = free_port()?;
    let here = folder.join(if lock { "nginx-lock" } else { "nginx" });
    fs::create_dir_all(here.join("cache"))?;
    let here = here.canonicalize()?.display().to_string();
    let lock_line = if lock {
        "proxy_cache_lock on; proxy_cache_lock_timeout 20s; proxy_cache_lock_age 20s;"
    } else {
        ""
    };
    // With sendfile and tcp_nopush, responses of 64 KiB stall on loopback.
    let config = format!(
        "daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error.log; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile off; tcp_nopush off; tcp_nodelay on; keepalive_requests 10000000;
  proxy_cache_path {here}/cache keys_zone=z:16m max_size=256m inactive=1h;
  client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u;
  scgi_temp_path {here}/s;
  upstream o {{ server 127.0.0.1:{origin}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
    proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_cache z; {lock_line}
    add_header X-Cache $upstream_cache_status; }} }}
}}\n"
    );
    fs::write(format!("{here}/nginx.conf"), config)?;
    let mut server =
        Server::start(on_core("0", "/usr/sbin/nginx").args(["-c", &format!("{here}/nginx.conf")]))?;
    server.wait_for_port(port)?;
    let name = if lock { "nginx `proxy_cache` with lock" } else { "nginx `proxy_cache`" };
    Ok(Peer { name, port, server, forwards: true, caches: true })
}

pub(crate) fn haproxy(origin: u16, folder: &Path) -> anyhow::Result<Peer> {
    let port = free_port()?;
    let config = format!(
        "global\n  nbthread 1\n  maxconn 4096\n  tune.bufsize 131072\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  http-reuse always\ncache c\n  total-max-size 64\n  max-object-size 131072\n  max-age 3600\n  process-vary on\n\
         frontend f\n  bind 127.0.0.1:{port}\n  http-request cache-use c\n  http-response cache-store c\n  default_backend b\n\
         backend b\n  server o 127.0.0.1:{origin}\n"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut server = Server::start(on_core("0", "/usr/sbin/haproxy").arg("-db").arg("-f").arg(file))?;
    server.wait_for_port(port)?;
    Ok(Peer { name: "HAProxy cache", port, server, forwards: true, caches: true })
}

pub(crate) fn varnish(origin: u16, folder: &Path) -> anyhow::Result<Peer> {
    let port = free_port()?;
    let file = folder.canonicalize()?.join("default.vcl");
    fs::write(
        &file,
        format!("vcl 4.1;\nbackend default {{ .host = \"127.0.0.1\"; .port = \"{origin}\"; }}\n"),
    )?;
    let mut command = on_core("0", "/usr/sbin/varnishd");
    command
        .args(["-F", "-a", &format!("127.0.0.1:{port}"), "-s", "malloc,256m", "-p", "thread_pools=1", "-f"])
        .arg(file);
    command.arg("-n").arg(folder.canonicalize()?.join("varnish"));
    let mut server = Server::start(&mut command)?;
    server.wait_for_port(port)?;
    Ok(Peer { name: "Varnish", port, server, forwards: true, caches: true })
}

impl Peer {
    /// Returns the processor time of the server and its children, in nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        self.server.processes().iter().map(|pid| cpu_of(*pid)).sum()
    }
}

fn cpu_of(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of_task).sum()
}
