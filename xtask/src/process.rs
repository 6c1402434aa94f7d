//! Other programs: run to their end, or started and stopped for certain.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

/// Runs a command line with its output shown; fails if it does.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("can't start {shown}"))?;
    ensure!(status.success(), "{shown} failed: {status}");
    Ok(())
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What a command prints; fails if it does.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("can't start {shown}"))?;
    ensure!(output.status.success(), "{shown} failed: {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed something that is not text"))
}

/// Whether a program is on the path.
pub(crate) fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        let extra = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
        std::env::split_paths(&path).chain(extra).any(|folder| folder.join(program).is_file())
    })
}

/// A server that is stopped when this is dropped, whatever happens meanwhile.
#[derive(Debug)]
pub(crate) struct Server(pub(crate) Child);

impl Server {
    /// Starts it, its output thrown away.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let shown = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(
            child.with_context(|| {
                format!("can't start {shown}; cargo xtask setup installs what is missing")
            })?,
        ))
    }

    /// Starts it, and waits for the line on its standard output that begins so; the rest of that line.
    pub(crate) fn start_until(command: &mut Command, prefix: &str) -> anyhow::Result<(Self, String)> {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {shown}"))?;
        let out = child.stdout.take().context("its output is piped")?;
        let server = Self(child);
        for line in BufReader::new(out).lines() {
            if let Some(rest) = line?.strip_prefix(prefix) {
                return Ok((server, rest.trim().to_owned()));
            }
        }
        bail!("{shown} ended before it said '{prefix}'")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until somebody accepts connections there.
pub(crate) fn wait_for_port(port: u16) -> anyhow::Result<()> {
    for _ in 0..400 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    bail!("nobody listens on port {port} after 10 s")
}
