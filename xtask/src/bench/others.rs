//! Starts Squid, Traffic Server and a build of pingora, each on one core, configured for speed.

use std::{fs, path::Path, process::Command};

use super::peers::{Peer, on_core};
use crate::process::{Server, cargo, free_port, run as call};

/// Starts the caches in front of `origin`, with their files in `folder`.
pub(crate) fn caches(origin: u16, folder: &Path) -> anyhow::Result<Vec<Peer>> {
    fs::create_dir_all(folder)?;
    Ok(vec![squid(origin, folder)?, traffic_server(origin, folder)?, pingora(origin)?])
}

fn peer(name: &'static str, port: u16, command: &mut Command) -> anyhow::Result<Peer> {
    let mut server = Server::start(command)?;
    server.wait_for_port(port)?;
    Ok(Peer { name, port, server, forwards: true, caches: true })
}

fn squid(origin: u16, folder: &Path) -> anyhow::Result<Peer> {
    let port = free_port()?;
    let here = folder.canonicalize()?.join("squid");
    fs::create_dir_all(&here)?;
    // The server drops root and writes there as another user.
    fs::set_permissions(&here, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let here = here.display().to_string();
    let config = format!(
        "http_port 127.0.0.1:{port} accel defaultsite=127.0.0.1 no-vhost\n\
         cache_peer 127.0.0.1 parent {origin} 0 no-query originserver no-digest\n\
         http_access allow all\nnever_direct allow all\n\
         cache_mem 256 MB\nmaximum_object_size_in_memory 1 MB\nmemory_cache_shared off\n\
         access_log none\ncache_log {here}/cache.log\ncache_store_log none\npid_filename none\ncoredump_dir {here}\n\
         workers 1\npinger_enable off\nshutdown_lifetime 0 seconds\n"
    );
    let file = format!("{here}/squid.conf");
    fs::write(&file, config)?;
    peer("Squid", port, on_core("0", "/usr/sbin/squid").args(["-N", "-f", &file]))
}

/// The directory layout of Traffic Server.
const LAYOUT: [(&str, &str); 15] = [
    ("prefix", ""),
    ("exec_prefix", ""),
    ("bindir", "/usr/bin"),
    ("sbindir", "/usr/sbin"),
    ("sysconfdir", "etc"),
    ("datadir", "cache"),
    ("includedir", ""),
    ("libdir", "/usr/lib"),
    ("libexecdir", "/usr/lib/trafficserver/modules"),
    ("localstatedir", ""),
    ("runtimedir", "run"),
    ("logdir", "log"),
    ("mandir", ""),
    ("infodir", ""),
    ("cachedir", "cache"),
];

fn traffic_server(origin: u16, folder: &Path) -> anyhow::Result<Peer> {
    let port = free_port()?;
    let here = folder.canonicalize()?.join("trafficserver");
    let _ = fs::remove_dir_all(&here);
    for name in ["cache", "run", "log"] {
        fs::create_dir_all(here.join(name))?;
    }
    call(Command::new("cp").arg("-r").arg("/etc/trafficserver").arg(here.join("etc")))?;
    let layout: String =
        LAYOUT.iter().map(|(name, path)| format!("{name}: {}\n", here.join(path).display())).collect();
    let root = here.join("runroot.yaml");
    fs::write(&root, layout)?;
    let records = [
        format!("http.server_ports STRING {port}"),
        "exec_thread.autoconfig INT 0".to_owned(),
        "exec_thread.limit INT 1".to_owned(),
        "log.logging_enabled INT 0".to_owned(),
        "http.insert_request_via_str INT 0".to_owned(),
        "http.insert_response_via_str INT 0".to_owned(),
        "cache.ram_cache.size INT 268435456".to_owned(),
        "admin.user_id STRING trafficserver".to_owned(),
    ];
    let records: String = records.iter().map(|record| format!("CONFIG proxy.config.{record}\n")).collect();
    fs::write(here.join("etc/records.config"), records)?;
    fs::write(here.join("etc/remap.config"), format!("map / http://127.0.0.1:{origin}/\n"))?;
    fs::write(here.join("etc/storage.config"), format!("{} 256M\n", here.join("cache").display()))?;
    // The server drops root and writes there as another user.
    call(Command::new("chmod").args(["-R", "a+rwX"]).arg(&here))?;
    peer("Traffic Server", port, on_core("0", "/usr/bin/traffic_server").env("TS_RUNROOT", root))
}

fn pingora(origin: u16) -> anyhow::Result<Peer> {
    call(cargo().args(["build", "--release", "--manifest-path", "benches/pingora/Cargo.toml"]))?;
    let port = free_port()?;
    let mut command = on_core("0", "benches/pingora/target/release/larder-pingora");
    peer("pingora", port, command.args([format!("127.0.0.1:{port}"), format!("127.0.0.1:{origin}")]))
}
