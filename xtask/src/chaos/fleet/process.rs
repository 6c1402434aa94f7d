//! Runs the processes of a fleet: nodes and Redis servers. Each is killed when it is dropped, and
//! when this program ends in any way.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

/// Longest time until a process accepts connections, in steps of [`STEP`].
const STEPS: u32 = 1200;
const STEP: Duration = Duration::from_millis(25);

/// Returns a free port below the system's range for clients. The port of a Cluster's bus, 10,000
/// higher, is free too. No two calls return the same port.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).unwrap_or(0) * 12;
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if [port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}

/// A process that can be killed, paused and started again.
#[derive(Debug)]
pub(super) struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    /// Gets what the process writes to standard error.
    log: PathBuf,
    /// The port that the process listens on.
    port: u16,
    running: Option<(Child, u32)>,
}

impl Process {
    /// Starts a process, and waits until it listens.
    pub(super) fn start(
        program: &Path,
        arguments: Vec<String>,
        log: PathBuf,
        port: u16,
    ) -> anyhow::Result<Self> {
        let mut process = Self { program: program.to_owned(), arguments, log, port, running: None };
        process.restart()?;
        Ok(process)
    }

    /// Starts the process again after it was killed, and waits until it listens.
    pub(super) fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        // The shell kills the process when its standard input ends: that of this program's end.
        let script = "\"$@\" > /dev/null & echo $!; exec 2> /dev/null; cat > /dev/null; kill -9 $!; wait $!";
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(&self.program).args(&self.arguments);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut shell = shell.spawn().context("can't start a shell")?;
        let mut line = String::new();
        let out = shell.stdout.take().context("standard output is piped")?;
        BufReader::new(out).read_line(&mut line)?;
        self.running = Some((shell, line.trim().parse().context("the shell prints a process id")?));
        for _ in 0..STEPS {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            thread::sleep(STEP);
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        bail!("{} does not listen on port {}: {log}", self.program.display(), self.port)
    }

    /// Kills the process, and waits for its end.
    pub(super) fn kill(&mut self) {
        if let Some((mut shell, _)) = self.running.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }

    /// Sends a signal: `STOP` pauses the process, `CONT` resumes it.
    pub(super) fn signal(&self, name: &str) -> anyhow::Result<()> {
        let (_, pid) = self.running.as_ref().context("the process is running")?;
        let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status()?;
        ensure!(status.success(), "kill -{name} {pid} failed");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
