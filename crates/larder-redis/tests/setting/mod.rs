//! Real servers: private ones, on free ports, stopped when the test ends.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use larder_redis::{RedisOptions, RedisStore};
use tempfile::TempDir;

const INSTALL: &str = "it is in Debian's redis-server: apt-get install redis-server (or cargo xtask setup)";

/// A port below those that the system gives to clients, with the one of a Cluster's bus, which is 10,000 above. No two calls
/// of a process get the same.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).expect("below 1000") * 12;
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if [port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}

/// A redis-server of its own; killed when dropped, and when the tests end.
pub(crate) struct Server {
    /// A shell that kills the server when its own input ends.
    watch: Child,
    pid: u32,
    pub(crate) port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at(free_port(), arguments)
    }

    pub(crate) fn start_at(port: u16, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (watch, pid) = spawn(port, &folder, &arguments);
        let server = Self { watch, pid, port, arguments, folder };
        server.wait();
        server
    }

    /// A Sentinel, with the configuration in this file, which it changes.
    pub(crate) fn sentinel(port: u16, config: &std::path::Path) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let (watch, pid) = spawn_with(&[&config.display().to_string(), "--sentinel"], port, &folder, &[]);
        let server = Self { watch, pid, port, arguments: Vec::new(), folder };
        server.wait();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        drop(self.watch.stdin.take());
        self.watch.wait().expect("it is gone");
    }

    pub(crate) fn restart(&mut self) {
        (self.watch, self.pid) = spawn(self.port, &self.folder, &self.arguments);
        self.wait();
    }

    /// Stops it without ending it, or lets it go on: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("redis-cli: {error}; {INSTALL}"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn wait(&self) {
        for _ in 0..400 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not listen on port {}; {INSTALL}", self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

fn spawn(port: u16, folder: &TempDir, arguments: &[String]) -> (Child, u32) {
    spawn_with(
        &["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"],
        port,
        folder,
        arguments,
    )
}

fn spawn_with(first: &[&str], port: u16, folder: &TempDir, arguments: &[String]) -> (Child, u32) {
    let script = "redis-server \"$@\" > /dev/null 2>&1 & echo $!; cat > /dev/null; kill -9 $! 2> /dev/null";
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .args(first)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    (child, line.trim().parse().expect("a process number"))
}

/// Three masters and three replicas.
pub(crate) struct Cluster(pub(crate) Vec<Server>);

impl Cluster {
    pub(crate) fn start() -> Self {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-config-file",
            "nodes.conf",
        ];
        let nodes: Vec<Server> = (0..6).map(|_| Server::start(&options)).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let output = create.args(["--cluster-replicas", "1", "--cluster-yes"]).output();
        let output = output.unwrap_or_else(|error| panic!("redis-cli: {error}; {INSTALL}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        for _ in 0..400 {
            let is_ready = |node: &Server| {
                // A replica that was never in step can't take over.
                let in_step = !node.cli(&["info", "replication"]).contains("master_link_status:down");
                in_step && node.cli(&["cluster", "info"]).contains("cluster_state:ok")
            };
            if nodes.iter().all(is_ready) {
                return Self(nodes);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("the cluster does not come up");
    }

    pub(crate) fn url(&self) -> String {
        let nodes: Vec<String> = self.0.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

/// One server for all tests of a file; each store has a prefix of its own.
pub(crate) fn shared() -> &'static str {
    static SERVER: OnceLock<(Server, String)> = OnceLock::new();
    &SERVER
        .get_or_init(|| {
            let server = Server::start(&[]);
            let url = server.url();
            (server, url)
        })
        .1
}

/// Long enough for a busy machine: how long anybody waits is the business of other tests.
pub(crate) fn options() -> RedisOptions {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let mut options = RedisOptions::default();
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    options.prefix = format!("test{}-{count}", std::process::id());
    options.connect_timeout = Duration::from_secs(2);
    options.command_timeout = Duration::from_secs(2);
    options
}

pub(crate) async fn store(url: &str) -> RedisStore {
    RedisStore::connect(url, options()).await.expect("it connects")
}
