//! `larder proxy --config` in front of real servers: routes, failover, rules, reload, compression.

mod process;

use std::{
    io::Write as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use larder_testkit::RawOrigin;
use process::{
    Proxy, content, field, larder,
    servers::Nginx,
    setting::{Setting, wait_for},
    status,
};

fn hang_up(proxy: &Proxy) {
    let pid = proxy.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
}

/// Ends the load when it is dropped, also by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Two origins that have the same, one killed while clients ask for pages that are not cached: each gets its page.
#[test]
fn an_origin_that_is_killed_under_load() {
    let (mut one, other) = (Nginx::start(), Nginx::start());
    let it = Setting::new();
    let proxy = it.start(
        &format!(
            "[[route]]\norigins = [\"{}\", \"{}\"]\nbalance = \"round-robin\"\n\
             health = {{ path = \"/page.html\", every = \"100ms\", timeout = \"1s\" }}",
            one.url(),
            other.url()
        ),
        &[],
    );
    let (done, asked, numbers) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let wrong = Mutex::new(Vec::new());
    thread::scope(|threads| {
        let _end = Ends(&done);
        for _ in 0..8 {
            threads.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let n = numbers.fetch_add(1, Ordering::SeqCst);
                    let answer = proxy.get(&format!("/page.html?{n}"), "");
                    if status(&answer) != 200 || content(&answer) != "<h1>a page</h1>\n" {
                        wrong.lock().expect("no panic").push(answer);
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let until = |more: usize| {
            let goal = asked.load(Ordering::SeqCst) + more;
            while asked.load(Ordering::SeqCst) < goal {
                thread::sleep(Duration::from_millis(5));
            }
        };
        for _ in 0..2 {
            until(200);
            one.kill();
            until(400);
            it.says("origin is unhealthy");
            one.restart();
            it.says("origin is healthy again");
        }
        until(200);
    });
    assert_eq!(wrong.into_inner().expect("no panic"), Vec::<String>::new());
    // Both are asked again.
    let servers: std::collections::HashSet<String> = (0..20)
        .filter_map(|n| field(&proxy.get(&format!("/page.html?last{n}"), ""), "x-server").map(str::to_owned))
        .collect();
    assert_eq!(servers.len(), 2, "{servers:?}");
}

#[test]
fn routes_and_their_rules() {
    let (main, api) = (Nginx::start(), Nginx::start());
    main.write("other.html", "other");
    let it = Setting::new();
    let proxy = it.start(
        &format!(
            r#"
            [[route]]
            host = "example.com"
            origins = ["{}"]
            ignore_query = ["utm_*"]
            response_headers = {{ set = {{ x-by = "larder" }}, remove = ["server"] }}

            [[route]]
            host = "*.com"
            prefix = "/api"
            origins = ["{}"]
            default_freshness = "60s"
            request_headers = {{ set = {{ x-from = "larder" }} }}
            origin_host = true

            [[route]]
            host = "example.com"
            prefix = "/api/live"
            origins = ["{}"]
            cache = false
            "#,
            main.url(),
            api.url(),
            api.url()
        ),
        &["--compress"],
    );
    let page = proxy.get("/page.html?utm_source=a", "");
    assert_eq!((field(&page, "x-by"), field(&page, "server")), (Some("larder"), None), "{page}");
    let hit = proxy.get("/page.html?utm_source=b", "");
    assert!(field(&hit, "cache-status").is_some_and(|how| how.starts_with("larder; hit")), "{hit}");
    assert_eq!(field(&hit, "x-by"), Some("larder"));
    let api_page = proxy.get("/api/x?y=1", "");
    assert!(
        content(&api_page).starts_with(&format!("api /api/x?y=1 127.0.0.1:{} larder", api.port)),
        "{api_page}"
    );
    let hit = proxy.get("/api/x?y=1", "");
    assert!(field(&hit, "cache-status").is_some_and(|how| how.starts_with("larder; hit")), "{hit}");
    for _ in 0..2 {
        let live = proxy.get("/api/live/x", "");
        assert!(content(&live).starts_with("api /api/live/x example.com"), "{live}");
        assert!(!field(&live, "cache-status").is_some_and(|how| how.contains("hit")), "{live}");
    }
    let sneaky = proxy.get("/%61pi/live/x", "");
    assert!(!field(&sneaky, "cache-status").is_some_and(|how| how.contains("stored")), "{sneaky}");
    let elsewhere = proxy.raw(b"GET /page.html HTTP/1.1\r\nHost: elsewhere.org\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&elsewhere), 404, "{elsewhere}");
}

/// A trace goes on where it came from, and begins where there was none.
#[test]
fn traces_are_passed_on() {
    let nginx = Nginx::start();
    let it = Setting::new();
    let log = it.path("access.log").display().to_string();
    let proxy = it.start(
        &format!("[log]\naccess = \"json\"\nfile = \"{log}\"\n[[route]]\norigins = [\"{}\"]", nginx.url()),
        &[],
    );
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let asked = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let answer = proxy.get("/api/x", &asked);
    let passed = content(&answer).rsplit(' ').next().expect("the field");
    assert!(passed.starts_with(&format!("00-{trace}-")) && passed.ends_with("-01"), "{answer}");
    assert!(!passed.contains("00f067aa0ba902b7"), "the span is the proxy's own: {answer}");
    let begun = proxy.get("/api/y", "");
    assert_eq!(content(&begun).rsplit(' ').next().map(str::len), Some(55), "{begun}");
    let lines = wait_for(Path::new(&log), "/api/y");
    let line: serde_json::Value =
        serde_json::from_str(lines.lines().find(|line| line.contains("/api/x")).expect("a line"))
            .expect("JSON");
    assert_eq!(line["trace_id"], trace);
}

#[test]
fn the_file_is_read_again() {
    let (one, other) = (Nginx::start(), Nginx::start());
    one.write("page.html", "one");
    other.write("page.html", "other");
    let it = Setting::new();
    let route = |nginx: &Nginx| format!("[[route]]\norigins = [\"{}\"]\ncache = false\n", nginx.url());
    let mut proxy = it.start(&route(&one), &[]);
    assert_eq!(content(&proxy.get("/page.html", "")), "one");
    it.write(&route(&other));
    hang_up(&proxy);
    it.says("is in force");
    for _ in 0..8 {
        assert_eq!(content(&proxy.get("/page.html", "")), "other");
    }
    it.write(&format!("{}\nfreshnes = \"1s\"", route(&one)));
    hang_up(&proxy);
    let errors = it.says("the configuration stays as it was");
    assert!(errors.contains("unknown field `freshnes`"), "{errors}");
    assert_eq!(content(&proxy.get("/page.html", "")), "other");
    assert!(proxy.is_alive());
    // At the start it is an error, and nothing is begun.
    let path = it.path("larder.toml");
    let failed = larder().args(["proxy", "--config"]).arg(&path).output().expect("it runs");
    assert_eq!(failed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("unknown field `freshnes`"), "{failed:?}");
}

/// The same page in each coding, fetched from the origin once.
#[test]
fn pages_are_compressed_once() {
    let nginx = Nginx::start();
    nginx.write("long.html", &"<p>the same again</p>\n".repeat(500));
    let proxy = Arc::new(Proxy::start(&nginx.url(), &["--compress"]));
    let mut lengths = Vec::new();
    for (accepts, coding) in
        [("br, gzip", Some("br")), ("gzip", Some("gzip")), ("zstd", Some("zstd")), ("", None)]
    {
        let fields = format!("Accept-Encoding: {accepts}\r\n");
        let first = proxy.get("/long.html", &fields);
        assert_eq!(field(&first, "content-encoding"), coding, "{first}");
        let again = proxy.get("/long.html", &fields);
        assert!(field(&again, "cache-status").is_some_and(|how| how.starts_with("larder; hit")), "{again}");
        lengths.push(
            field(&again, "content-length").and_then(|length| length.parse::<usize>().ok()).expect("ready"),
        );
        nginx.write("long.html", "another page, if the origin were asked again");
    }
    assert!(lengths[..3].iter().all(|length| *length < 300) && lengths[3] == 11_000, "{lengths:?}");
}

/// A server that answers for several names is asked by the name that the route is for.
#[test]
fn health_checks_ask_for_the_right_host() {
    for (host, expected) in [("host = \"example.com\"\n", "host: example.com"), ("", "host: 127.0.0.1:")] {
        let origin = RawOrigin::start(|_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok()
        });
        let it = Setting::new();
        let config = format!(
            "[[route]]\n{host}origins = [\"{}\"]\nhealth = {{ path = \"/up\", every = \"50ms\" }}",
            origin.url()
        );
        let _proxy = it.start(&config, &[]);
        while origin.heads().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        let head = origin.heads()[0].to_ascii_lowercase();
        assert!(head.starts_with("get /up ") && head.contains(expected), "{head}");
    }
}
