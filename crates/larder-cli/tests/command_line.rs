//! The command line as people use it: URLs as they paste them, the options of curl, closed pipes,
//! full disks, Ctrl-C.

mod process;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use larder_testkit::RawOrigin;
use serde_json::Value;

/// Starts an origin that answers with the head of the request, fresh for an hour. `/slow` never
/// ends.
fn echo() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        if head.starts_with("GET /slow") {
            let begun = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun");
            while begun.is_ok() && stream.write_all(b"x").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            return false;
        }
        let content = if head.starts_with("HEAD") { "" } else { head };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nX-Of: origin\r\nContent-Length: {}\r\n\r\n{content}",
            head.len()
        )
        .is_ok()
    })
}

/// Creates a command that uses this cache directory.
fn larder(cache: &Path, arguments: &[&str]) -> Command {
    let mut command = process::larder();
    command.env("XDG_CACHE_HOME", cache).env("RUST_BACKTRACE", "0").args(arguments);
    command
}

/// Runs a command with this standard input. Returns its output, also as text.
fn run_with(cache: &Path, arguments: &[&str], input: &[u8]) -> (Output, String, String) {
    let mut command = larder(cache, arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = piped.spawn().expect("it starts");
    process.stdin.take().expect("piped").write_all(input).expect("it reads");
    let output = process.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// Runs a command. Returns its output, also as text: standard output and standard error.
fn run(cache: &Path, arguments: &[&str]) -> (Output, String, String) {
    run_with(cache, arguments, b"")
}

/// Creates a temporary directory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// `larder get 'http://host/Manü'` was a usage error, and worked from a file.
#[test]
fn urls_are_the_same_as_arguments_and_in_lists() {
    let (origin, cache) = (echo(), folder());
    let host = origin.url().replace("http://", "");
    for (url, line) in [
        (format!("http://{host}/Man\u{fc}"), "GET /Man%C3%BC HTTP/1.1"),
        (format!("http://{host}/a b?c d"), "GET /a%20b?c%20d HTTP/1.1"),
        (format!("{host}/guessed"), "GET /guessed HTTP/1.1"),
        (format!("http://me:it%3As@{host}/mine"), "authorization: Basic bWU6aXQ6cw=="),
        (format!("  http://{host}/spaces\t"), "GET /spaces HTTP/1.1"),
        (format!("http://{host}/part#of"), "GET /part HTTP/1.1"),
    ] {
        let (output, page, err) = run(cache.path(), &["get", "--store", "memory", &url]);
        assert!(output.status.success() && page.contains(line), "{url}: {page}{err}");
        let (output, out, err) =
            run_with(cache.path(), &["get", "--json", "--store", "memory", "-"], url.as_bytes());
        let json: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{url}: {out}{err}"));
        let shown = url.trim().replace("me:it%3As@", "me:…@");
        assert!(output.status.success() && json["url"] == shown, "{url}: {out}{err}");
        assert!(!err.contains("it%3As"), "{err}");
        for command in [&["explain"][..], &["purge", "--store", "memory", "--url"]] {
            let arguments = [command, &[&url]].concat();
            let (_, _, err) = run(cache.path(), &arguments);
            assert!(!err.contains("is not a URL") && !err.contains("it%3As"), "{arguments:?}: {err}");
        }
    }
    // A name of another script is looked up in its ASCII form.
    let (_, _, err) = run(cache.path(), &["get", "--retry", "0", "http://b\u{fc}cher.invalid/"]);
    assert!(err.contains("could not connect"), "{err}");
    for wrong in ["ftp://example.com/", "http://", "http://a b/"] {
        let (output, _, err) = run(cache.path(), &["get", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {err}");
        let (output, out, _) = run_with(cache.path(), &["get", "--json", "-"], wrong.as_bytes());
        let json: Value = serde_json::from_str(&out).expect("one line");
        assert_eq!((output.status.code(), json["url"].as_str()), (Some(1), Some(wrong)));
        assert!(json["error"].is_string() && json["kind"].is_null(), "{out}");
    }
}

/// A list with a Latin-1 byte ended there without a word, and the URLs after it were not fetched.
#[test]
fn a_list_of_urls_is_read_to_its_end() {
    let (origin, cache) = (echo(), folder());
    let mut list = b"\xEF\xBB\xBF".to_vec();
    for path in [&b"/1"[..], b"/M\xFCller", b"/3"] {
        list.extend_from_slice(origin.url().as_bytes());
        list.extend_from_slice(path);
        list.extend_from_slice(b"\r\n");
    }
    let (output, out, err) = run_with(cache.path(), &["get", "--json", "-"], &list);
    assert!(output.status.success() && out.lines().count() == 3, "{out}{err}");
    assert!(origin.heads().iter().any(|head| head.starts_with("GET /M%FCller ")), "{:?}", origin.heads());
}

/// Runs a command into a pipe without a reader, or onto a full disk.
fn run_into(cache: &Path, arguments: &[&str], full: bool) -> (Option<i32>, String) {
    let mut command = larder(cache, arguments);
    command.stderr(Stdio::piped());
    let process = if full {
        let device = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        command.stdout(device).spawn().expect("it starts")
    } else {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let process = command.stdout(writer).spawn().expect("it starts");
        drop(command);
        process
    };
    let output = process.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// `larder stats | head -1` panicked with a backtrace.
#[test]
fn closed_pipes_and_full_disks_are_no_panics() {
    let (origin, cache) = (echo(), folder());
    let url = format!("{}/page", origin.url());
    let other = format!("{}/other", origin.url());
    run(cache.path(), &["get", &url]);
    for arguments in [
        &["stats"][..],
        &["stats", "--json"],
        &["explain", &url],
        &["explain", "--fetch", &url],
        &["get", &url],
        &["get", "-i", &url],
        &["get", "--json", &url, &other],
        &["watch", "--once", "--json", &url],
        &["watch", "--json", "--every", "1s", &url],
        &["purge", "--url", "http://example.com/"],
    ] {
        let (code, err) = run_into(cache.path(), arguments, false);
        assert!(
            code == Some(0) && !err.contains("panicked") && !err.contains("pipe"),
            "{arguments:?}: {err}"
        );
        let (code, err) = run_into(cache.path(), arguments, true);
        let reason = "larder: can't write standard output: No space left on device";
        assert!(code == Some(1) && err.contains(reason), "{arguments:?}: {code:?} {err}");
    }
    // The reader of standard error is gone, too.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = larder(cache.path(), &["get", &url]);
    let status = command.stdout(Stdio::null()).stderr(writer).status().expect("it runs");
    assert_eq!(status.code(), Some(0));
}

/// A shell loop went on after Ctrl-C, because the command ended with exit code 1.
#[test]
fn ctrl_c_ends_a_loop_of_a_shell() {
    use std::os::unix::process::ExitStatusExt as _;
    let (origin, cache) = (echo(), folder());
    let url = format!("{}/slow", origin.url());
    for arguments in [&["get", &url][..], &["watch", "--once", &url]] {
        let before = origin.heads().len();
        let mut command = larder(cache.path(), arguments);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        while origin.heads().len() == before {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if arguments[0] == "get" {
            let mut begun = [0; 5];
            process.stdout.take().expect("piped").read_exact(&mut begun).expect("the beginning");
        }
        let sent = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        let status = process.wait().expect("it ends");
        assert_eq!((status.code(), status.signal()), (None, Some(2)), "{arguments:?}");
    }
}

#[test]
fn options_of_curl() {
    let (origin, cache) = (echo(), folder());
    let url = format!("{}/dir/page.txt?q=1", origin.url());
    let get = |arguments: &[&str]| {
        let arguments = [&["get", "--store", "memory", "-sS"], arguments, &[&url]].concat();
        let (output, out, err) = run(cache.path(), &arguments);
        assert!(output.status.success() && err.is_empty(), "{arguments:?}: {err}");
        out.to_lowercase()
    };
    for (arguments, expected) in [
        (&["-H", "X-A: 1", "-H", "X-A: 2"][..], &["x-a: 1\r\n", "x-a: 2\r\n"][..]),
        (&["--header", "X-A: 1", "--header", "X-A: 2"], &["x-a: 1\r\n", "x-a: 2\r\n"]),
        (&["-H", "User-Agent: me"], &["user-agent: me\r\n"]),
        (&["-H", "X-Empty;"], &["x-empty: \r\n"]),
        (&["-u", "me:it:s"], &["authorization: basic bwu6axq6cw==\r\n"]),
        (&["-X", "PUT"], &["put /dir/page.txt"]),
        (&["-d", "a=1", "-d", "b=2"], &["post /dir", "urlencoded\r\n", "content-length: 7\r\n"]),
        (&["-d", "{}", "-H", "Content-Type: application/json"], &["type: application/json\r\n"]),
        (&["-i"], &["http/1.1 200 ok\r\n", "x-of: origin\r\n", "\r\n\r\nget /dir"]),
        (&["-I"], &["http/1.1 200 ok\r\n", "x-of: origin\r\n"]),
        (&["-L", "-k"], &["get /dir"]),
    ] {
        let out = get(arguments);
        for expected in expected {
            assert!(out.contains(expected), "{arguments:?}: {expected:?} is missing in {out}");
        }
    }
    assert!(origin.heads().iter().any(|head| head.starts_with("HEAD /dir")));
    let without = get(&["-H", "User-Agent:"]);
    assert!(!without.contains("user-agent"), "{without}");

    // -o and -O: files, under the names of curl.
    let here = folder();
    let file = |name: &str| std::fs::read_to_string(here.path().join(name)).unwrap_or_default();
    for (arguments, name) in [(&["-O"][..], "page.txt"), (&["-o", "mine"], "mine")] {
        let mut command = larder(cache.path(), &[&["get", "-s"], arguments, &[&url]].concat());
        let output = command.current_dir(here.path()).output().expect("it runs");
        assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
        assert!(file(name).starts_with("GET /dir/page.txt?q=1 "), "{name}");
    }
    assert!(get(&["-o", "/dev/null"]).is_empty());
    assert!(get(&["-o", "-"]).starts_with("get /dir"));
    let (output, _, err) = run(cache.path(), &["get", "-o", "a", &url, &format!("{url}2")]);
    assert!(output.status.code() == Some(2) && err.contains("each URL needs its own -o"), "{err}");
    // Silent, and with errors.
    let unused = "http://127.0.0.1:1/";
    for (arguments, has_error) in [(&["-s"][..], false), (&["-s", "-S"], true), (&[], true)] {
        let (output, _, err) = run(cache.path(), &[&["get", "--retry", "0"], arguments, &[unused]].concat());
        assert!(output.status.code() == Some(1) && err.is_empty() != has_error, "{arguments:?}: {err}");
    }
}

#[test]
fn compressed_responses_are_requested_and_decompressed() {
    let cache = folder();
    // "compressed\n", by gzip.
    let gzip = [
        31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 75, 206, 207, 45, 40, 74, 45, 46, 78, 77, 225, 2, 0, 187, 109, 79,
        200, 11, 0, 0, 0,
    ];
    let origin = RawOrigin::start(move |head, stream| {
        let accepts = head
            .to_ascii_lowercase()
            .lines()
            .any(|line| line.starts_with("accept-encoding:") && line.contains("gzip"));
        let coding = if accepts { "Content-Encoding: gzip\r\n" } else { "" };
        let body = if accepts { &gzip[..] } else { b"plain\n" };
        let head = format!("HTTP/1.1 200 OK\r\n{coding}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).is_ok() && stream.write_all(body).is_ok()
    });
    for (arguments, expected) in [(&["get"][..], "plain\n"), (&["get", "--compressed"], "compressed\n")] {
        let (output, out, err) =
            run(cache.path(), &[arguments, &["--store", "memory", &origin.url()]].concat());
        assert_eq!((output.status.code(), &*out), (Some(0), expected), "{err}");
    }
}

/// An operator of a private CA could not use the command at all.
#[test]
fn certificates_of_ones_own() {
    let (cache, here) = (folder(), folder());
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let path = |name: &str| here.path().join(name).display().to_string();
    std::fs::write(path("cert"), certified.cert.pem()).expect("a file");
    std::fs::write(path("key"), certified.signing_key.serialize_pem()).expect("a file");
    std::fs::write(path("empty"), "").expect("a file");
    let origin = echo();
    let proxy =
        process::Proxy::start(&origin.url(), &["--tls-cert", &path("cert"), "--tls-key", &path("key")]);
    let url = format!("https://{}/", proxy.address);
    let get = |arguments: &[&str]| {
        let arguments = [&["get", "--retry", "0", "--store", "memory"], arguments, &[&*url]].concat();
        let (output, _, err) = run(cache.path(), &arguments);
        (output.status.code(), err)
    };
    assert_eq!(get(&["--cacert", &path("cert")]).0, Some(0));
    assert_eq!(get(&["-k"]).0, Some(0));
    let (code, err) = get(&[]);
    assert!(code == Some(1) && err.contains("certificate"), "{err}");
    for wrong in ["empty", "missing"] {
        let (code, err) = get(&["--cacert", &path(wrong)]);
        assert!(code == Some(2) && err.contains("--cacert"), "{err}");
    }
}

#[test]
fn impossible_durations_are_usage_errors() {
    let cache = folder();
    for arguments in [
        &["watch", "--every", "500000000000y", "http://127.0.0.1:1/"][..],
        &["watch", "--jitter", "500000000000y", "http://127.0.0.1:1/"],
        &["get", "--timeout", "500000000000y", "http://127.0.0.1:1/"],
    ] {
        let (output, _, err) = run(cache.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
    }
}

/// Users could not find the cache, and `larder purge` without a store was an error.
#[test]
fn the_default_store_has_an_address_and_can_be_purged() {
    let (origin, cache) = (echo(), folder());
    let url = format!("{}/page", origin.url());
    run(cache.path(), &["get", &url]);
    let address = format!("disk:{}", cache.path().join("larder").join("http").display());
    let (_, out, _) = run(cache.path(), &["stats"]);
    assert!(out.starts_with(&format!("store     {address}\nentries   1\n")), "{out}");
    let (_, out, _) = run(cache.path(), &["stats", "--json"]);
    let stats: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(stats["store"], address);
    for command in ["get", "watch", "explain", "stats", "purge"] {
        for help in ["-h", "--help"] {
            let (_, out, _) = run(cache.path(), &[command, help]);
            let words: String = out.split_whitespace().collect();
            assert!(words.contains(&address), "{command} {help}: {out}");
        }
    }
    let (output, out, err) = run(cache.path(), &["purge", "--url", &url]);
    assert!(output.status.success() && out == "removed 1\n", "{out}{err}");
}

/// The error of `--json` had its text twice.
#[test]
fn json_has_each_error_once_on_one_line() {
    let cache = folder();
    let (output, out, err) = run(cache.path(), &["get", "--json", "--retry", "0", "http://127.0.0.1:1/"]);
    assert_eq!((output.status.code(), out.lines().count(), &*err), (Some(1), 1, ""));
    let json: Value = serde_json::from_str(&out).expect("JSON");
    let error = json["error"].as_str().expect("an error");
    assert!(error.matches("refused").count() == 1 && error.matches("http://").count() == 1, "{error}");
}

#[test]
fn a_rate_spaces_requests_and_hits_are_free() {
    let (origin, cache) = (echo(), folder());
    let urls: Vec<_> = (0..4).map(|n| format!("{}/{n}", origin.url())).collect();
    let get = |rate: &str| {
        let mut arguments = vec!["get", "--json", "--rate", rate];
        arguments.extend(urls.iter().map(String::as_str));
        run(cache.path(), &arguments)
    };
    assert!(get("20/s").0.status.success());
    let (output, out, _) = get("1/d");
    assert!(output.status.success() && out.matches("\"outcome\":\"hit\"").count() == 4, "{out}");
    for wrong in ["fast", "0/s", "2/parsec"] {
        let (output, _, err) = get(wrong);
        assert!(output.status.code() == Some(2) && err.contains("e.g. 2/s"), "{err}");
    }
}

/// The lines of a slow list appear as they are fetched, not at its end.
#[test]
fn results_appear_while_the_list_is_read() {
    let (origin, cache) = (echo(), folder());
    let mut command = larder(cache.path(), &["get", "--json", "-"]);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut list = process.stdin.take().expect("piped");
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    for n in 0..3 {
        writeln!(list, "{}/{n}", origin.url()).expect("it reads");
        let line = lines.next().expect("a line").expect("text");
        assert!(line.contains(&format!("/{n}\"")), "{line}");
    }
    drop(list);
    assert!(process.wait().expect("it ends").success());
}
