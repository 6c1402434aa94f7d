//! Stores that outlive a command: shared by successive commands, by commands that run at once, and
//! by proxies.

mod process;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use larder_testkit::RawOrigin;
use process::{Proxy, content, header};

/// Starts an origin: each page contains its path, and is fresh for an hour.
fn origin() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let page = format!("this is {path}\n");
        let response = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600, stale-while-revalidate=60\r\nETag: \"v1\"\r\n\
             Content-Length: {}\r\n\r\n{page}",
            page.len()
        );
        stream.write_all(response.as_bytes()).is_ok()
    })
}

/// Creates a command that uses this cache directory.
fn larder(cache: &Path, arguments: &[&str]) -> Command {
    let mut command = process::larder();
    command.env("XDG_CACHE_HOME", cache).args(arguments);
    command
}

/// Runs a command. Returns its output, also as text: standard output and standard error.
fn run(cache: &Path, arguments: &[&str]) -> (Output, String, String) {
    let output = larder(cache, arguments).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn a_command_uses_what_an_earlier_one_stored() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let url = format!("{}/page", origin.url());
    let (output, page, how) = run(cache.path(), &["get", &url]);
    assert!(output.status.success() && how.contains("fwd=uri-miss"), "{how}");
    assert_eq!(page, "this is /page\n");
    let (_, page, how) = run(cache.path(), &["get", &url]);
    assert!(how.contains("(hit; "), "{how}");
    assert_eq!(page, "this is /page\n");
    assert_eq!(origin.heads().len(), 1);
    let (output, _, how) = run(cache.path(), &["get", "--store", "memory", &url]);
    assert!(output.status.success() && how.contains("fwd=uri-miss"), "{how}");

    let (_, out, _) = run(cache.path(), &["stats"]);
    assert!(out.contains("entries   1\n") && out.contains("hits      1 of 2 lookups (50.0 %)"), "{out}");
    let (_, out, _) = run(cache.path(), &["stats", "--json"]);
    let stats: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&stats["entries"], &stats["hits"]), (&1.into(), &1.into()));
}

#[test]
fn explain_prints_the_decision_and_its_reason() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let url = format!("{}/page", origin.url());
    let (output, out, _) = run(cache.path(), &["explain", &url]);
    assert!(output.status.success() && out.contains("nothing is stored for this URL (RFC 9111 §4)"), "{out}");
    run(cache.path(), &["get", &url]);
    let (_, out, _) = run(cache.path(), &["explain", &url]);
    for line in [
        "cache-control: max-age=3600, stale-while-revalidate=60",
        "fresh     for 1h, from max-age (§5.2.2.1)",
        "validator \"v1\" (strong, RFC 9110 §8.8.3)",
        "served from the cache: fresh for ",
        "for 1m more, served while it is revalidated (RFC 5861 §3)",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (_, out, _) = run(cache.path(), &["explain", "--header", "Cache-Control: no-cache", &url]);
    let reason = "now       revalidated with the origin: the request has no-cache (RFC 9111 §5.2.1.4)";
    assert!(out.contains(reason), "{out}");
    assert_eq!(origin.heads().len(), 1, "explain sends no requests");
    let (_, out, _) = run(cache.path(), &["explain", "--fetch", &format!("{}/other", origin.url())]);
    assert!(out.contains("storable  yes (RFC 9111 §3)"), "{out}");
    let private = RawOrigin::fixed("HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 0\r\n\r\n");
    let (_, out, _) = run(cache.path(), &["explain", "--shared", "--fetch", &private.url()]);
    assert!(out.contains("storable  no: private response in a shared cache (§5.2.2.7)"), "{out}");
}

/// Two processes use one cache directory, without an error such as "database is locked".
#[test]
fn two_commands_fetch_the_same_thousand_urls() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let urls: Vec<String> = (0..1000).map(|n| format!("{}/{n}", origin.url())).collect();
    let start = || {
        let mut command = larder(cache.path(), &["get", "--json"]);
        command.args(&urls).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let commands = [start(), start()];
    for command in commands {
        let output = command.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(lines.lines().filter(|line| line.contains("\"status\":200")).count(), 1000);
    }
    let before = origin.heads().len();
    assert!((1000..=2000).contains(&before), "{before} requests");
    let output = start().wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(origin.heads().len(), before, "the third command had hits only");
}

/// `larder purge --all --store disk:TYPO` created the directory, and reported that everything was
/// removed. The operator served the bad page until someone noticed.
#[test]
fn commands_that_look_or_remove_create_no_directory_and_evict_nothing() {
    let cache = tempfile::tempdir().expect("a directory");
    let missing = format!("disk:{}", cache.path().join("typo").display());
    for arguments in [
        &["purge", "--all", "--store", &missing][..],
        &["purge", "--url", "http://example.com/", "--store", &missing],
        &["stats", "--store", &missing],
        &["explain", "--store", &missing, "http://example.com/"],
        &["stats"],
    ] {
        let (output, out, err) = run(cache.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {out}{err}");
        assert!(err.contains("is not an existing directory"), "{arguments:?}: {err}");
    }
    let (output, _, _) = run(cache.path(), &["explain", "http://example.com/"]);
    assert!(output.status.success(), "without a cache nothing is stored");
    assert_eq!(std::fs::read_dir(cache.path()).expect("a directory").count(), 0);
    // A cache that has more entries than the limit of a command permits.
    let path = cache.path().join("site");
    let origin = origin();
    let urls: Vec<String> = (0..50).map(|n| format!("{}/{n}", origin.url())).collect();
    let store = format!("disk:{}?max=2GiB", path.display());
    let mut fill = vec!["get", "--json", "--store", &store];
    fill.extend(urls.iter().map(String::as_str));
    assert!(run(cache.path(), &fill).0.status.success());
    let stats = || {
        let store = format!("disk:{}?max=4MiB", path.display());
        let (_, out, _) = run(cache.path(), &["stats", "--json", "--store", &store]);
        let stats: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        (stats["entries"].clone(), stats["max_bytes"].clone())
    };
    assert_eq!(stats(), (50.into(), (2u64 << 30).into()));
    let store = format!("disk:{}", path.display());
    assert!(run(cache.path(), &["get", "--store", &store, &urls[0]]).0.status.success());
    assert_eq!(stats(), (50.into(), (2u64 << 30).into()), "a writer without a limit keeps it");
}

/// Four `larder watch` of one page, and as many `larder get`, each fetched it.
#[test]
fn commands_at_the_same_time_fetch_a_cold_page_once() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = RawOrigin::start(|_, stream| {
        // Long enough for all commands to request the page.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 4\r\n\r\npage";
        stream.write_all(head.as_bytes()).is_ok()
    });
    for (page, arguments) in [("a", &["get"][..]), ("b", &["watch", "--once"])] {
        let url = format!("{}/{page}", origin.url());
        let commands: Vec<_> = (0..4)
            .map(|_| {
                let mut command = larder(cache.path(), arguments);
                command.arg(&url).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
            })
            .collect();
        for command in commands {
            let output = command.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let of_page = origin.heads().iter().filter(|head| head.contains(&format!("/{page} "))).count();
        assert_eq!(of_page, 1, "{arguments:?}");
    }
}

#[test]
fn a_proxy_on_disk_keeps_its_cache_across_a_restart() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let store = format!("disk:{}?max=64MiB", cache.path().join("proxy").display());
    let long = format!("/{}", "long".repeat(20));
    for round in 0..2 {
        let mut proxy = Proxy::start(&origin.url(), &["--store", &store]);
        for path in ["/page", &long] {
            let response = proxy.get(path, "");
            assert_eq!(content(&response), format!("this is {path}\n"));
            let how = header(&response, "cache-status").expect("a Cache-Status");
            assert_eq!(how.contains("hit"), round == 1, "{round} {path}: {how}");
        }
        let response = proxy.get("/page", "If-None-Match: \"v1\"\r\n");
        assert_eq!(process::status(&response), 304);
        let part = proxy.get("/page", "Range: bytes=5-6\r\n");
        assert_eq!((process::status(&part), content(&part)), (206, "is"));
        // After SIGTERM the proxy completes the entries that it is writing.
        let kill = Command::new("kill").args(["-TERM", &proxy.child.id().to_string()]).status();
        assert!(kill.expect("it runs").success() && proxy.child.wait().expect("it ends").success());
    }
    assert_eq!(origin.heads().len(), 2);
}

#[test]
fn a_directory_that_is_not_a_cache_is_not_touched() {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("thesis.txt"), "mine").expect("a file");
    let store = format!("disk:{}", folder.path().display());
    let (output, _, errors) = run(folder.path(), &["get", "--store", &store, "http://127.0.0.1:1/"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("not a Larder cache: choose an empty or a new directory"), "{errors}");
    assert!(folder.path().join("thesis.txt").exists());
}

/// A redis-server. It is killed when this is dropped.
struct Redis(std::process::Child, String);

impl Redis {
    /// Starts the server on a free port.
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it listens").port();
        drop(listener);
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: apt-get install redis-server (or cargo xtask setup)");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self(child, format!("redis://127.0.0.1:{port}/0"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Repeats a request until its `Cache-Status` contains `wanted`. Returns `false` after 2 s.
///
/// The first response may not be stored yet when the second request arrives.
fn becomes(proxy: &Proxy, wanted: &str) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        header(&proxy.get("/page", ""), "cache-status").is_some_and(|how| how.contains(wanted))
    })
}

#[test]
fn two_proxies_and_one_redis() {
    let cache = tempfile::tempdir().expect("a directory");
    let (origin, redis) = (origin(), Redis::start());
    let near = ["--store", "memory:64MiB", "--store", &redis.1];
    let (one, other) = (Proxy::start(&origin.url(), &near), Proxy::start(&origin.url(), &near));
    assert!(becomes(&one, "; hit") && becomes(&other, "; hit"));
    assert_eq!(origin.heads().len(), 1, "one fetch for both");
    for (round, what) in
        [&["--url", "http://example.com/page"][..], &["--prefix", "http://example.com/"], &["--all"]]
            .into_iter()
            .enumerate()
    {
        let mut arguments = vec!["purge", "--store", &redis.1];
        arguments.extend(what);
        let (output, out, errors) = run(cache.path(), &arguments);
        assert!(output.status.success() && out.starts_with("removed"), "{out}{errors}");
        // Both proxies have removed their near copies, and fetch the page once between them.
        one.get("/page", "");
        assert_eq!(origin.heads().len(), round + 2, "{what:?}");
        assert!(becomes(&one, "; hit") && becomes(&other, "; hit"));
        assert_eq!(origin.heads().len(), round + 2, "{what:?}");
    }
    let (output, out, errors) = run(cache.path(), &["stats", "--store", &redis.1]);
    assert!(output.status.success() && out.contains("entries   1\n"), "{out}{errors}");
}

#[test]
fn purging_on_disk() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let store = format!("disk:{}", cache.path().join("store").display());
    let urls = ["/a/1", "/a/2", "/b"].map(|path| format!("{}{path}", origin.url()));
    let mut arguments = vec!["get", "--json", "--store", &store];
    arguments.extend(urls.iter().map(String::as_str));
    run(cache.path(), &arguments);
    let purge = |what: &[&str]| {
        let mut arguments = vec!["purge", "--store", &store];
        arguments.extend(what);
        run(cache.path(), &arguments).1
    };
    let beginning = format!("{}/a", origin.url());
    assert_eq!(purge(&["--prefix", &beginning]), "removed 2\n");
    assert_eq!(purge(&["--url", &urls[2]]), "removed 1\n");
    assert_eq!(purge(&["--url", &urls[2]]), "removed 0\n");
    assert_eq!(purge(&["--tag", "x", "--of", &origin.url()]), "removed the group x\n");
    assert_eq!(purge(&["--tag", "x"]), "removed the tag x\n");
    assert_eq!(purge(&["--all"]), "removed everything\n");
    for wrong in [&["--all", "--url", "http://a/"][..], &[], &["--of", "http://a"]] {
        let mut arguments = vec!["purge", "--store", &store];
        arguments.extend(wrong);
        assert_eq!(run(cache.path(), &arguments).0.status.code(), Some(2), "{wrong:?}");
    }
}

/// Redis was down when the proxy was restarted, and the site went down with it.
#[test]
fn a_proxy_starts_without_its_redis_server_and_logs_that() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let store = "redis://user:secret@127.0.0.1:1/0";
    let proxy = Proxy::start(&origin.url(), &["--store", store]);
    assert_eq!(content(&proxy.get("/page", "")), "this is /page\n");
    let (output, out, err) = run(cache.path(), &["get", "--store", store, &format!("{}/page", origin.url())]);
    assert!(output.status.success() && out == "this is /page\n", "{out} {err}");
    assert!(err.contains("Redis is not available, starting without it"), "{err}");
    let required = format!("{store}?required=true");
    for arguments in [
        vec!["proxy", "--listen", "127.0.0.1:0", "--origin", &*origin.url(), "--store", &*required],
        vec!["get", "--store", &required, &*origin.url()],
        vec!["purge", "--all", "--store", store],
    ] {
        let (output, _, err) = run(cache.path(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
        let expected = "can't open the store redis://…@127.0.0.1:1/0";
        assert!(err.contains(expected) && err.contains("can't be reached"), "{arguments:?}: {err}");
    }
}
