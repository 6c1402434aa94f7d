//! [`RawOrigin`]: a server on a real socket that sends any bytes, including invalid HTTP.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;

/// A server on a free port of 127.0.0.1 that responds with the bytes that a function writes.
///
/// Each connection has a thread. The function receives the head of the request as text, and the
/// stream to write to. It returns whether the connection stays open.
///
/// ```
/// use larder_testkit::RawOrigin;
///
/// let origin = RawOrigin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
/// assert!(origin.url().starts_with("http://127.0.0.1:"));
/// assert!(origin.heads().is_empty());
/// ```
#[derive(Clone)]
pub struct RawOrigin {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl fmt::Debug for RawOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawOrigin").field("address", &self.address).finish_non_exhaustive()
    }
}

impl RawOrigin {
    /// Starts a server that calls `respond` for each request.
    ///
    /// # Panics
    ///
    /// Panics if no port is free.
    pub fn start(respond: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a local address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (received, respond) = (Arc::clone(&heads), Arc::new(respond));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (received, respond) = (Arc::clone(&received), Arc::clone(&respond));
                thread::spawn(move || serve(stream, &received, &*respond));
            }
        });
        Self { address, heads }
    }

    /// Starts a server that writes the same bytes for each request, and then closes the connection.
    ///
    /// # Panics
    ///
    /// Panics if no port is free.
    pub fn fixed(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, stream| {
            let _ = stream.write_all(&bytes);
            false
        })
    }

    /// Returns the URL of the server: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the heads of the requests received so far, as text.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

/// Serves one connection until it is closed or `respond` returns `false`.
fn serve(
    mut stream: TcpStream,
    received: &Mutex<Vec<String>>,
    respond: &(dyn Fn(&str, &mut TcpStream) -> bool + Send + Sync),
) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    while let Ok(Some(head)) = read_head(&mut stream) {
        received.lock().push(head.clone());
        if !respond(&head, &mut stream) {
            return;
        }
    }
}

/// Reads the head of a request, and discards the content that `Content-Length` announces. Returns
/// `None` if the connection was closed or the head is larger than 1 MiB.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 || head.len() > 1 << 20 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
    });
    io::copy(&mut stream.take(length.unwrap_or(0)), &mut io::sink())?;
    Ok(Some(head))
}
