//! What outlives a command: the cache on disk, between one `larder` and the next, and between several at once.

mod process;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use larder_testkit::RawOrigin;
use process::{Proxy, content, field};

/// An origin whose pages say which they are, fresh for an hour.
fn origin() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let page = format!("this is {path}\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600, stale-while-revalidate=60\r\nETag: \"v1\"\r\n\
             Content-Length: {}\r\n\r\n{page}",
            page.len()
        );
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

fn larder(cache: &Path, arguments: &[&str]) -> Command {
    let mut command = process::larder();
    command.env("XDG_CACHE_HOME", cache).args(arguments);
    command
}

fn run(cache: &Path, arguments: &[&str]) -> (Output, String, String) {
    let output = larder(cache, arguments).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn what_one_command_has_fetched_the_next_has() {
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

    let (_, said, _) = run(cache.path(), &["stats"]);
    assert!(said.contains("entries   1\n") && said.contains("look-ups  2, 1 found (50.0 %)"), "{said}");
    let (_, said, _) = run(cache.path(), &["stats", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["entries"], &said["hits"]), (&1.into(), &1.into()));
}

#[test]
fn explain_says_what_and_why() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let url = format!("{}/page", origin.url());
    let (output, said, _) = run(cache.path(), &["explain", &url]);
    assert!(
        output.status.success() && said.contains("nothing is stored under this URL (RFC 9111 §4)"),
        "{said}"
    );
    run(cache.path(), &["get", &url]);
    let (_, said, _) = run(cache.path(), &["explain", &url]);
    for line in [
        "cache-control: max-age=3600, stale-while-revalidate=60",
        "fresh     for 1h, from max-age (§5.2.2.1)",
        "validator \"v1\" (strong, RFC 9110 §8.8.3)",
        "it is served as it is: fresh for ",
        "for 1m more it is served while it is revalidated (RFC 5861 §3)",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let (_, said, _) = run(cache.path(), &["explain", "--header", "Cache-Control: no-cache", &url]);
    assert!(said.contains("RequestNoCache (RFC 9111 §5.2.1.4)"), "{said}");
    assert_eq!(origin.heads().len(), 1, "explaining asks nobody");
    let (_, said, _) = run(cache.path(), &["explain", "--fetch", &format!("{}/other", origin.url())]);
    assert!(said.contains("storable  yes (RFC 9111 §3)"), "{said}");
    let private = RawOrigin::fixed("HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 0\r\n\r\n");
    let (_, said, _) = run(cache.path(), &["explain", "--shared", "--fetch", &private.url()]);
    assert!(said.contains("storable  no: private response in a shared cache (§5.2.2.7)"), "{said}");
}

/// "database is locked"
#[test]
fn two_terminals_on_the_same_thousand_urls() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let urls: Vec<String> = (0..1000).map(|n| format!("{}/{n}", origin.url())).collect();
    let start = || {
        let mut command = larder(cache.path(), &["get", "--json"]);
        command.args(&urls).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let terminals = [start(), start()];
    for terminal in terminals {
        let output = terminal.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(lines.lines().filter(|line| line.contains("\"status\":200")).count(), 1000);
    }
    let before = origin.heads().len();
    assert!((1000..=2000).contains(&before), "{before} requests");
    let output = start().wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(origin.heads().len(), before, "the third had them all");
}

#[test]
fn a_proxy_on_disk_remembers_after_a_restart() {
    let cache = tempfile::tempdir().expect("a directory");
    let origin = origin();
    let store = format!("disk:{}?max=64MiB", cache.path().join("proxy").display());
    let long = format!("/{}", "long".repeat(20));
    for round in 0..2 {
        let mut proxy = Proxy::start(&origin.url(), &["--store", &store]);
        for path in ["/page", &long] {
            let answer = proxy.get(path, "");
            assert_eq!(content(&answer), format!("this is {path}\n"));
            let how = field(&answer, "cache-status").expect("it says how");
            assert_eq!(how.contains("hit"), round == 1, "{round} {path}: {how}");
        }
        let answer = proxy.get("/page", "If-None-Match: \"v1\"\r\n");
        assert_eq!(process::status(&answer), 304);
        let part = proxy.get("/page", "Range: bytes=5-6\r\n");
        assert_eq!((process::status(&part), content(&part)), (206, "is"));
        // What is being written is finished.
        let kill = Command::new("kill").args(["-TERM", &proxy.child.id().to_string()]).status();
        assert!(kill.expect("it runs").success() && proxy.child.wait().expect("it ends").success());
    }
    assert_eq!(origin.heads().len(), 2);
}

#[test]
fn a_directory_that_is_no_cache_is_left_alone() {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("thesis.txt"), "mine").expect("a file");
    let store = format!("disk:{}", folder.path().display());
    let (output, _, said) = run(folder.path(), &["get", "--store", &store, "http://127.0.0.1:1/"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("not a cache of Larder's: name an empty or a new directory"), "{said}");
    assert!(folder.path().join("thesis.txt").exists());
}

/// A redis-server of its own; killed when dropped.
struct Redis(std::process::Child, String);

impl Redis {
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

/// Asks until the answer is stored: a first one may still be on its way there.
fn until(proxy: &Proxy, wanted: &str) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        field(&proxy.get("/page", ""), "cache-status").is_some_and(|how| how.contains(wanted))
    })
}

#[test]
fn two_proxies_and_one_redis() {
    let cache = tempfile::tempdir().expect("a directory");
    let (origin, redis) = (origin(), Redis::start());
    let near = ["--store", "memory:64MiB", "--store", &redis.1];
    let (one, other) = (Proxy::start(&origin.url(), &near), Proxy::start(&origin.url(), &near));
    assert!(until(&one, "; hit") && until(&other, "; hit"));
    assert_eq!(origin.heads().len(), 1, "one fetch for both");
    for (round, what) in
        [&["--url", "http://example.com/page"][..], &["--prefix", "http://example.com/"], &["--all"]]
            .into_iter()
            .enumerate()
    {
        let mut arguments = vec!["purge", "--store", &redis.1];
        arguments.extend(what);
        let (output, said, errors) = run(cache.path(), &arguments);
        assert!(output.status.success() && said.starts_with("removed"), "{said}{errors}");
        // Each hears of it, and the two ask once between them.
        assert!((0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            one.get("/page", "");
            origin.heads().len() == round + 2
        }));
        assert!(until(&one, "; hit") && until(&other, "; hit"));
        assert_eq!(origin.heads().len(), round + 2, "{what:?}");
    }
    let (output, said, errors) = run(cache.path(), &["stats", "--store", &redis.1]);
    assert!(output.status.success() && said.contains("entries   1\n"), "{said}{errors}");
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
    assert_eq!(purge(&["--all"]), "removed everything\n");
    for wrong in [&["--all", "--url", "http://a/"][..], &[], &["--tag", "x"]] {
        let mut arguments = vec!["purge", "--store", &store];
        arguments.extend(wrong);
        assert_eq!(run(cache.path(), &arguments).0.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_said_at_the_start() {
    let cache = tempfile::tempdir().expect("a directory");
    let store = "redis://user:secret@127.0.0.1:1/0";
    let (output, _, said) = run(cache.path(), &["get", "--store", store, "http://127.0.0.1:1/"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("redis://…@127.0.0.1:1/0") && said.contains("can't be reached"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}
