//! A node: `larder proxy` as a process of its own, with its admin listener.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    history,
    process::{Process, free_port},
};

/// A node of the fleet.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: usize,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    process: Mutex<Process>,
    /// Number of lives that have begun or ended.
    changes: AtomicU32,
}

impl Node {
    /// Starts a node that forwards to an origin, with these stores.
    pub(super) fn start(
        number: usize,
        binary: &Path,
        origin: SocketAddr,
        stores: &[String],
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let [address, admin] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut arguments = vec![
            "proxy".to_owned(),
            format!("--listen={address}"),
            format!("--admin={admin}"),
            format!("--origin=http://{origin}"),
            "--workers=1".to_owned(),
        ];
        arguments.extend(stores.iter().map(|store| format!("--store={store}")));
        let log: PathBuf = directory.join(format!("node-{}.log", number + 1));
        let process = Process::start(binary, arguments, log, address.port())?;
        Ok(Self { number, address, admin, process: Mutex::new(process), changes: AtomicU32::new(0) })
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the process that is running. To be compared before and after an operation.
    pub(super) fn life(&self) -> history::Process {
        let life = self.changes.load(Ordering::SeqCst) / 2 + 1;
        history::Process { node: self.number, life }
    }

    /// Returns whether the node is between two lives.
    pub(super) fn is_down(&self) -> bool {
        self.changes.load(Ordering::SeqCst) % 2 == 1
    }

    /// Kills the node, and starts it again after `meanwhile`.
    pub(super) fn kill_and_restart(&self, meanwhile: impl FnOnce()) -> anyhow::Result<()> {
        let mut process = self.process();
        self.changes.fetch_add(1, Ordering::SeqCst);
        process.kill();
        meanwhile();
        process.restart()?;
        self.changes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Pauses the node, and resumes it after `meanwhile`.
    pub(super) fn pause(&self, meanwhile: impl FnOnce()) -> anyhow::Result<()> {
        let process = self.process();
        process.signal("STOP")?;
        meanwhile();
        process.signal("CONT")
    }
}
