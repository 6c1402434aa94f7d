//! The client: writes bytes as they are, and reads the responses on a connection.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for bytes that must arrive.
const WAIT: Duration = Duration::from_secs(30);
/// Wait for the first response to bytes that the server may take for a part of a request.
const FIRST: Duration = Duration::from_secs(10);
/// Wait for bytes that may arrive: a response to a request that the server may take for content.
const QUIET: Duration = Duration::from_millis(1500);

/// A response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The body arrived to its end.
    pub(crate) complete: bool,
}

impl Reply {
    /// Returns the first value of a header; empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers(name).into_iter().next().unwrap_or_default()
    }

    /// Returns all values of a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| &**value).collect()
    }

    /// Returns whether the cache served it from its store.
    pub(crate) fn is_hit(&self) -> bool {
        self.header("cache-status").split(';').any(|part| part.trim() == "hit")
    }

    /// Returns whether any part of the response contains this text.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.body.contains(text) || self.headers.iter().any(|(_, value)| value.contains(text))
    }

    /// Returns status, `Location`, `Cache-Status` and the beginning of the body, in one line.
    pub(crate) fn shown(&self) -> String {
        let body: String = self.body.chars().take(70).collect();
        let mut shown = format!("{}", self.status);
        for name in ["location", "set-cookie", "cache-status"] {
            if !self.header(name).is_empty() {
                shown.push_str(&format!(", {name}: {}", self.header(name)));
            }
        }
        format!("{shown}, {body:?}")
    }
}

/// A connection to a server.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Why the last read returned nothing.
    pub(crate) end: String,
}

impl Client {
    /// Opens a connection.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_with(address, WAIT)
    }

    /// Opens a connection with this limit for opening it, and for each read and write.
    pub(crate) fn connect_with(address: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self { stream, buffer: Vec::new(), end: String::new() })
    }

    /// Sends bytes. A server that has closed the connection is no error: its response may be there.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the next final response, to a request with this method. `None` if there is none.
    pub(crate) fn reply(&mut self, method: &str) -> Option<Reply> {
        loop {
            let reply = self.any_reply(method)?;
            if reply.status >= 200 || reply.status == 101 {
                return Some(reply);
            }
        }
    }

    /// Reads all final responses until the server closes the connection or is quiet.
    pub(crate) fn replies(&mut self) -> Vec<Reply> {
        let _ = self.stream.set_read_timeout(Some(FIRST));
        let mut replies = Vec::new();
        while let Some(reply) = self.reply("GET") {
            replies.push(reply);
            let _ = self.stream.set_read_timeout(Some(QUIET));
        }
        let _ = self.stream.shutdown(Shutdown::Both);
        replies
    }

    /// Reads everything until the server closes the connection or is quiet, as text.
    pub(crate) fn rest(&mut self) -> String {
        let _ = self.stream.set_read_timeout(Some(FIRST));
        while self.fill() {
            let _ = self.stream.set_read_timeout(Some(QUIET));
        }
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    fn any_reply(&mut self, method: &str) -> Option<Reply> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if !self.fill() {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ');
        let version = words.next()?.to_owned();
        let status = words.next()?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let mut reply = Reply { status, version, headers, body: String::new(), complete: true };
        if method != "HEAD" && status >= 200 && !matches!(status, 204 | 304) {
            let (body, complete) = self.body(&reply);
            reply.body = String::from_utf8_lossy(&body).into_owned();
            reply.complete = complete;
        }
        Some(reply)
    }

    /// Reads a body, and whether it is complete.
    fn body(&mut self, reply: &Reply) -> (Vec<u8>, bool) {
        if reply.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            let mut body = Vec::new();
            loop {
                let Some(size) = self.line().and_then(|line| usize::from_str_radix(line.trim(), 16).ok())
                else {
                    return (body, false);
                };
                let (chunk, complete) = self.take(size);
                body.extend(chunk);
                if !complete || self.line().is_none() {
                    return (body, false);
                }
                if size == 0 {
                    return (body, true);
                }
            }
        }
        match reply.header("content-length").parse() {
            Ok(length) => self.take(length),
            Err(_) => {
                while self.fill() {}
                (std::mem::take(&mut self.buffer), true)
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn take(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.buffer.len() < length && self.fill() {}
        let taken = length.min(self.buffer.len());
        (self.buffer.drain(..taken).collect(), taken == length)
    }

    /// Reads bytes into the buffer. Returns whether there were any.
    pub(crate) fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        match retried(|| self.stream.read(&mut bytes)) {
            Ok(read @ 1..) => {
                self.buffer.extend(&bytes[..read]);
                true
            }
            Ok(0) => {
                self.end = "the connection was closed".to_owned();
                false
            }
            Err(error) => {
                self.end = error.to_string();
                false
            }
        }
    }

    /// Reads exactly this many bytes. `None` if the server closes the connection before.
    pub(crate) fn exact(&mut self, length: usize) -> Option<Vec<u8>> {
        let (bytes, complete) = self.take(length);
        complete.then_some(bytes)
    }
}

/// Repeats a system call that a signal has interrupted: the end of a child process is one.
pub(crate) fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
