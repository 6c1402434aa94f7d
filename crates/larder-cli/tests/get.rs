//! `larder get` and `larder watch`: output, files, exit codes and signals.

mod process;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_testkit::RawOrigin;
use serde_json::Value;

/// Starts an origin: each page contains its path, and is fresh for an hour. `/old` redirects to
/// `/new`, `/slow` never ends, `/missing` is 404.
fn origin() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let page = format!("this is {path}\n");
        let head = match &*path {
            "/old" => "302 Found\r\nLocation: /new",
            "/missing" => "404 Not Found",
            "/slow" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                return false;
            }
            _ => "200 OK\r\nCache-Control: max-age=3600",
        };
        write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{page}", page.len()).is_ok()
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
    texts(larder(cache, arguments).output().expect("it runs"))
}

/// Returns the output with standard output and standard error as text.
fn texts(output: Output) -> (Output, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// Parses lines of JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Creates a temporary directory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn one_url_and_redirects() {
    let (origin, cache) = (origin(), folder());
    let url = format!("{}/old", origin.url());
    let (output, page, how) = run(cache.path(), &["get", &url]);
    assert_eq!((output.status.code(), &*page), (Some(0), "this is /new\n"));
    // It may be in the store by now.
    assert_eq!(
        how.replace("; stored,", "; detail=storing,"),
        format!("200 {url} (fwd=uri-miss; fwd-status=200; detail=storing, 13 bytes)\n"),
        "a line, and no summary"
    );
    let (output, _, how) = run(cache.path(), &["get", "--only-if-cached", &url.replace("old", "new")]);
    assert!(output.status.success() && how.contains("(hit; "), "{how}");
    let (output, _, how) = run(cache.path(), &["get", "--offline", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(how.contains("not in the cache"), "{how}");
}

#[test]
fn urls_from_standard_input() {
    let (origin, cache, pages) = (origin(), folder(), folder());
    let list: String = ["/a", "/b", "", "# not this one", "/a", "/missing"]
        .map(|path| match path {
            path if path.starts_with('/') => format!("{}{path}\n", origin.url()),
            other => format!("{other}\n"),
        })
        .concat();
    let get = |more: &[&str]| {
        let mut command = larder(cache.path(), &["get", "-"]);
        let piped = command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn().expect("it starts");
        process.stdin.take().expect("piped").write_all(list.as_bytes()).expect("it reads");
        texts(process.wait_with_output().expect("it ends"))
    };
    let (output, _, errors) = get(&["--output", pages.path().to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1), "one is missing");
    assert!(errors.contains("2 misses, 1 failed; ") || errors.contains("3 misses, 1 failed; "), "{errors}");
    let mut files: Vec<_> = std::fs::read_dir(pages.path())
        .expect("it is there")
        .map(|file| file.expect("a file").file_name().into_string().expect("text"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files[0].starts_with("127.0.0.1_") && files[0].ends_with("_a"), "{files:?}");
    let (_, out, err) = get(&["--json"]);
    let mut outcomes: Vec<_> =
        lines(&out).iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect();
    outcomes.sort();
    assert_eq!((outcomes, err), (vec!["hit".to_owned(), "hit".to_owned(), "miss".to_owned()], String::new()));
}

#[test]
fn failures_and_usage_errors() {
    let cache = folder();
    let unused_port = format!(
        "http://127.0.0.1:{}/",
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
    );
    let (output, out, _) =
        run(cache.path(), &["get", "--json", "--retry", "0", &unused_port, "http://no-such-host.invalid/"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = lines(&out);
    let is_refused =
        |line: &serde_json::Value| line["error"].as_str().is_some_and(|error| error.contains("refused"));
    assert!(errors.iter().any(is_refused), "{out}");
    assert!(errors.iter().all(|error| error["kind"] == "Connect"), "{out}");
    let (output, _, errors) = run(cache.path(), &["get", "http://a/", "http://b/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("--output DIR"), "{errors}");
}

/// A process that is killed when this is dropped, also by a panic.
struct KillOnDrop(std::process::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends SIGINT, as Ctrl-C does.
fn interrupt(process: &std::process::Child) {
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
}

/// After Ctrl-C, complete files and responses remain, and incomplete ones are removed.
#[test]
fn ctrl_c_keeps_what_is_complete() {
    let (origin, cache, pages) = (origin(), folder(), folder());
    let (slow, whole) = (format!("{}/slow", origin.url()), format!("{}/whole", origin.url()));
    let mut command =
        larder(cache.path(), &["get", "--output", pages.path().to_str().expect("text"), &whole, &slow]);
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let files = || std::fs::read_dir(pages.path()).expect("it is there").count();
    while files() < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt(&process);
    let (output, _, errors) = texts(process.wait_with_output().expect("it ends"));
    assert_eq!(output.status.signal(), Some(2));
    assert!(errors.contains("interrupted after 1 miss"), "{errors}");
    assert_eq!(files(), 1);
    let (_, _, how) = run(cache.path(), &["get", "--only-if-cached", &whole]);
    assert!(how.contains("(hit; "), "{how}");
}

/// A proxy on the same store does not serve the private responses of `larder get`.
#[test]
fn a_proxy_never_serves_responses_of_get() {
    let (origin, cache, store) = (origin(), folder(), folder());
    let spec = format!("disk:{}", store.path().display());
    run(cache.path(), &["get", "--store", &spec, &format!("{}/mine", origin.url())]);
    let proxy = process::Proxy::start(&origin.url(), &["--store", &spec]);
    let response = proxy.get("/mine", "");
    assert!(response.contains("fwd=uri-miss"), "{response}");
}

#[test]
fn watch_prints_changes_and_runs_a_command() {
    let version = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&version);
    let origin = RawOrigin::start(move |head, stream| {
        let tag = format!("\"{}\"", now.load(Ordering::SeqCst));
        let (status, content) = match head.contains(&tag) {
            true => ("304 Not Modified", String::new()),
            false => ("200 OK", format!("Content-Length: 3\r\n\r\n{tag}")),
        };
        let head = format!("Cache-Control: max-age=60\r\nETag: {tag}\r\n{content}");
        let end = if content.is_empty() { "\r\n" } else { "" };
        write!(stream, "HTTP/1.1 {status}\r\n{head}{end}").is_ok()
    });
    let (cache, url) = (folder(), format!("{}/page?a=b&c=$(d)", origin.url()));
    let log = cache.path().join("log");
    // Appends its argument to a file. Run through a shell, it would be a different command.
    let exec = format!("sh -c 'echo \"$1\" >> {}' sh", log.display());
    let mut command = larder(cache.path(), &["watch", &url, "--every", "150ms", "--exec", &exec]);
    let mut process = KillOnDrop(command.stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut out = BufReader::new(process.0.stdout.take().expect("piped")).lines();
    let mut next = || out.next().expect("a line").expect("text");
    let first = next();
    assert!(first.ends_with(&format!(" first seen {url}")), "{first}");
    version.store(1, Ordering::SeqCst);
    let changed = next();
    assert!(changed.ends_with(&format!(" changed {url} (\"0\" -> \"1\")")), "{changed}");
    while std::fs::read_to_string(&log).unwrap_or_default() != format!("{url}\n") {
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt(&process.0);
    let status = process.0.wait().expect("it ends");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "it ends by the signal");
    // The next command compares with the stored page.
    let once = |expected: &str| {
        let (output, out, _) = run(cache.path(), &["watch", &url, "--once", "--json"]);
        let line = &lines(&out)[0];
        assert_eq!((output.status.code(), line["what"].as_str()), (Some(0), Some(expected)), "{out}");
    };
    once("unchanged");
    let (output, _, errors) = run(cache.path(), &["watch", &url, "--cron", "now and then"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("--cron: 'now and then' is not a cron expression"), "{errors}");
}

#[test]
fn a_har_has_what_was_fetched_without_credentials() {
    let (origin, cache) = (origin(), tempfile::tempdir().expect("a directory"));
    let (file, url) = (cache.path().join("out.har"), origin.url());
    let (file_text, old, missing) =
        (file.display().to_string(), format!("{url}/old"), format!("{url}/missing"));
    let header = "Authorization: Bearer hunter2";
    let arguments = ["get", "--json", "--header", header, "--har", &file_text, &old, &missing];
    run(cache.path(), &arguments);
    let har = std::fs::read_to_string(&file).expect("a file");
    assert!(!har.contains("hunter2") && har.contains("Bearer REDACTED"), "{har}");
    let har: Value = serde_json::from_str(&har).expect("JSON");
    let entries = har["log"]["entries"].as_array().expect("entries");
    let mut seen: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (request, response) = (&entry["request"], &entry["response"]);
            let path = request["url"].as_str().expect("a URL").trim_start_matches(&url).to_owned();
            (path, response["status"].as_u64().expect("a status"), response["content"]["text"].to_string())
        })
        .collect();
    seen.sort();
    let row = |path: &str, status| (path.to_owned(), status, format!("{:?}", format!("this is {path}\n")));
    assert_eq!(seen, [row("/missing", 404), row("/new", 200), row("/old", 302)]);

    // Pages from the cache are not in it.
    run(cache.path(), &["get", "--header", header, "--har", &file_text, &format!("{url}/new")]);
    let har: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    assert_eq!(har["log"]["entries"].as_array().map(Vec::len), Some(0), "{har}");

    let (output, _, err) =
        run(cache.path(), &["get", "--har", "/nonexistent/out.har", &format!("{url}/new")]);
    assert!(!output.status.success() && err.contains("can't write /nonexistent/out.har"), "{err}");
}

/// Three commands that watched the same page each requested it in each round.
#[test]
#[expect(clippy::disallowed_methods, reason = "counts the rounds that have passed")]
fn commands_that_watch_a_page_fetch_it_once_in_each_round() {
    let (cache, start) = (folder(), std::time::Instant::now());
    let origin =
        RawOrigin::fixed("HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nContent-Length: 4\r\n\r\npage");
    let mut watching: Vec<_> = (0..3)
        .map(|_| {
            let mut command = larder(cache.path(), &["watch", "--json", "--every", "1s", &origin.url()]);
            let mut process = KillOnDrop(command.stdout(Stdio::piped()).spawn().expect("it starts"));
            let lines = BufReader::new(process.0.stdout.take().expect("piped")).lines();
            (process, lines)
        })
        .collect();
    let mut elsewhere = 0;
    for _ in 0..4 {
        for (_, out) in &mut watching {
            let line: Value =
                serde_json::from_str(&out.next().expect("a line").expect("text")).expect("JSON");
            assert!(line["next"].is_string() && line["what"] != "failed", "{line}");
            elsewhere += usize::from(line["reason"] == "elsewhere");
        }
    }
    let (requests, rounds) = (origin.heads().len(), start.elapsed().as_secs_f64().ceil() as usize);
    assert!(requests <= rounds + 1 && elsewhere >= 4, "{requests} requests in {rounds} rounds, {elsewhere}");
}

/// Nothing was printed for an hour after a 429, and 60 URLs were sent to a host that had refused
/// the first.
#[test]
fn pauses_of_servers_are_printed() {
    let cache = folder();
    let origin =
        RawOrigin::fixed("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7200\r\nContent-Length: 0\r\n\r\n");
    let urls: Vec<_> = (0..60).map(|n| format!("{}/{n}", origin.url())).collect();
    let mut arguments = vec!["get", "--json", "--per-host", "1"];
    arguments.extend(urls.iter().map(String::as_str));
    for retry in ["--retry=0", "--retry=3"] {
        let (output, out, err) = run(cache.path(), &[&arguments[..], &[retry]].concat());
        assert_eq!(output.status.code(), Some(1));
        let blocked = lines(&out).iter().filter(|line| line["kind"] == "HostBlocked").count();
        assert_eq!((out.lines().count(), blocked), (60, 59), "{out}");
        let expected = format!("larder: {} answered 429: nothing more is sent to it for 2h\n", origin.url());
        assert_eq!(err, expected);
    }
    assert_eq!(origin.heads().len(), 2);
    let (output, _, err) = run(cache.path(), &["watch", "--once", "--max-retry-after", "90s", &urls[0]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("refused: 429 Too Many Requests") && err.contains("next in 1m 30s"), "{err}");
}
