//! The memory of the real process under clients that make it keep as much as they can.

mod process;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use larder_testkit::RawOrigin;
use process::{Proxy, config_dir::ConfigDir};

/// Number of clients that read slowly.
const READERS: usize = 300;

/// Waits until a condition holds.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("not within 30 s: {what}");
}

/// Returns a page of 536 KB that compresses about eight to one.
fn page() -> Vec<u8> {
    let (mut page, mut state) = (Vec::with_capacity(540_000), 1_u64);
    while page.len() < 536_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        page.extend(format!("<p class=\"a\">{:x} lorem ipsum</p>\n", state >> 40).bytes());
    }
    page
}

/// Each client of a page that is not stored had an encoder of its own for as long as it took to
/// read: 300 of them took 1.6 GiB.
#[test]
fn slow_readers_of_encoded_pages() {
    let page = page();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let origin = RawOrigin::start(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-type: text/html\r\n";
        // Piece by piece, so that the proxy streams it.
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
        let mut is_sent = stream.write_all(chunked.as_bytes()).is_ok();
        for part in page.chunks(16 * 1024) {
            is_sent = is_sent && write!(stream, "{:x}\r\n", part.len()).is_ok();
            is_sent = is_sent && stream.write_all(part).is_ok() && stream.write_all(b"\r\n").is_ok();
        }
        count.fetch_add(1, Ordering::SeqCst);
        is_sent && stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let dir = ConfigDir::new();
    for coding in ["br", "zstd", "gzip"] {
        let proxy = dir.start(&format!("compress = true\n[[route]]\norigins = \"{}\"", origin.url()), &[]);
        sent.store(0, Ordering::SeqCst);
        let mut readers: Vec<TcpStream> = (0..READERS)
            .map(|number| {
                let mut stream = TcpStream::connect(&proxy.address).expect("it accepts");
                socket2::SockRef::from(&stream).set_recv_buffer_size(4096).expect("a buffer");
                write!(stream, "GET /{number} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n")
                    .expect("it reads");
                stream
            })
            .collect();
        let mut encoded = 0;
        for reader in &mut readers {
            encoded += usize::from(head(reader).contains("\r\ncontent-encoding: "));
        }
        assert_eq!(encoded, 64, "the others get the page as it is");
        // These need few bytes of their clients' buffers. The proxy has read all of their pages.
        wait_until("the pages of those with an encoder", || sent.load(Ordering::SeqCst) >= 32);
        let peak = proxy.memory("VmHWM");
        assert!(peak < 700 * 1024, "{coding}: {peak} KiB");
        // The readers have left: the next one gets an encoder.
        drop(readers);
        wait_until("an encoder is free", || {
            let mut stream = TcpStream::connect(&proxy.address).expect("it accepts");
            write!(stream, "GET /last HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n")
                .expect("it reads");
            head(&mut stream).contains("\r\ncontent-encoding: ")
        });
    }
}

/// Reads the head of a response.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a response");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// Requests behind one that the origin answers late were read, decoded and kept: 5,000 of them on
/// each of 100 connections, 14 MB in all, took 3.4 GiB.
#[test]
fn requests_behind_a_slow_one() {
    const CONNECTIONS: usize = 100;
    const REQUESTS: usize = 5000;
    let (release, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_released, waiting) = (Arc::clone(&release), Arc::clone(&released));
    let origin = RawOrigin::start(move |head, stream| {
        if head.starts_with("GET /slow") {
            waiting.fetch_add(1, Ordering::SeqCst);
            while !is_released.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length";
        write!(stream, "{head}: 4\r\n\r\npage").is_ok()
    });
    let dir = ConfigDir::new();
    let proxy = dir.start(&format!("[[route]]\norigins = \"{}\"", origin.url()), &[]);
    let pipeline = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REQUESTS);
    let clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|number| {
            let mut stream = TcpStream::connect(&proxy.address).expect("it accepts");
            write!(stream, "GET /slow/{number} HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
            stream
        })
        .collect();
    wait_until("the origin has the slow requests", || released.load(Ordering::SeqCst) == CONNECTIONS);
    let before = proxy.memory("VmRSS");
    thread::scope(|threads| {
        for client in &clients {
            let (mut client, pipeline) = (client, pipeline.as_bytes());
            threads.spawn(move || client.write_all(pipeline).expect("the system takes it, or the proxy"));
        }
        // What the proxy reads now, it keeps.
        let mut last = 0;
        wait_until("it reads no more", || {
            thread::sleep(Duration::from_millis(200));
            let now = proxy.memory("VmRSS");
            now == std::mem::replace(&mut last, now)
        });
        let peak = proxy.memory("VmHWM");
        assert!(peak < before + 100 * 1024, "{before} KiB, then {peak} KiB");
        release.store(true, Ordering::SeqCst);
        for client in &clients[1..] {
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
        let mut answers = Vec::new();
        let mut client = &clients[0];
        client.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let mut bytes = vec![0; 64 * 1024];
        while answers.windows(8).filter(|window| window == b"\r\n\r\npage").count() <= REQUESTS {
            let length = client.read(&mut bytes).expect("more answers");
            assert!(length > 0, "closed");
            answers.extend_from_slice(&bytes[..length]);
        }
    });
}

/// A store of 64 MiB took 160 to 200 MiB under bodies of 20 KB to 2 MB: evicted bodies that were
/// not freed, unused parts of read buffers, and free memory that the allocator kept.
#[test]
fn a_store_in_memory_has_a_limit() {
    const CLIENTS: usize = 12;
    const REQUESTS: usize = 80;
    const LIMIT: u64 = 64 * 1024;
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let origin = RawOrigin::start(move |head, stream| {
        let length = head.split('/').nth(1).and_then(|length| length.parse().ok()).unwrap_or(0_usize);
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length";
        write!(stream, "{head}: {length}\r\n\r\n").is_ok() && stream.write_all(&bytes[..length]).is_ok()
    });
    let proxy = Proxy::start(&origin.url(), &["--store", "memory:64MiB"]);
    let received = AtomicUsize::new(0);
    thread::scope(|threads| {
        for client in 0..CLIENTS {
            let (proxy, received) = (&proxy, &received);
            threads.spawn(move || {
                let mut stream = proxy.connect();
                let mut buffer = vec![0; 64 * 1024];
                for number in 0..REQUESTS {
                    // Every length once in 97 requests, in no order.
                    let length = 20_000 + (client * REQUESTS + number) * 37 % 97 * 20_400;
                    write!(stream, "GET /{length}/{client}/{number} HTTP/1.1\r\nHost: a\r\n\r\n")
                        .expect("it reads");
                    let answer = head(&mut stream);
                    assert!(answer.contains(&format!("content-length: {length}\r\n")), "{answer}");
                    let mut left = length;
                    while left > 0 {
                        let most = left.min(buffer.len());
                        left -= stream.read(&mut buffer[..most]).expect("the body is whole");
                    }
                    received.fetch_add(length, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(received.into_inner() > 900_000_000, "far more than the store holds");
    let peak = proxy.memory("VmHWM");
    // The constant that the documentation of `--store` states.
    assert!(peak < LIMIT * 11 / 10 + 80 * 1024, "{peak} KiB");
}
