//! The scripted origin: a server on a free port that responds as a case decides, with valid HTTP or
//! with any bytes.
//!
//! Behind a proxy it reads HTTP/1.1. Behind an application it reads the form that
//! `xtask/apps/src/script.rs` writes: the request as the handler sees it. It keeps the requests
//! that it has received, so that a case can also check what was forwarded.

use super::client::retried;

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Header or trailer fields, in order.
type Fields = Vec<(String, String)>;

/// A request as the origin or the handler sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Fields,
    pub(super) body: Vec<u8>,
    /// The URL that an application reads from its framework; empty behind a proxy.
    pub(super) url: String,
    /// The head as it was received.
    pub(super) head: String,
}

impl Seen {
    /// Returns the first value of a header; empty if it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers(name).into_iter().next().unwrap_or_default()
    }

    /// Returns all values of a header.
    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| &**value).collect()
    }

    /// Returns whether the request has a header of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        !self.headers(name).is_empty()
    }

    /// Parses a head. `body` is left empty.
    fn parse(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head).into_owned();
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let [method, target] = [(); 2].map(|()| words.next().unwrap_or_default());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        Self { method, target, headers, body: Vec::new(), url: String::new(), head }
    }
}

/// A response of the origin.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A valid response.
    Http { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Bytes that are written as they are. Only for proxies. `bool`: close the connection then.
    Raw(Vec<u8>, bool),
}

impl Answer {
    /// Creates a response with this status and body, and without header fields.
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Http { status, headers: Vec::new(), body: body.into() }
    }

    /// Creates a 200 response that every cache may store for ten minutes.
    pub(super) fn page(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body).with("Cache-Control", "max-age=600")
    }

    /// Creates an error that the origin marks as fresh for ten minutes, as servers do that add
    /// `Cache-Control` to every response.
    pub(super) fn error(status: u16) -> Self {
        Self::new(status, format!("error {status}")).with("Cache-Control", "max-age=600")
    }

    /// Creates a permanent redirect that is fresh for ten minutes.
    pub(super) fn redirect(location: &str) -> Self {
        Self::error(301).with("Location", location)
    }

    /// Creates a response of any bytes, after which the connection stays open.
    pub(super) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Raw(bytes.into(), false)
    }

    /// Adds a header field.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Writes the response to a request; `whole` includes the body. Returns whether the connection
    /// stays open.
    fn write(&self, stream: &mut TcpStream, whole: bool, keep: bool) -> io::Result<bool> {
        match self {
            Self::Raw(bytes, close) => {
                stream.write_all(bytes)?;
                Ok(!close)
            }
            Self::Http { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} Status\r\n");
                for (name, value) in headers {
                    let _ = write!(head, "{name}: {value}\r\n");
                }
                if !matches!(status, 204 | 304) {
                    let _ = write!(head, "Content-Length: {}\r\n", body.len());
                }
                let body: &[u8] = if whole && !matches!(status, 204 | 304) { body } else { b"" };
                stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
                Ok(keep)
            }
        }
    }
}

type Respond = dyn Fn(&Seen) -> Answer + Send + Sync;

/// The origin. It stops accepting when the program ends.
pub(super) struct Script {
    pub(super) address: SocketAddr,
    received: Arc<Mutex<Vec<Seen>>>,
}

impl Script {
    /// Starts an origin that responds with `respond`.
    pub(super) fn start(respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let (shared, respond): (_, Arc<Respond>) = (Arc::clone(&received), Arc::new(respond));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, respond) = (Arc::clone(&shared), Arc::clone(&respond));
                thread::spawn(move || serve(stream, &shared, &*respond));
            }
        });
        Ok(Self { address, received })
    }

    /// Returns the requests received so far.
    pub(super) fn requests(&self) -> Vec<Seen> {
        locked(&self.received).clone()
    }

    /// Returns the requests with this target.
    pub(super) fn requests_for(&self, target: &str) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| seen.target == target).collect()
    }
}

fn locked(received: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves a connection to its end.
fn serve(stream: TcpStream, received: &Mutex<Vec<Seen>>, respond: &Respond) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut connection = Connection { stream };
    while let Ok(Some((seen, is_app))) = connection.request() {
        locked(received).push(seen.clone());
        let whole = seen.method != "HEAD" || is_app;
        let answered = respond(&seen).write(&mut connection.stream, whole, !is_app);
        if !answered.unwrap_or(false) {
            return;
        }
    }
}

struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Reads a request, and whether it is from an application. `None` at the end.
    fn request(&mut self) -> io::Result<Option<(Seen, bool)>> {
        let mut first = Vec::new();
        while !first.ends_with(b"\n") {
            let Some(byte) = self.byte()? else { return Ok(None) };
            first.push(byte);
        }
        let line = String::from_utf8_lossy(&first).into_owned();
        if let Some(rest) = line.strip_prefix("APP ") {
            let mut words = rest.trim().rsplitn(3, ' ');
            let mut length = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let (body, head) = (length(), length());
            let url = words.next().unwrap_or_default().to_owned();
            let (head, body) = (self.take(head)?, self.take(body)?);
            return Ok(Some((Seen { url, body, ..Seen::parse(&head) }, true)));
        }
        let mut head = first;
        while !head.ends_with(b"\r\n\r\n") && head != b"\r\n" {
            let Some(byte) = self.byte()? else { return Ok(None) };
            head.push(byte);
        }
        let mut seen = Seen::parse(&head);
        if seen.header("expect").eq_ignore_ascii_case("100-continue") {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        seen.body = if seen.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            let (body, trailers) = self.chunked()?;
            // Some servers merge trailers into the head.
            seen.headers.extend(trailers);
            body
        } else {
            self.take(seen.header("content-length").parse().unwrap_or(0))?
        };
        Ok(Some((seen, false)))
    }

    /// Reads chunks and the trailers behind them.
    fn chunked(&mut self) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let size = self.line()?;
            let digits = size.split(';').next().unwrap_or_default().trim().to_owned();
            let size = usize::from_str_radix(&digits, 16).unwrap_or(0);
            if size == 0 {
                let mut trailers = Vec::new();
                loop {
                    let line = self.line()?;
                    let Some((name, value)) = line.split_once(':') else { return Ok((body, trailers)) };
                    trailers.push((name.to_owned(), value.trim().to_owned()));
                }
            }
            body.extend(self.take(size)?);
            self.line()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let Some(byte) = self.byte()? else { break };
            line.push(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        if retried(|| self.stream.read(&mut byte))? == 0 {
            return Ok(None);
        }
        Ok(Some(byte[0]))
    }
}
