//! Starts real servers for a test: private ones on free ports, stopped when the test ends.
//!
//! `LARDER_REDIS_SERVER` selects another program than `redis-server`, such as `valkey-server`.
//! (Debian 12 has no package of Valkey. Since Debian 13: `apt-get install valkey-server`.)
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod relay;
pub(crate) mod urls;

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

const INSTALL: &str = "install it with: apt-get install redis-server (or cargo xtask setup)";

/// Returns a free port below the system's range for clients. The port of a Cluster's bus, 10,000
/// higher, is free too. No two calls in a process return the same port.
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

/// A private redis-server. It is killed when this is dropped, and when the test process ends.
pub(crate) struct Server {
    /// A shell that kills the server when the shell's standard input ends.
    watchdog: Child,
    pid: u32,
    pub(crate) port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Server {
    /// Starts a server with these arguments on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at(free_port(), arguments)
    }

    /// Starts a server on this port and waits until it listens.
    pub(crate) fn start_at(port: u16, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (watchdog, pid) = spawn(port, &directory, &arguments);
        let server = Self { watchdog, pid, port, arguments, directory };
        server.wait();
        server
    }

    /// Starts a Sentinel with this configuration file, which the Sentinel rewrites.
    pub(crate) fn sentinel(port: u16, config: &std::path::Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (watchdog, pid) =
            spawn_with(&[&config.display().to_string(), "--sentinel"], port, &directory, &[]);
        let server = Self { watchdog, pid, port, arguments: Vec::new(), directory };
        server.wait();
        server
    }

    /// Returns the URL of the server's database 0.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Kills the server and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        drop(self.watchdog.stdin.take());
        self.watchdog.wait().expect("the watchdog ends");
    }

    /// Starts the server again on the same port, with the data of its last `SAVE`.
    pub(crate) fn restart(&mut self) {
        (self.watchdog, self.pid) = spawn(self.port, &self.directory, &self.arguments);
        self.wait();
    }

    /// Sends a signal to the server: `STOP` suspends it, `CONT` resumes it.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Runs a command with redis-cli and returns the trimmed output.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("redis-cli: {error}; {INSTALL}"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until the server listens, for at most four seconds.
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
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Spawns a server that writes nothing to the disk.
fn spawn(port: u16, directory: &TempDir, arguments: &[String]) -> (Child, u32) {
    spawn_with(
        &["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"],
        port,
        directory,
        arguments,
    )
}

/// Spawns redis-server under a watchdog shell. Returns the shell and the server's process id.
fn spawn_with(first: &[&str], port: u16, directory: &TempDir, arguments: &[String]) -> (Child, u32) {
    let script = "\"$@\" > /dev/null 2>&1 & echo $!; cat > /dev/null; kill -9 $!; wait $!";
    let program = std::env::var_os("LARDER_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(program)
        .args(first)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(directory.path())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("standard output"))
        .read_line(&mut line)
        .expect("the process id is printed");
    (child, line.trim().parse().expect("a process id"))
}

/// A Cluster of three masters, each with a replica.
pub(crate) struct Cluster(pub(crate) Vec<Server>);

impl Cluster {
    /// Starts the nodes, creates the Cluster and waits until each replica is in sync.
    pub(crate) fn start() -> Self {
        Self::of(6, 1)
    }

    /// Starts a Cluster of three masters without replicas.
    pub(crate) fn start_without_replicas() -> Self {
        Self::of(3, 0)
    }

    fn of(nodes: usize, replicas: u8) -> Self {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-config-file",
            "nodes.conf",
        ];
        let nodes: Vec<Server> = (0..nodes).map(|_| Server::start(&options)).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let output = create.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]).output();
        let output = output.unwrap_or_else(|error| panic!("redis-cli: {error}; {INSTALL}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let cluster = Self(nodes);
        cluster.wait();
        cluster
    }

    /// Waits until all nodes agree and each replica is in sync.
    pub(crate) fn wait(&self) {
        for _ in 0..400 {
            let is_ready = |node: &Server| {
                // A replica that was never in sync can't take over.
                let in_sync = !node.cli(&["info", "replication"]).contains("master_link_status:down");
                in_sync && node.cli(&["cluster", "info"]).contains("cluster_state:ok")
            };
            if self.0.iter().all(is_ready) {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("the cluster does not become ready");
    }

    /// Returns the URL of the Cluster, with all nodes.
    pub(crate) fn url(&self) -> String {
        let nodes: Vec<String> = self.0.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

/// A master and its replica, which three Sentinels monitor.
pub(crate) struct Monitored {
    pub(crate) master: Server,
    pub(crate) replica: Server,
    pub(crate) sentinels: Vec<Server>,
    _directory: TempDir,
}

impl Monitored {
    /// Starts all processes and waits until the Sentinels know each other and the replica.
    pub(crate) async fn start() -> Self {
        let master = Server::start(&[]);
        let port = master.port.to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
        let directory = tempfile::tempdir().expect("a directory");
        let mut sentinels = Vec::new();
        for n in 0..3 {
            let config = directory.path().join(format!("sentinel{n}.conf"));
            let text = format!(
                "sentinel monitor main 127.0.0.1 {port} 2\nsentinel down-after-milliseconds main 500\n\
                 sentinel failover-timeout main 3000\n"
            );
            std::fs::write(&config, text).expect("a file");
            sentinels.push(Server::sentinel(free_port(), &config));
        }
        for _ in 0..600 {
            let knows = |sentinel: &Server| {
                let state = sentinel.cli(&["sentinel", "master", "main"]);
                state.contains("num-slaves\n1") && state.contains("num-other-sentinels\n2")
            };
            if sentinels.iter().all(knows) {
                return Self { master, replica, sentinels, _directory: directory };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the Sentinels do not become ready");
    }

    /// Returns the URL of the Sentinels.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// Waits until the replica has everything, and lets it receive nothing more from the master.
    pub(crate) async fn cut_replica_off(&self) {
        let count = self.master.cli(&["dbsize"]);
        while self.replica.cli(&["dbsize"]) != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.master.cli(&["wait", "1", "10000"]);
        self.master.cli(&["acl", "setuser", "default", "-psync", "-sync"]);
        self.master.cli(&["client", "kill", "type", "replica"]);
    }

    /// Waits until the replica is the master.
    pub(crate) async fn wait_for_failover(&self) {
        for _ in 0..1200 {
            if self.replica.cli(&["role"]).starts_with("master") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no failover");
    }
}

/// Returns the URL of one server for all tests of a file. Each store uses its own prefix.
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

/// Returns options with a unique prefix, and with timeouts for a busy machine. Other tests test the
/// timeouts.
pub(crate) fn options() -> RedisOptions {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    RedisOptions::default()
        .with_prefix(format!("test{}-{count}", std::process::id()))
        .with_connect_timeout(Duration::from_secs(2))
        .with_command_timeout(Duration::from_secs(2))
}

/// Connects a store with its own prefix.
pub(crate) async fn store(url: &str) -> RedisStore {
    RedisStore::connect(url, options()).await.expect("it connects")
}
