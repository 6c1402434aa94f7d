//! A cache that makes the usual mistakes, so that the tests can see each case report the harm.
//!
//! Its key is the decoded path in lower case. It stores every response, ignores `Vary` and
//! `Cache-Control`, forwards heads as they are, believes the first length it sees, does not read
//! the content of a GET, and keeps what is left on a connection to the origin for the next client.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::client::retried;

#[derive(Default)]
struct Naive {
    stored: Mutex<HashMap<String, Vec<u8>>>,
    idle: Mutex<Vec<Stream>>,
}

/// A connection, and what was read ahead.
struct Stream {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Stream {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { socket, buffer: Vec::new() })
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = retried(|| self.socket.read(&mut bytes)).unwrap_or(0);
        self.buffer.extend(&bytes[..read]);
        read > 0
    }

    /// Reads up to and including `end`.
    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|bytes| bytes == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads a body: by its first length, then by chunks, else none.
    fn body(&mut self, head: &str) -> Vec<u8> {
        if let Some(length) = field(head, "content-length") {
            let digits: String = length.chars().take_while(char::is_ascii_digit).collect();
            let length = digits.parse().unwrap_or(0);
            while self.buffer.len() < length && self.fill() {}
            let length = length.min(self.buffer.len());
            return self.buffer.drain(..length).collect();
        }
        if field(head, "transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return self.until(b"0\r\n\r\n").unwrap_or_default();
        }
        Vec::new()
    }
}

/// Starts a naive cache in front of an origin.
pub(super) fn start(origin: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let naive = Arc::new(Naive::default());
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let naive = Arc::clone(&naive);
            thread::spawn(move || naive.serve(socket, origin));
        }
    });
    Ok(address)
}

/// Returns the value of a field, however its name is spelled.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(found, _)| found.trim().eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}

/// Returns the key of a target: its path, decoded.
fn key(target: &str) -> String {
    let path = target.split(['?', ';', '#']).next().unwrap_or_default();
    let path = path.strip_prefix("http://site.test").unwrap_or(path).to_lowercase();
    let (mut decoded, mut rest) = (String::new(), &*path);
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let code = after.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.push(code.map_or('%', char::from));
        rest = after.get(2..).unwrap_or_default();
    }
    decoded.push_str(rest);
    let mut names = Vec::new();
    for name in decoded.split(['/', '\\', '?']) {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

impl Naive {
    fn serve(&self, socket: TcpStream, origin: SocketAddr) -> Option<()> {
        let mut client = Stream::new(socket).ok()?;
        loop {
            let head = String::from_utf8_lossy(&client.until(b"\n\r\n")?).into_owned();
            let mut words = head.split_whitespace();
            let (method, target) = (words.next()?, words.next()?);
            let key = key(target);
            let known = self.stored.lock().ok()?.get(&key).cloned();
            let body = if method == "GET" && known.is_some() { Vec::new() } else { client.body(&head) };
            let response = match known.filter(|_| method == "GET") {
                Some(stored) => stored,
                None => {
                    let response = self.fetch(&head, &body, origin)?;
                    self.stored.lock().ok()?.insert(key, response.clone());
                    response
                }
            };
            client.socket.write_all(&response).ok()?;
            if head.to_lowercase().contains("connection: close") {
                return Some(());
            }
        }
    }

    /// Forwards a request on any idle connection.
    fn fetch(&self, head: &str, body: &[u8], origin: SocketAddr) -> Option<Vec<u8>> {
        let idle = self.idle.lock().ok()?.pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => Stream::new(TcpStream::connect(origin).ok()?).ok()?,
        };
        let listed = field(head, "connection").unwrap_or_default().to_lowercase();
        let added = "X-Forwarded-Proto: http\r\nX-Forwarded-Host: site.test\r\nVia: 1.1 naive\r\n";
        let (line, fields) = head.split_once('\n')?;
        let mut forwarded = format!("{}\r\n", line.trim_end());
        // The mistake of many: what the client lists is removed after the own fields were added.
        for line in format!("{added}{fields}").lines() {
            let name = line.split(':').next().unwrap_or_default().trim().to_lowercase();
            let removed = name == "connection" || listed.split(',').any(|listed| listed.trim() == name);
            if !line.is_empty() && !removed {
                forwarded.push_str(&format!("{line}\r\n"));
            }
        }
        forwarded.push_str("\r\n");
        stream.socket.write_all(&[forwarded.as_bytes(), body].concat()).ok()?;
        let mut response = stream.until(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&response).into_owned();
        if field(&head, "content-length").is_some() || field(&head, "transfer-encoding").is_some() {
            response.extend(stream.body(&head));
        }
        self.idle.lock().ok()?.push(stream);
        Some(response)
    }
}
