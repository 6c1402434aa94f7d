//! Private Redis servers: a single one, a master with a replica that Sentinels monitor, or a
//! Cluster of three masters with a replica each.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use super::process::{Process, free_port};

/// Longest wait for a state of the servers, in steps of [`STEP`].
const STEPS: u32 = 1200;
const STEP: Duration = Duration::from_millis(50);

/// A server program: `LARDER_REDIS_SERVER`, or `redis-server`.
fn program() -> PathBuf {
    std::env::var_os("LARDER_REDIS_SERVER").unwrap_or_else(|| "redis-server".into()).into()
}

/// A server and its directory.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) process: Process,
    pub(super) port: u16,
}

impl Server {
    /// Starts a server that writes a snapshot only on `SAVE`.
    fn start(directory: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let fixed = ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"];
        Self::start_with(directory, free_port(), &[&fixed, arguments].concat())
    }

    fn start_with(directory: &Path, port: u16, arguments: &[&str]) -> anyhow::Result<Self> {
        let own = directory.join(format!("redis-{port}"));
        std::fs::create_dir_all(&own)?;
        let mut all: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        let common = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", &own.to_string_lossy()];
        all.extend(common.map(str::to_owned));
        let process = Process::start(&program(), all, own.join("log"), port)?;
        Ok(Self { process, port })
    }

    /// Runs a command with redis-cli, and returns the trimmed output.
    pub(super) fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        // A server that is paused does not answer.
        let mut command = Command::new("timeout");
        command.args(["5", "redis-cli", "-p", &self.port.to_string()]).args(arguments);
        let output = command.output().context("can't start redis-cli; cargo xtask setup installs it")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Returns whether the server is a master.
    pub(super) fn is_master(&self) -> bool {
        self.cli(&["role"]).is_ok_and(|role| role.starts_with("master"))
    }

    /// Returns whether the server is a replica that is in sync.
    pub(super) fn is_in_sync(&self) -> bool {
        self.cli(&["info", "replication"]).is_ok_and(|info| info.contains("master_link_status:up"))
    }
}

/// How the servers work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Topology {
    /// One server.
    Single,
    /// A master and a replica, and three Sentinels.
    Sentinel,
    /// A Cluster of three masters and three replicas.
    Cluster,
}

impl Topology {
    pub(super) const ALL: [Self; 3] = [Self::Single, Self::Sentinel, Self::Cluster];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// Running servers.
#[derive(Debug)]
pub(super) struct Redis {
    pub(super) topology: Topology,
    /// The servers with data. Their roles change with failovers.
    pub(super) servers: Vec<Server>,
    pub(super) sentinels: Vec<Server>,
}

impl Redis {
    /// Starts the servers, and waits until they know each other.
    pub(super) fn start(topology: Topology, directory: &Path) -> anyhow::Result<Self> {
        let mut redis = Self { topology, servers: Vec::new(), sentinels: Vec::new() };
        match topology {
            Topology::Single => redis.servers.push(Server::start(directory, &[])?),
            Topology::Sentinel => redis.start_monitored(directory)?,
            Topology::Cluster => redis.start_cluster(directory)?,
        }
        redis.wait_until_healthy()?;
        Ok(redis)
    }

    fn start_monitored(&mut self, directory: &Path) -> anyhow::Result<()> {
        let master = Server::start(directory, &[])?;
        let port = master.port.to_string();
        self.servers = vec![master, Server::start(directory, &["--replicaof", "127.0.0.1", &port])?];
        for _ in 0..3 {
            let own = free_port();
            let config = directory.join(format!("sentinel-{own}.conf"));
            let text = format!(
                "sentinel monitor main 127.0.0.1 {port} 2\nsentinel down-after-milliseconds main 500\n\
                 sentinel failover-timeout main 3000\n"
            );
            std::fs::write(&config, text)?;
            let arguments = [&*config.to_string_lossy(), "--sentinel"];
            self.sentinels.push(Server::start_with(directory, own, &arguments)?);
        }
        Ok(())
    }

    fn start_cluster(&mut self, directory: &Path) -> anyhow::Result<()> {
        for _ in 0..6 {
            let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
            self.servers.push(Server::start(directory, &options)?);
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)));
        let output = create.args(["--cluster-replicas", "1", "--cluster-yes"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    /// Waits until all servers agree and each replica is in sync.
    pub(super) fn wait_until_healthy(&self) -> anyhow::Result<()> {
        self.wait("the Redis servers do not become healthy", || match self.topology {
            Topology::Single => self.servers[0].is_master(),
            Topology::Sentinel => {
                let monitors = |sentinel: &Server| {
                    let state = sentinel.cli(&["sentinel", "master", "main"]).unwrap_or_default();
                    state.contains("num-slaves\n1")
                        && state.contains("num-other-sentinels\n2")
                        && state.contains("\nflags\nmaster\n")
                };
                self.sentinels.iter().all(monitors) && self.masters().len() == 1 && self.replicas_in_sync()
            }
            Topology::Cluster => {
                let agrees = |server: &Server| {
                    server.cli(&["cluster", "info"]).is_ok_and(|info| info.contains("cluster_state:ok"))
                };
                self.servers.iter().all(agrees) && self.masters().len() == 3 && self.replicas_in_sync()
            }
        })
    }

    fn replicas_in_sync(&self) -> bool {
        self.servers.iter().all(|server| server.is_master() || server.is_in_sync())
    }

    /// Returns the positions of the masters.
    pub(super) fn masters(&self) -> Vec<usize> {
        (0..self.servers.len()).filter(|at| self.servers[*at].is_master()).collect()
    }

    /// Returns the position of the replica of a master.
    pub(super) fn replica_of(&self, master: usize) -> anyhow::Result<usize> {
        let port = format!("master_port:{}\r", self.servers[master].port);
        let is_replica = |server: &Server| {
            server.cli(&["info", "replication"]).is_ok_and(|info| format!("{info}\r").contains(&port))
        };
        self.servers.iter().position(is_replica).context("the master has a replica")
    }

    /// Waits for a state of the servers.
    pub(super) fn wait(&self, why: &str, is_reached: impl Fn() -> bool) -> anyhow::Result<()> {
        for _ in 0..STEPS {
            if is_reached() {
                return Ok(());
            }
            thread::sleep(STEP);
        }
        bail!("{why}")
    }

    /// Returns the URL of the servers. `port` replaces that of a single server.
    pub(super) fn url(&self, port: Option<u16>) -> String {
        let addresses = |servers: &[Server]| {
            let list: Vec<_> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
            list.join(",")
        };
        let options = "?timeout=500ms&required=false";
        match self.topology {
            Topology::Single => {
                format!("redis://127.0.0.1:{}/0{options}", port.unwrap_or(self.servers[0].port))
            }
            Topology::Sentinel => format!("redis+sentinel://{}/main{options}", addresses(&self.sentinels)),
            Topology::Cluster => format!("redis+cluster://{}{options}", addresses(&self.servers)),
        }
    }
}
