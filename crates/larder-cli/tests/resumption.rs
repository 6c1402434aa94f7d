//! Stores that fail while the real proxy reads a long body from them. The origin is nginx.

mod process;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use process::{
    Proxy,
    servers::{Nginx, Redis},
};

/// Length of the body: far more than the buffers of all sockets on the way.
const LENGTH: usize = 24 * 1024 * 1024;

/// Creates the content of the page, in which no two blocks are equal.
fn page() -> String {
    let mut page = String::with_capacity(LENGTH + 32);
    let mut state = 1_u64;
    while page.len() < LENGTH {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        page.push_str(&format!("{state:016x}"));
    }
    page.truncate(LENGTH);
    page
}

/// A response that is being read.
struct Reading {
    stream: TcpStream,
    head: String,
    body: Vec<u8>,
}

impl Reading {
    /// Requests the page, with these header lines, and reads the head of the response.
    fn start(proxy: &Proxy, lines: &str) -> Self {
        let mut stream = proxy.connect();
        write!(stream, "GET /long.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n")
            .expect("it reads");
        let mut reading = Self { stream, head: String::new(), body: Vec::new() };
        while reading.head.is_empty() {
            reading.read(1024);
            let end = reading.body.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let body = reading.body.split_off(end + 4);
                reading.head = String::from_utf8_lossy(&reading.body).to_lowercase();
                reading.body = body;
            }
        }
        reading
    }

    /// Reads up to `most` more bytes. Returns whether there were some.
    fn read(&mut self, most: usize) -> bool {
        let mut buffer = vec![0; most];
        let length = self.stream.read(&mut buffer).expect("the body is whole");
        self.body.extend_from_slice(&buffer[..length]);
        length > 0
    }

    /// Reads until `length` bytes of the body have arrived.
    fn read_to(&mut self, length: usize) {
        while self.body.len() < length {
            assert!(self.read(64 * 1024), "the body ends after {} bytes", self.body.len());
        }
    }

    /// Reads to the end, and compares the body.
    fn assert_whole(mut self, expected: &[u8]) {
        while self.read(256 * 1024) {}
        assert_eq!(self.body.len(), expected.len());
        assert!(self.body == expected, "the body has other bytes");
    }

    /// Returns whether the store had the response.
    fn is_hit(&self) -> bool {
        self.head.contains("; hit;")
    }
}

/// Requests the page until it comes from the store.
fn wait_for_hit(proxy: &Proxy, page: &str) {
    for _ in 0..200 {
        let reading = Reading::start(proxy, "");
        let is_hit = reading.is_hit();
        reading.assert_whole(page.as_bytes());
        if is_hit {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the page is not stored");
}

/// Returns the longest file in a directory.
fn longest_file(directory: &Path) -> PathBuf {
    let mut longest = (0, PathBuf::new());
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() {
                directories.push(entry.path());
            } else if meta.len() > longest.0 {
                longest = (meta.len(), entry.path());
            }
        }
    }
    longest.1
}

/// Starts nginx with the page.
fn origin(page: &str) -> Nginx {
    let origin = Nginx::start();
    origin.write("long.txt", page);
    origin
}

/// A block of a long body on disk was damaged. The transfers of its readers broke.
#[test]
fn a_body_that_is_damaged_on_disk() {
    let (page, directory) = (page(), tempfile::tempdir().expect("a directory"));
    let origin = origin(&page);
    let store = format!("disk:{}", directory.path().join("cache").display());
    let proxy = Proxy::start_with(&["--origin", &origin.url(), "--store", &store], Stdio::inherit());
    for (range, expected) in [("", &page[..]), ("Range: bytes=1000-20000000\r\n", &page[1000..=20_000_000])] {
        wait_for_hit(&proxy, &page);
        let path = longest_file(directory.path());
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).expect("the body's file");
        assert!(file.metadata().expect("metadata").len() >= LENGTH as u64);
        let (mut byte, middle) = ([0], LENGTH as u64 / 2);
        file.read_exact_at(&mut byte, middle).expect("a byte");
        file.write_all_at(&[byte[0] ^ 1], middle).expect("it is damaged");
        let reading = Reading::start(&proxy, range);
        assert!(reading.is_hit(), "{}", reading.head);
        reading.assert_whole(expected.as_bytes());
        // The damaged entry is gone.
        assert!(!Reading::start(&proxy, "").is_hit());
    }
}

/// Redis was killed while clients read a long body from it. Their transfers broke, all of them.
#[test]
fn a_redis_that_is_killed() {
    let (page, redis) = (page(), Redis::start());
    let origin = origin(&page);
    let proxy = Proxy::start_with(&["--origin", &origin.url(), "--store", &redis.url()], Stdio::inherit());
    wait_for_hit(&proxy, &page);
    let mut readings: Vec<(Reading, &[u8])> = Vec::new();
    for number in 0..6 {
        let first = number * 1_000_000;
        let mut reading = Reading::start(&proxy, &format!("Range: bytes={first}-\r\n"));
        assert!(reading.is_hit(), "{}", reading.head);
        reading.read_to(100_000 * number);
        readings.push((reading, &page.as_bytes()[first..]));
    }
    drop(redis);
    for (reading, expected) in readings {
        reading.assert_whole(expected);
    }
}
