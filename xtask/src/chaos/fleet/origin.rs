//! The origin: a server that counts the version of each resource. Each response has resource and
//! version in every line of its body, and the version as its validator. PUT creates the next one.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::history::{GROUPS, PREFIXES, Recorder, Resource};

/// Number of resources. The last one is not in the history: see `Fleet::recovered`.
pub(super) const RESOURCES: Resource = 24;
/// Host of all URLs.
pub(super) const HOST: &str = "site.test";
/// Longest delay of a response in ms, after its version was chosen.
const DELAY: u64 = 12;
/// Longest delay of some resources: fetches of them are in progress while others purge.
const SLOW: u64 = 400;

/// A running origin. It stops accepting when the program ends.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    versions: Arc<Vec<AtomicU64>>,
    recorder: Arc<Recorder>,
}

/// Returns the path of a resource.
pub(super) fn path(resource: Resource) -> String {
    format!("/s{}/r{resource}", resource % PREFIXES)
}

/// Returns the body of a version: long bodies have keys of their own on Redis.
pub(super) fn body(resource: Resource, version: u64) -> String {
    let lines = if resource % 8 == 7 { 15_000 } else { 40 };
    format!("r{resource} v{version}\n").repeat(lines)
}

impl Origin {
    pub(super) fn start(recorder: &Arc<Recorder>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let versions = (0..=RESOURCES).map(|_| AtomicU64::new(1)).collect();
        let origin = Self {
            address: listener.local_addr()?,
            versions: Arc::new(versions),
            recorder: Arc::clone(recorder),
        };
        (0..=RESOURCES).for_each(|resource| recorder.version(resource, 1));
        let serving = origin.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let origin = serving.clone();
                thread::spawn(move || origin.serve(stream));
            }
        });
        Ok(origin)
    }

    /// Creates the next version of a resource, and returns it.
    pub(super) fn advance(&self, resource: Resource) -> u64 {
        let version = self.versions[resource as usize].fetch_add(1, Ordering::SeqCst) + 1;
        self.recorder.version(resource, version);
        version
    }

    /// Serves a connection until it ends.
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            let Some(resource) = request.resource else {
                writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            };
            let response = if request.is_put {
                let version = self.advance(resource);
                format!("HTTP/1.1 200 OK\r\nVersion: {version}\r\nContent-Length: 0\r\n\r\n")
            } else {
                let version = self.versions[resource as usize].load(Ordering::SeqCst);
                response(resource, version, request.validator.as_deref())
            };
            // The response may be older than a removal that comes now.
            let limit = if resource % 8 == 3 { SLOW } else { DELAY };
            let delay = self.recorder.now() % limit;
            thread::sleep(Duration::from_millis(delay));
            writer.write_all(response.as_bytes())?;
        }
        Ok(())
    }
}

/// A request to the origin.
struct Request {
    is_put: bool,
    resource: Option<Resource>,
    validator: Option<String>,
}

/// Reads a request with its content. `None` at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let is_put = words.next() == Some("PUT");
    let number = words.next().and_then(|target| target.rsplit_once("/r")?.1.parse().ok());
    let mut request = Request { is_put, resource: number.filter(|one| *one <= RESOURCES), validator: None };
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "if-none-match" => request.validator = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
    Ok(Some(request))
}

/// Returns the response to a GET.
fn response(resource: Resource, version: u64, validator: Option<&str>) -> String {
    let etag = format!("\"r{resource}-v{version}\"");
    let fields = format!(
        "ETag: {etag}\r\nCache-Control: max-age=3600, stale-while-revalidate=60\r\n\
         Cache-Groups: \"g{}\"\r\n",
        resource % GROUPS
    );
    if validator == Some(&etag) {
        return format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
    }
    let body = body(resource, version);
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}
