//! `larder proxy --config` in front of real servers: routes, failover, header rules, reload and
//! compression.

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
    Proxy,
    config_dir::{ConfigDir, wait_for},
    content, header, larder,
    servers::Nginx,
    status,
};

/// Sends SIGHUP.
fn hang_up(proxy: &Proxy) {
    let pid = proxy.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
}

/// Sets the flag when it is dropped, also by a panic, so that the load stops.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One of two equal origins is killed while clients request pages that are not cached. No request
/// fails.
#[test]
fn an_origin_is_killed_under_load() {
    let (mut one, other) = (Nginx::start(), Nginx::start());
    let dir = ConfigDir::new();
    let proxy = dir.start(
        &format!(
            "[[route]]\norigins = [\"{}\", \"{}\"]\nbalance = \"round-robin\"\n\
             health = {{ path = \"/page.html\", every = \"100ms\", timeout = \"1s\" }}",
            one.url(),
            other.url()
        ),
        &[],
    );
    let (done, completed, numbers) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    thread::scope(|threads| {
        let _stop = SetOnDrop(&done);
        for _ in 0..8 {
            threads.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let n = numbers.fetch_add(1, Ordering::SeqCst);
                    let response = proxy.get(&format!("/page.html?{n}"), "");
                    if status(&response) != 200 || content(&response) != "<h1>a page</h1>\n" {
                        failures.lock().expect("no panic").push(response);
                    }
                    completed.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let until = |more: usize| {
            let goal = completed.load(Ordering::SeqCst) + more;
            while completed.load(Ordering::SeqCst) < goal {
                thread::sleep(Duration::from_millis(5));
            }
        };
        for _ in 0..2 {
            until(200);
            one.kill();
            until(400);
            dir.wait_for_error("origin is unhealthy");
            one.restart();
            dir.wait_for_error("origin is healthy again");
        }
        until(200);
    });
    assert_eq!(failures.into_inner().expect("no panic"), Vec::<String>::new());
    // Both origins get requests again.
    let servers: std::collections::HashSet<String> = (0..20)
        .filter_map(|n| header(&proxy.get(&format!("/page.html?last{n}"), ""), "x-server").map(str::to_owned))
        .collect();
    assert_eq!(servers.len(), 2, "{servers:?}");
}

/// SIGHUP right after the address was printed ended the proxy.
#[test]
fn a_reload_may_come_at_once() {
    let nginx = Nginx::start();
    for _ in 0..10 {
        let dir = ConfigDir::new();
        let mut proxy = dir.start(&format!("[[route]]\norigins = [\"{}\"]", nginx.url()), &[]);
        let pid = proxy.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
        dir.wait_for_error("reloaded");
        assert!(proxy.is_alive());
        assert_eq!(status(&proxy.get("/page.html", "")), 200);
    }
}

#[test]
fn routes_and_their_rules() {
    let (main, api) = (Nginx::start(), Nginx::start());
    main.write("other.html", "other");
    let dir = ConfigDir::new();
    let proxy = dir.start(
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
    assert_eq!((header(&page, "x-by"), header(&page, "server")), (Some("larder"), None), "{page}");
    let hit = proxy.get("/page.html?utm_source=b", "");
    assert!(header(&hit, "cache-status").is_some_and(|how| how.starts_with("larder; hit")), "{hit}");
    assert_eq!(header(&hit, "x-by"), Some("larder"));
    let api_page = proxy.get("/api/x?y=1", "");
    assert!(
        content(&api_page).starts_with(&format!("api /api/x?y=1 127.0.0.1:{} larder", api.port)),
        "{api_page}"
    );
    let hit = proxy.get("/api/x?y=1", "");
    assert!(header(&hit, "cache-status").is_some_and(|how| how.starts_with("larder; hit")), "{hit}");
    for _ in 0..2 {
        let live = proxy.get("/api/live/x", "");
        assert!(content(&live).starts_with("api /api/live/x example.com"), "{live}");
        assert!(!header(&live, "cache-status").is_some_and(|how| how.contains("hit")), "{live}");
    }
    let encoded = proxy.get("/%61pi/live/x", "");
    assert!(!header(&encoded, "cache-status").is_some_and(|how| how.contains("stored")), "{encoded}");
    let elsewhere = proxy.raw(b"GET /page.html HTTP/1.1\r\nHost: elsewhere.org\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&elsewhere), 404, "{elsewhere}");
}

/// Visitors with another currency got the prices of the first one. A purge of the URL then left the
/// pages of all but one.
#[test]
fn parts_of_the_key_separate_pages_and_a_purge_reaches_all() {
    let calls = AtomicUsize::new(0);
    let origin = RawOrigin::start(move |_, stream| {
        let call = calls.fetch_add(1, Ordering::Relaxed).to_string();
        let head =
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: public, max-age=600\r\ncontent-length";
        let _ = write!(stream, "{head}: {}\r\n\r\n{call}", call.len());
        false
    });
    let dir = ConfigDir::new();
    let route = format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[[route]]\norigins = [\"{}\"]\n\
         key = {{ headers = [\"X-Country\"], cookies = [\"currency\"], content = \"1KiB\", post = true }}",
        origin.url()
    );
    let proxy = dir.start(&route, &[]);
    let errors = dir.wait_for_error("admin on http://");
    let admin = errors.split("admin on ").nth(1).and_then(|rest| rest.lines().next()).expect("an address");
    let send = |method: &str, lines: &str, body: &str| {
        let request = format!(
            "{method} /shop HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        content(&proxy.raw(request.as_bytes())).to_owned()
    };
    let forms = [
        ("GET", "", ""),
        ("GET", "X-Country: de\r\n", ""),
        ("GET", "Cookie: a=1; currency=EUR\r\n", ""),
        ("QUERY", "", "one"),
        ("QUERY", "", "two"),
        ("POST", "", "one"),
    ];
    let all = || forms.map(|(method, lines, body)| send(method, lines, body));
    assert_eq!(all(), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(all(), ["0", "1", "2", "3", "4", "5"], "all are hits");
    let long = "x".repeat(2000);
    assert_eq!([send("POST", "", &long), send("POST", "", &long)], ["6", "7"], "too long for a key");
    assert_eq!(all(), ["0", "1", "2", "3", "4", "5"], "a long query invalidates nothing");
    let purge = larder().args(["purge", "--url", "http://example.com/%73hop", "--admin", admin]).output();
    assert!(purge.expect("it runs").status.success());
    assert_eq!(all(), ["8", "9", "10", "11", "12", "13"]);
    send("PUT", "", "new");
    assert_eq!(all(), ["15", "16", "17", "18", "19", "20"], "a PUT invalidates all forms");
}

/// The proxy records no span, so it names none to the origin: the trace would have a gap.
#[test]
fn traces_are_forwarded_as_they_are() {
    let nginx = Nginx::start();
    let dir = ConfigDir::new();
    let log = dir.path("access.log").display().to_string();
    let proxy = dir.start(
        &format!("[log]\naccess = \"json\"\nfile = \"{log}\"\n[[route]]\norigins = [\"{}\"]", nginx.url()),
        &[],
    );
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let response = proxy.get("/api/x", &traceparent);
    assert!(content(&response).ends_with(&format!("00-{trace}-00f067aa0ba902b7-01")), "{response}");
    let without = proxy.get("/api/y", "");
    assert!(!content(&without).contains("00-"), "{without}");
    let lines = wait_for(Path::new(&log), "/api/y");
    let line: serde_json::Value =
        serde_json::from_str(lines.lines().find(|line| line.contains("/api/x")).expect("a line"))
            .expect("JSON");
    assert_eq!(line["trace_id"], trace);
}

#[test]
fn sighup_reloads_the_file() {
    let (one, other) = (Nginx::start(), Nginx::start());
    one.write("page.html", "one");
    other.write("page.html", "other");
    let dir = ConfigDir::new();
    let route = |nginx: &Nginx| format!("[[route]]\norigins = [\"{}\"]\ncache = false\n", nginx.url());
    let mut proxy = dir.start(&route(&one), &[]);
    assert_eq!(content(&proxy.get("/page.html", "")), "one");
    dir.write(&route(&other));
    hang_up(&proxy);
    dir.wait_for_error("reloaded ");
    for _ in 0..8 {
        assert_eq!(content(&proxy.get("/page.html", "")), "other");
    }
    dir.write(&format!("{}\nfreshnes = \"1s\"", route(&one)));
    hang_up(&proxy);
    // Standard error is written piece by piece.
    let errors = dir.wait_for_error("did you mean `freshness`?\n");
    let expected = [
        "reload failed, keeping the previous configuration: ",
        "route.freshnes: unknown key; did you mean `freshness`?",
    ];
    assert!(expected.iter().all(|text| errors.contains(text)), "{errors}");
    assert_eq!(content(&proxy.get("/page.html", "")), "other");
    assert!(proxy.is_alive());
    // At the start, the same file is an error, and the proxy does not run.
    let path = dir.path("larder.toml");
    let failed = larder().args(["proxy", "--config"]).arg(&path).output().expect("it runs");
    assert_eq!(failed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("did you mean `freshness`?"), "{failed:?}");
}

/// The documented way to a reload: check the file first. Both commands find the same errors, and
/// the exit code is 2 for each.
#[test]
fn a_file_is_checked_before_a_start_and_a_reload() {
    let dir = ConfigDir::new();
    let run = |args: &[&str], variable: Option<&str>| {
        let mut command = larder();
        command.args(args).env_remove("LARDER_TEST_ORIGIN");
        command.envs(variable.map(|value| ("LARDER_TEST_ORIGIN", value)));
        let output = command.output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let path = dir.write(
        "listen = \"192.0.2.1:80\"\nstore = \"redis://user:secret@192.0.2.2\"\n\
         [[route]]\norigins = \"${LARDER_TEST_ORIGIN}\"\n[[route]]\nprefix = \"/api\"\n\
         origins = [\"http://192.0.2.3\"]\ncache = false",
    );
    for command in [&["check", &path][..], &["proxy", "--check", "--config", &path]] {
        let (code, out, errors) = run(command, Some("https://192.0.2.4"));
        assert_eq!((code, &*errors), (Some(0), ""), "{out}");
        let expected = format!(
            "{path} is valid\nstores responses in redis://…@192.0.2.2\nlistens on 192.0.2.1:80, without TLS\n\
             routes, of which the first that matches is used:\n  /api\n      to http://192.0.2.3\n      \
             nothing is stored\n  /\n      to https://192.0.2.4\n"
        );
        assert_eq!(out, expected);
        let (code, out, errors) = run(command, None);
        assert_eq!((code, &*out), (Some(2), ""));
        let expected =
            format!("{path}:4: route.origins: the environment variable LARDER_TEST_ORIGIN is not set");
        assert!(errors.contains(&expected), "{errors}");
        let (code, _, errors) = run(command, Some("127.0.0.1:1"));
        assert!(
            code == Some(2) && errors.contains(&format!("{path}:4: route.origins: 127.0.0.1:1")),
            "{errors}"
        );
    }
    let (code, _, errors) = run(&["check", "/no/such/file"], None);
    assert!(code == Some(2) && errors.contains("/no/such/file"), "{errors}");
    let (code, _, errors) = run(&["proxy", "--check", "--origin", "127.0.0.1:1"], None);
    assert!(code == Some(2) && errors.contains("--origin: 127.0.0.1:1"), "{errors}");
}

/// A page is fetched once, and compressed once for each coding.
#[test]
fn pages_are_compressed_once() {
    let nginx = Nginx::start();
    nginx.write("long.html", &"<p>the same again</p>\n".repeat(500));
    let proxy = Arc::new(Proxy::start(&nginx.url(), &["--compress"]));
    let mut lengths = Vec::new();
    for (accepts, coding) in
        [("br, gzip", Some("br")), ("gzip", Some("gzip")), ("zstd", Some("zstd")), ("", None)]
    {
        let headers = format!("Accept-Encoding: {accepts}\r\n");
        let first = proxy.get("/long.html", &headers);
        assert_eq!(header(&first, "content-encoding"), coding, "{first}");
        let hit = proxy.get("/long.html", &headers);
        assert!(header(&hit, "cache-status").is_some_and(|how| how.starts_with("larder; hit")), "{hit}");
        lengths.push(
            header(&hit, "content-length").and_then(|length| length.parse::<usize>().ok()).expect("a length"),
        );
        nginx.write("long.html", "another page, if it were fetched again");
    }
    assert!(lengths[..3].iter().all(|length| *length < 300) && lengths[3] == 11_000, "{lengths:?}");
}

/// Health checks have the host of the route, or else of the origin, in their Host header.
#[test]
fn health_checks_send_the_right_host() {
    for (host, expected) in [("host = \"example.com\"\n", "host: example.com"), ("", "host: 127.0.0.1:")] {
        let origin = RawOrigin::start(|_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok()
        });
        let dir = ConfigDir::new();
        let config = format!(
            "[[route]]\n{host}origins = [\"{}\"]\nhealth = {{ path = \"/up\", every = \"50ms\" }}",
            origin.url()
        );
        let _proxy = dir.start(&config, &[]);
        while origin.heads().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        let head = origin.heads()[0].to_ascii_lowercase();
        assert!(head.starts_with("get /up ") && head.contains(expected), "{head}");
    }
}

/// `trust_forwarded = true` of the file stayed beside `--trust-forwarded` with other networks: any
/// client on the local network chose the host in the cache key.
#[test]
fn networks_on_the_command_line_replace_all_of_the_file() {
    let origin = RawOrigin::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok()
    });
    let config = format!("trust_forwarded = true\n[[route]]\norigins = [\"{}\"]", origin.url());
    for (args, expected) in [
        (&[][..], "x-forwarded-host: other.example\r"),
        (&["--trust-forwarded=192.0.2.0/24"], "x-forwarded-host: example.com\r"),
        (&["--trust-forwarded=127.0.0.0/8"], "x-forwarded-host: other.example\r"),
    ] {
        let proxy = ConfigDir::new().start(&config, args);
        proxy.get("/page", "X-Forwarded-Host: other.example\r\n");
        let head = origin.heads().pop().expect("a request").to_ascii_lowercase();
        assert!(head.contains(expected), "{args:?}: {head}");
    }
}
