//! Runs the real binary as a child process, and talks to it over raw sockets.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod config_dir;
pub(crate) mod servers;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// A running proxy. It is killed when this is dropped.
pub(crate) struct Proxy {
    pub(crate) child: Child,
    pub(crate) address: String,
}

/// Creates a command with a cache directory that no other test uses.
pub(crate) fn larder() -> Command {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    command.env("XDG_CACHE_HOME", format!("{}/{process}-{count}", env!("CARGO_TARGET_TMPDIR")));
    command
}

impl Proxy {
    /// Starts a proxy for one origin.
    pub(crate) fn start(origin: &str, args: &[&str]) -> Self {
        Self::start_with(&[&["--origin", origin], args].concat(), Stdio::null())
    }

    /// Starts a proxy with these arguments, and waits until it listens. Standard error goes to
    /// `errors`.
    pub(crate) fn start_with(args: &[&str], errors: Stdio) -> Self {
        Self::start_on("127.0.0.1:0", args, errors)
    }

    /// Starts a proxy on this address with these arguments, and waits until it listens.
    pub(crate) fn start_on(address: &str, args: &[&str], errors: Stdio) -> Self {
        Self::start_command(larder(), address, args, errors)
    }

    /// Starts a proxy by a command that runs `larder` with the arguments that are added to it.
    pub(crate) fn start_command(mut command: Command, address: &str, args: &[&str], errors: Stdio) -> Self {
        command.args(["proxy", "--listen", address, "--workers", "2"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().expect("it starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it prints its address");
        let (_, address) = line.trim().split_once("://").expect("listening on http://ADDR");
        Self { address: address.to_owned(), child }
    }

    /// Opens a connection with a read timeout of 30 s.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// Sends bytes unchanged, and reads until the proxy closes the connection.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The proxy may reject the request and close the connection before everything is sent.
        let _ = stream.write_all(bytes);
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response);
        String::from_utf8_lossy(&response).into_owned()
    }

    /// Sends a GET request with these header lines, and returns the response.
    pub(crate) fn get(&self, path: &str, headers: &str) -> String {
        self.send("GET", path, headers)
    }

    /// Sends a request with these header lines, and returns the response.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str) -> String {
        self.raw(
            format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{headers}\r\n")
                .as_bytes(),
        )
    }

    /// Reads a line of /proc/PID/status, in KiB.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(name)).expect("the line exists");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill").success());
    }

    /// Returns whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the status code of a response.
pub(crate) fn status(response: &str) -> u16 {
    response
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status line: {response:?}"))
}

/// Returns the first value of a header. The case of its name does not matter.
pub(crate) fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let head = response.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Returns the body of a response.
pub(crate) fn content(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, content)| content)
}
