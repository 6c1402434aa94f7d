//! Runs other programs to their end, or as servers that are stopped with all their child processes.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

/// Longest time until a server accepts connections.
const START: Duration = Duration::from_secs(30);

/// Runs a command with its output shown. Fails if the command fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("can't start {shown}"))?;
    ensure!(status.success(), "{shown} failed: {status}");
    Ok(())
}

/// Returns a command for the cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Returns the target directory of cargo.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// Returns the standard output of a command. Fails if the command fails.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("can't start {shown}"))?;
    ensure!(output.status.success(), "{shown} failed: {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed something that is not UTF-8"))
}

/// Returns whether a program is on the path.
pub(crate) fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        let extra = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
        std::env::split_paths(&path).chain(extra).any(|folder| folder.join(program).is_file())
    })
}

/// A server process. Dropping it stops the process and its children.
#[derive(Debug)]
pub(crate) struct Server(Child);

impl Server {
    /// Starts a server and discards its output.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let shown = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(
            child.with_context(|| {
                format!("can't start {shown}; cargo xtask setup installs what is missing")
            })?,
        ))
    }

    /// Starts a server, waits for a line on its standard output that begins with `prefix`, and
    /// returns the rest of that line.
    pub(crate) fn start_until(command: &mut Command, prefix: &str) -> anyhow::Result<(Self, String)> {
        Self::start_showing(command, prefix, false)
    }

    /// Starts a server as [`start_until`](Self::start_until) does. `show` prints its further
    /// output.
    pub(crate) fn start_showing(
        command: &mut Command,
        prefix: &str,
        show: bool,
    ) -> anyhow::Result<(Self, String)> {
        let shown = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("can't start {shown}"))?;
        let out = child.stdout.take().context("its output is piped")?;
        let server = Self(child);
        let (sender, found) = mpsc::channel();
        let wanted = prefix.to_owned();
        // Reads to the end: a server would fail to write to a closed pipe.
        std::thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut line = String::new();
            while out.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(rest) = line.strip_prefix(&wanted) {
                    let _ = sender.send(rest.trim().to_owned());
                    break;
                }
                line.clear();
            }
            drop(sender);
            let _ = if show {
                io::copy(&mut out, &mut io::stdout())
            } else {
                io::copy(&mut out, &mut io::sink())
            };
        });
        match found.recv_timeout(START) {
            Ok(rest) => Ok((server, rest)),
            Err(RecvTimeoutError::Disconnected) => bail!("{shown} ended before it printed '{prefix}'"),
            Err(RecvTimeoutError::Timeout) => bail!("{shown} did not print '{prefix}' within {START:?}"),
        }
    }

    /// Waits until the server accepts connections on `port` of the loopback address.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> anyhow::Result<()> {
        let pause = Duration::from_millis(25);
        for _ in 0..START.as_millis() / pause.as_millis() {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("the server that should listen on port {port} ended: {status}");
            }
            std::thread::sleep(pause);
        }
        bail!("no server listens on port {port} after {START:?}")
    }

    /// Returns the process and all its descendants.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut processes = vec![self.0.id()];
        let mut next = 0;
        while let Some(process) = processes.get(next).copied() {
            for task in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                processes.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
            next += 1;
        }
        processes
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The children of a killed process are reparented, so they are looked up before.
        let processes = self.processes();
        let _ = self.0.kill();
        let workers = processes.iter().skip(1).map(ToString::to_string);
        let _ = Command::new("kill").arg("-9").args(workers).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

/// Returns a port on which no server listens at the moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
