//! Origins that stall, break off, send too much or nothing, or are replaced, all under load: good
//! requests are served, and no broken response looks complete.

mod process;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use larder_testkit::RawOrigin;
use process::{config_dir::ConfigDir, content, header, servers::Nginx, status};

/// What the origin does for each path.
fn misbehave(head: &str, stream: &mut TcpStream) -> bool {
    let fields = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length";
    let path = head.split(' ').nth(1).unwrap_or_default();
    let kind = path.split('/').nth(1).unwrap_or_default();
    let reset = |stream: &TcpStream| {
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a socket");
        false
    };
    match kind {
        "good" => write!(stream, "{fields}: {}\r\n\r\n{path}", path.len()).is_ok(),
        "nothing" => false,
        "reset" => reset(stream),
        "silent" => {
            // Until the proxy closes the connection.
            let _ = stream.read(&mut [0]);
            false
        }
        "half-a-head" => {
            let _ = stream.write_all(fields.as_bytes());
            false
        }
        "stalls" => {
            let _ = write!(stream, "{fields}: 10\r\n\r\nhalf");
            let _ = stream.read(&mut [0]);
            false
        }
        "breaks-off" => {
            let _ = write!(stream, "{fields}: 10\r\n\r\nhalf");
            reset(stream)
        }
        "ends-early" => {
            let _ = write!(stream, "{fields}: 10\r\n\r\nhalf");
            false
        }
        "too-much" => {
            // What is too much looks like the response to the next request.
            let evil = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 4\r\n\r\nevil";
            write!(stream, "{fields}: 4\r\n\r\npage{evil}").is_ok()
        }
        _ => false,
    }
}

/// One origin misbehaves for 24 clients, and four others get their pages from it. Each failure has
/// its own outcome.
#[test]
fn an_origin_that_misbehaves_harms_no_other_request() {
    let origin = RawOrigin::start(misbehave);
    let dir = ConfigDir::new();
    let route = |rest: &str| format!("[[route]]\norigins = \"{}\"\nretries = 0\n{rest}\n", origin.url());
    let routes = [
        route(""),
        route("prefix = \"/silent\"\norigin_timeout = \"1s\""),
        route("prefix = \"/stalls\"\norigin_body_timeout = \"1s\""),
    ];
    let proxy = dir.start(&routes.concat(), &[]);
    let (left, numbers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    let fail = |text: String| failures.lock().expect("no panic").push(text);
    let get = |path: &str| proxy.get(path, "");
    thread::scope(|threads| {
        for (kind, expected, body) in [
            ("nothing", 502, None),
            ("reset", 502, None),
            ("silent", 504, None),
            ("half-a-head", 502, None),
            ("stalls", 200, Some("half")),
            ("breaks-off", 200, Some("half")),
            ("ends-early", 200, Some("half")),
            ("too-much", 200, Some("page")),
        ] {
            for client in 0..3 {
                left.fetch_add(1, Ordering::SeqCst);
                let (left, get, fail) = (&left, &get, &fail);
                threads.spawn(move || {
                    for number in 0..5 {
                        let path = format!("/{kind}/{client}/{number}");
                        // The second one is a miss, too: nothing broken was stored.
                        for _ in 0..2 {
                            let response = get(&path);
                            let is_hit =
                                header(&response, "cache-status").is_some_and(|how| how.contains("; hit"));
                            let is_expected = status(&response) == expected
                                && body.is_none_or(|body| content(&response) == body)
                                && (!is_hit || kind == "too-much");
                            if !is_expected || response.contains("evil") {
                                fail(format!("{path}: {response}"));
                            }
                        }
                    }
                    left.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
        for _ in 0..4 {
            threads.spawn(|| {
                while left.load(Ordering::SeqCst) > 0 {
                    let path = format!("/good/{}", numbers.fetch_add(1, Ordering::SeqCst));
                    let response = get(&path);
                    if status(&response) != 200 || content(&response) != path {
                        fail(format!("{path}: {response}"));
                    }
                }
            });
        }
    });
    assert_eq!(failures.into_inner().expect("no panic"), Vec::<String>::new());
    assert!(numbers.load(Ordering::SeqCst) > 50, "there was load");
}

/// Starts a server that responds when it has the head of a request, and then reads the content.
fn early_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).is_err() {
                        return;
                    }
                    head.push(byte[0]);
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly");
                let mut content = [0; 4096];
                while stream.read(&mut content).is_ok_and(|length| length > 0) {}
            });
        }
    });
    address
}

/// A response before the end of a long upload reaches the client.
#[test]
fn an_origin_that_answers_early() {
    let origin = RawOrigin::start(misbehave);
    let dir = ConfigDir::new();
    let config = format!(
        "[[route]]\norigins = \"{}\"\n[[route]]\nprefix = \"/early\"\norigins = \"http://{}\"",
        origin.url(),
        early_server()
    );
    let proxy = dir.start(&config, &[]);
    for _ in 0..20 {
        let mut stream = proxy.connect();
        let head = "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("it reads");
        stream.write_all(&[b'x'; 100_000]).expect("it reads");
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\nearly") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the response");
            response.push(byte[0]);
        }
        assert!(response.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&response));
        assert_eq!(content(&proxy.get("/good/x", "")), "/good/x");
    }
}

/// nginx replaces its workers at each reload and closes idle connections, at any moment. Requests
/// that cross the end of a connection are sent again.
#[test]
fn an_origin_is_replaced_under_load() {
    let nginx = Nginx::start();
    let dir = ConfigDir::new();
    let config = format!("[[route]]\norigins = \"{}\"\ncache = false", nginx.url());
    let proxy = dir.start(&config, &[]);
    let (done, completed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let response = proxy.get("/page.html", "");
                    if status(&response) != 200 || content(&response) != "<h1>a page</h1>\n" {
                        failures.lock().expect("no panic").push(response);
                    }
                    completed.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..20 {
            let goal = completed.load(Ordering::SeqCst) + 50;
            while completed.load(Ordering::SeqCst) < goal {
                thread::sleep(Duration::from_millis(5));
            }
            nginx.reload();
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(failures.into_inner().expect("no panic"), Vec::<String>::new());
}
