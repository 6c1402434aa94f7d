//! Thousands of connections that do nothing, read slowly or send slowly: the others are served.

mod process;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use larder_testkit::RawOrigin;
use process::{Proxy, config_dir::ConfigDir};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const GET: &str = "GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// Returns how many of `wanted` connections this process can have beside its other files: all of
/// them, or what the hard limit of open files allows. The proxy keeps a quarter of that limit for
/// other files, and divides the rest between two workers, to which the system may give unequal
/// parts.
fn possible(wanted: usize) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
    let limit = maximum.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let count = wanted.min(limit / 4);
    if count < wanted {
        eprintln!("{count} connections instead of {wanted}: the hard limit of open files is {limit}");
    }
    count
}

/// Starts a proxy that lets one client have all connections.
fn start(dir: &ConfigDir, keys: &str, limits: &str, route: &str, origin: &RawOrigin) -> Proxy {
    let config = format!(
        "{keys}\nlimits = {{ max_connections_per_client = 100000{limits} }}\n[[route]]\norigins = \"{}\"\n{route}",
        origin.url()
    );
    dir.start(&config, &[])
}

/// Reads one response of four bytes of content.
fn read_page(stream: &mut TcpStream) {
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\npage") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a response");
        response.push(byte[0]);
    }
    assert!(response.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&response));
}

/// Sends requests on new connections, which are all answered.
fn ask_others(proxy: &Proxy) {
    for _ in 0..100 {
        let mut stream = proxy.connect();
        stream.write_all(GET.as_bytes()).expect("it reads");
        read_page(&mut stream);
    }
}

/// Idle connections cost little memory, and delay no one. They can be used again.
#[test]
fn five_thousand_idle_connections() {
    let count = possible(5000);
    let origin = RawOrigin::start(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 4\r\n\r\npage")
            .is_ok()
    });
    let dir = ConfigDir::new();
    let proxy = start(&dir, "keep_alive = \"10m\"", "", "", &origin);
    ask_others(&proxy);
    let before = proxy.memory("VmRSS");
    let mut idle: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut stream = proxy.connect();
            stream.write_all(GET.as_bytes()).expect("it reads");
            read_page(&mut stream);
            stream
        })
        .collect();
    ask_others(&proxy);
    let each = (proxy.memory("VmRSS").saturating_sub(before)) / count as u64;
    assert!(each < 64, "{each} KiB for each idle connection");
    for stream in idle.iter_mut().step_by(50) {
        stream.write_all(GET.as_bytes()).expect("it is open");
        read_page(stream);
    }
    assert_eq!(origin.heads().len(), 1);
}

/// Slow readers of pages that are not stored, so that each has a connection to the origin, too.
#[test]
fn two_thousand_slow_readers() {
    let count = possible(2000);
    let origin = RawOrigin::start(|head, stream| {
        if head.starts_with("GET /page ") {
            let page = b"HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 4\r\n\r\npage";
            return stream.write_all(page).is_ok();
        }
        let head = b"HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 10000000\r\n\r\n";
        let part = [b'x'; 100_000];
        stream.write_all(head).is_ok() && (0..100).all(|_| stream.write_all(&part).is_ok())
    });
    let dir = ConfigDir::new();
    let proxy = start(&dir, "", ", send_timeout = \"10m\"", "origin_connections = 4096", &origin);
    ask_others(&proxy);
    let before = proxy.memory("VmRSS");
    let slow: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut stream = proxy.connect();
            socket2::SockRef::from(&stream).set_recv_buffer_size(4096).expect("a buffer");
            write!(stream, "GET /{number} HTTP/1.1\r\nHost: example.com\r\n\r\n").expect("it reads");
            stream
        })
        .collect();
    let slow: Vec<TcpStream> = slow
        .into_iter()
        .map(|mut stream| {
            stream.read_exact(&mut [0; 1000]).expect("the beginning");
            stream
        })
        .collect();
    ask_others(&proxy);
    let each = (proxy.memory("VmHWM").saturating_sub(before)) / count as u64;
    assert!(each < 1024, "{each} KiB for each slow reader of 10 MB");
    drop(slow);
    ask_others(&proxy);
}

/// Uploads that stall end with 408, at the time for the content. The origin does not count as
/// failed, and others are served meanwhile.
#[test]
fn uploads_that_stall() {
    let uploads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&uploads);
    let origin = RawOrigin::start(move |head, stream| {
        if head.starts_with("POST") {
            count.fetch_add(1, Ordering::SeqCst);
            // Until the proxy closes the connection.
            let mut content = [0; 4096];
            while stream.read(&mut content).is_ok_and(|length| length > 0) {}
            return false;
        }
        let page = b"HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 4\r\n\r\npage";
        stream.write_all(page).is_ok()
    });
    let dir = ConfigDir::new();
    let proxy = start(&dir, "", ", content_timeout = \"3s\"", "", &origin);
    let mut stalled: Vec<TcpStream> = (0..500)
        .map(|_| {
            let mut stream = proxy.connect();
            let head = "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000000\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("it reads");
            stream.write_all(&[b'x'; 1000]).expect("it reads");
            stream
        })
        .collect();
    ask_others(&proxy);
    for stream in &mut stalled {
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response, and the end");
        assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    }
    assert!(uploads.load(Ordering::SeqCst) > 0, "the origin got some of them");
    let errors = std::fs::read_to_string(dir.path("errors")).expect("the log");
    assert!(!errors.contains("unhealthy"), "{errors}");
    ask_others(&proxy);
}

/// Clients that never end the head of their request get a 408 at the time for it.
#[test]
fn heads_that_never_end() {
    let origin = RawOrigin::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage").is_ok()
    });
    let dir = ConfigDir::new();
    let proxy = start(&dir, "", ", request_timeout = \"3s\"", "", &origin);
    let mut slow: Vec<TcpStream> = (0..500).map(|_| proxy.connect()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"GET / HTTP/1.1\r\nX-A: ").expect("it reads"));
    ask_others(&proxy);
    for stream in &mut slow {
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response, and the end");
        assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    }
}
