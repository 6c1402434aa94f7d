//! `larder proxy` in front of real servers: responses, headers, errors, shutdown and TLS.

mod process;

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use larder_testkit::RawOrigin;
use process::{
    Proxy, content, header, larder,
    servers::{Nginx, Server, free_port, wait_for},
    status,
};

#[test]
fn in_front_of_nginx() {
    let nginx = Nginx::start();
    let proxy = Proxy::start(&nginx.url(), &[]);
    let miss = proxy.get("/page.html", "");
    assert_eq!(status(&miss), 200, "{miss}");
    // Whether the body is stored by then depends on how nginx sends it.
    let how = header(&miss, "cache-status").unwrap_or_default().replace("detail=storing", "stored");
    assert_eq!(how, "larder; fwd=uri-miss; fwd-status=200; stored");
    let hit = proxy.get("/page.html", "");
    assert_eq!(content(&hit), "<h1>a page</h1>\n");
    assert!(header(&hit, "cache-status").is_some_and(|how| how.starts_with("larder; hit; ttl=")), "{hit}");
    assert!(header(&hit, "age").is_some(), "{hit}");
    assert_eq!(header(&hit, "date"), header(&miss, "date"), "the date is the origin's");
    let etag = header(&hit, "etag").expect("nginx sends one").to_owned();
    let not_modified = proxy.get("/page.html", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((status(&not_modified), content(&not_modified)), (304, ""));
    assert_eq!(header(&not_modified, "content-length"), None);
    let part = proxy.get("/page.html", "Range: bytes=4-9\r\n");
    assert_eq!((status(&part), content(&part)), (206, "a page"));
    assert_eq!(header(&part, "content-range"), Some("bytes 4-9/16"));
    let head = proxy.send("HEAD", "/page.html", "");
    assert_eq!((status(&head), header(&head, "content-length"), content(&head)), (200, Some("16"), ""));
    let reloaded = proxy.get("/page.html", "Cache-Control: no-cache\r\n");
    assert_eq!(header(&reloaded, "cache-status"), Some("larder; fwd=request; fwd-status=304; stored"));
    assert_eq!(content(&reloaded), "<h1>a page</h1>\n");
    assert_eq!(status(&proxy.get("/missing", "")), 404);
}

/// A request for the whole server got 400, after targets were put into normal form.
#[test]
fn options_for_the_whole_server_reaches_the_origin() {
    let origin = RawOrigin::fixed("HTTP/1.1 204 No Content\r\nallow: GET\r\n\r\n");
    let proxy = Proxy::start(&origin.url(), &[]);
    let response = proxy.send("OPTIONS", "*", "");
    assert_eq!((status(&response), header(&response, "allow")), (204, Some("GET")), "{response}");
    assert!(origin.heads()[0].starts_with("OPTIONS / "), "{:?}", origin.heads());
}

#[test]
fn in_front_of_pythons_http_server() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("page.txt"), "a page").expect("a page");
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let page =
        std::fs::File::options().write(true).open(folder.path().join("page.txt")).expect("it is there");
    page.set_modified(old).expect("it takes a time");
    let port = free_port();
    let python = Command::new("python3")
        .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 is missing: apt-get install python3");
    let _python = Server(python);
    wait_for(port);
    let proxy = Proxy::start(&format!("http://127.0.0.1:{port}"), &[]);
    assert_eq!(content(&proxy.get("/page.txt", "")), "a page");
    let mut hit = proxy.get("/page.txt", "");
    // It may come before the first response is stored.
    while header(&hit, "cache-status").is_some_and(|how| how.contains("collapsed")) {
        hit = proxy.get("/page.txt", "");
    }
    assert!(
        header(&hit, "cache-status").is_some_and(|how| how.contains("hit")),
        "heuristic freshness: {hit}"
    );
    assert_eq!(content(&hit), "a page");
}

/// Formats a response that may be stored.
fn storable(content: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    )
}

/// Starts an origin that always sends this content.
fn answering(text: &'static str) -> RawOrigin {
    RawOrigin::start(move |_, stream| stream.write_all(storable(text).as_bytes()).is_ok())
}

#[test]
fn headers_that_clients_could_forge_are_not_forwarded() {
    let origin = answering("x");
    let proxy = Proxy::start(&origin.url(), &[]);
    let forged = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n\
                X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nForwarded: for=6.6.6.6\r\nX-Http-Method-Override: PUT\r\n\
                Proxy-Authorization: secret\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Keep: 1\r\n";
    proxy.get("/", forged);
    let head = origin.heads().remove(0).to_ascii_lowercase();
    for absent in ["6.6.6.6", "evil.example", "/admin", "x-http-method-override", "secret", "x-hop"] {
        assert!(!head.contains(absent), "{absent} reached the origin:\n{head}");
    }
    for present in [
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: example.com",
        "x-forwarded-proto: http\r",
        "via: 1.1 larder",
        "x-keep: 1",
        "host: example.com",
    ] {
        assert!(head.contains(present), "{present} is missing:\n{head}");
    }
}

/// The host is part of the key: two hosts behind one proxy never share a response.
#[test]
fn hosts_do_not_share_responses() {
    let origin = RawOrigin::start(|head, stream| {
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("none").to_owned();
        stream.write_all(storable(&host).as_bytes()).is_ok()
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        for host in ["a.example", "b.example"] {
            let response =
                proxy.raw(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
            assert_eq!(content(&response), host);
        }
    }
    assert_eq!(origin.heads().len(), 2);
}

#[test]
fn an_unreachable_origin_is_502_and_a_silent_one_504() {
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}", free_port()), &[]);
    let response = proxy.get("/", "");
    assert_eq!(status(&response), 502);
    assert_eq!(content(&response), "502 Bad Gateway: could not connect to the origin\n");
    assert!(
        header(&response, "cache-status").is_some_and(|how| how.contains("detail=origin-unreachable")),
        "{response}"
    );
    let silent = RawOrigin::start(|_, stream| stream.read(&mut [0]).is_ok_and(|read| read > 0));
    let proxy = Proxy::start(&silent.url(), &["--origin-timeout", "300ms"]);
    let response = proxy.get("/", "");
    assert_eq!(
        (status(&response), content(&response)),
        (504, "504 Gateway Timeout: the origin did not answer within 300ms\n")
    );
}

/// After SIGTERM, the request in flight gets its response, idle connections are closed, and the
/// exit code is 0.
#[test]
fn a_graceful_shutdown_completes_requests_in_flight() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let origin = RawOrigin::start(move |_, stream| {
        let _ = released.lock().map(|released| released.recv());
        stream.write_all(storable("in time").as_bytes()).is_ok()
    });
    let mut proxy = Proxy::start(&origin.url(), &[]);
    let idle = proxy.connect();
    let mut busy = proxy.connect();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").expect("it listens");
    while origin.heads().is_empty() {
        std::thread::yield_now();
    }
    Command::new("kill").arg(proxy.child.id().to_string()).status().expect("kill");
    release.send(()).expect("the origin waits");
    let mut response = String::new();
    busy.read_to_string(&mut response).expect("it is answered, and closed");
    assert_eq!((status(&response), content(&response)), (200, "in time"));
    drop(idle);
    assert_eq!(proxy.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn usage_errors_are_one_line_with_an_example_and_code_2() {
    for (args, expected) in [
        (&["proxy", "--origin", "nonsense"][..], "e.g. http://127.0.0.1:3000"),
        (&["proxy", "--origin", "ftp://example.com"], "e.g. http://127.0.0.1:3000"),
        (&["proxy", "--origin", "http://u:p@example.com"], "user name or password"),
        (&["proxy", "--origin", "http://a", "--store", "memory:lots"], "e.g. --store memory:512MiB"),
        (&["proxy", "--origin", "http://a", "--store", "cupboard"], "unknown store 'cupboard'"),
        (&["proxy", "--origin", "http://a", "--store", "redis:x"], "e.g. --store redis://127.0.0.1:6379/0"),
        (&["get", "ftp://example.com/"], "e.g. larder get https://example.com/"),
        (&["get", "http://a/", "--header", "nonsense"], "e.g. --header 'Accept-Language: de'"),
    ] {
        let output = larder().args(args).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(expected) && errors.trim().lines().count() == 1, "{args:?}: {errors}");
    }
}

/// Each connection is an open file, and many systems start programs with a low limit.
#[test]
fn the_limit_of_open_files_is_raised() {
    use std::io::{BufRead as _, BufReader};
    let script = "ulimit -Sn 256 && exec \"$0\" proxy --listen 127.0.0.1:0 --origin http://127.0.0.1:1";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_larder")]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("an address");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("it runs");
    child.kill().and_then(|()| child.wait()).expect("it stops");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("the line exists");
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert!(numbers[0] == numbers[1] && numbers[0] != "256", "{files}");
}

/// An origin with a certificate of a private authority. Without `--origin-ca` the log has the
/// cause.
#[test]
fn an_origin_of_a_private_authority() {
    let (origin, dir) = (answering("secret"), tempfile::tempdir().expect("a directory"));
    let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, generated.cert.pem()).expect("a file");
    std::fs::write(&key, generated.signing_key.serialize_pem()).expect("a file");
    let (cert, key) = (cert.to_str().expect("text"), key.to_str().expect("text"));
    let tls = Proxy::start(&origin.url(), &["--tls-cert", cert, "--tls-key", key]);
    let port = tls.address.rsplit_once(':').expect("a port").1;
    let url = format!("https://localhost:{port}");
    let trusting = Proxy::start(&url, &["--origin-ca", cert]);
    let response = trusting.get("/page", "");
    assert_eq!(status(&response), 200, "{response}");

    let log = dir.path().join("log");
    let errors = std::fs::File::create(&log).expect("a file");
    let other = Proxy::start_with(&["--origin", &url], errors.into());
    let response = other.get("/page", "");
    assert_eq!(status(&response), 502, "{response}");
    drop(other);
    let log = std::fs::read_to_string(&log).expect("text");
    assert!(log.contains(&url) && log.contains("invalid peer certificate"), "{log}");
}

#[test]
fn over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, generated.cert.pem()).expect("a file");
    std::fs::write(&key, generated.signing_key.serialize_pem()).expect("a file");
    let origin = answering("secret");
    let paths = [cert.to_str().expect("text"), key.to_str().expect("text")];
    let proxy = Proxy::start(&origin.url(), &["--tls-cert", paths[0], "--tls-key", paths[1]]);
    let port = proxy.address.rsplit(':').next().expect("a port").to_owned();
    for version in ["--http1.1", "--http2"] {
        let output = Command::new("curl")
            .args(["-sSi", version, "--cacert", paths[0], &format!("https://localhost:{port}/")])
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
            .output()
            .expect("curl is missing: apt-get install curl");
        let response = String::from_utf8_lossy(&output.stdout);
        assert!(
            response.contains("secret") && response.contains("cache-status: larder;"),
            "{version}: {response} {output:?}"
        );
    }
    assert!(origin.heads()[0].to_ascii_lowercase().contains("x-forwarded-proto: https"));
    assert_eq!(origin.heads().len(), 1, "both versions share the stored response");
}
