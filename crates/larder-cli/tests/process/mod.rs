//! The real binary, in a process of its own, and raw sockets to talk to it.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod servers;
pub(crate) mod setting;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// A running proxy; killed when dropped.
pub(crate) struct Proxy {
    pub(crate) child: Child,
    pub(crate) address: String,
}

/// The command, with a cache directory that no other test has.
pub(crate) fn larder() -> Command {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    command.env("XDG_CACHE_HOME", format!("{}/{process}-{count}", env!("CARGO_TARGET_TMPDIR")));
    command
}

impl Proxy {
    pub(crate) fn start(origin: &str, args: &[&str]) -> Self {
        Self::with(&[&["--origin", origin], args].concat(), Stdio::null())
    }

    /// With these arguments; what it says on standard error goes there.
    pub(crate) fn with(args: &[&str], errors: Stdio) -> Self {
        let mut command = larder();
        command.args(["proxy", "--listen", "127.0.0.1:0", "--workers", "2"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().expect("it starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says where it listens");
        let (_, address) = line.trim().split_once("://").expect("listening on http://ADDR");
        Self { address: address.to_owned(), child }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// Sends bytes as they are, and reads until the other side closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // A refusal may come, and the connection close, before everything is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn get(&self, path: &str, fields: &str) -> String {
        self.send("GET", path, fields)
    }

    pub(crate) fn send(&self, method: &str, path: &str, fields: &str) -> String {
        self.raw(
            format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{fields}\r\n")
                .as_bytes(),
        )
    }

    /// A line of /proc/PID/status, in KiB.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel says so");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

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

pub(crate) fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status line: {answer:?}"))
}

/// The first line of a field, in lower case names.
pub(crate) fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, content)| content)
}
