//! The files of `larder get`: complete or not there, whatever servers, connections and other
//! processes do.

mod process;

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use larder_testkit::RawOrigin;

/// Creates a command that uses this cache directory.
fn larder(cache: &Path, arguments: &[&str]) -> Command {
    let mut command = process::larder();
    command.env("XDG_CACHE_HOME", cache).env("RUST_BACKTRACE", "0").args(arguments);
    command
}

/// Runs a command. Returns its output, also as text: standard output and standard error.
fn run(cache: &Path, arguments: &[&str]) -> (Output, String, String) {
    let output = larder(cache, arguments).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// Creates a temporary directory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Returns the names and contents of the files in a directory.
fn files(directory: &Path) -> HashMap<String, String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("a file"))
        .map(|entry| {
            (
                entry.file_name().into_string().expect("text"),
                fs::read_to_string(entry.path()).expect("a page"),
            )
        })
        .collect()
}

/// The nightly copy of a site was replaced by the error pages of its maintenance window.
#[test]
fn an_error_page_replaces_no_file() {
    let (cache, pages) = (folder(), folder());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let origin = RawOrigin::start(move |_, stream| {
        let (status, page) = match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => ("200 OK\r\nCache-Control: no-store", "good"),
            1 => ("503 Service Unavailable", "down for maintenance"),
            _ => ("404 Not Found", "no such page"),
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{page}", page.len()).is_ok()
    });
    let url = format!("{}/page", origin.url());
    let path = pages.path().join("mine").display().to_string();
    let directory = pages.path().display().to_string();
    for (arguments, expected, is_kept) in [
        (["--output", &directory], Some(0), false),
        (["--output", &directory], Some(1), true),
        (["-o", &path], Some(0), false),
        (["-o", &path], Some(1), true),
        (["--output", &directory], Some(1), true),
    ] {
        let arguments = [&["get", "--json", "--retry", "0"], &arguments[..], &[&url]].concat();
        let (output, out, err) = run(cache.path(), &arguments);
        assert_eq!(output.status.code(), expected, "{out}{err}");
        let line: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(line["file"].is_null(), is_kept, "{out}");
        assert!(files(pages.path()).values().all(|page| page == "good"), "{arguments:?}");
    }
    assert_eq!(files(pages.path()).len(), 2);
}

/// Starts a server that breaks off bodies after half, twice for each path. `/tagged` has a strong
/// entity tag and sends ranges, `/changing` has another tag each time, `/plain` has none.
fn breaking() -> RawOrigin {
    let attempts: Mutex<HashMap<String, usize>> = Mutex::default();
    RawOrigin::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let attempt = {
            let mut attempts = attempts.lock().expect("no panic");
            let attempt = attempts.entry(path.clone()).or_default();
            *attempt += 1;
            *attempt
        };
        let letter = if path == "/changing" { char::from(b'a' + attempt as u8) } else { 'x' };
        let page = letter.to_string().repeat(40_000);
        let tag = match &*path {
            "/tagged" => "ETag: \"v1\"\r\n".to_owned(),
            "/changing" => format!("ETag: \"v{attempt}\"\r\n"),
            _ => String::new(),
        };
        let lower = head.to_ascii_lowercase();
        let from = lower.lines().find_map(|line| {
            let first = line.strip_prefix("range: bytes=")?.strip_suffix('-')?;
            let matches = lower.contains("if-range: \"v1\"") && path == "/tagged";
            matches.then(|| first.parse::<usize>().expect("a position"))
        });
        let (status, part) = match from {
            Some(from) => {
                (format!("206 Partial Content\r\nContent-Range: bytes {from}-39999/40000"), &page[from..])
            }
            None => ("200 OK".to_owned(), &page[..]),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nCache-Control: max-age=60\r\n{tag}Content-Length: {}\r\n\r\n",
            part.len()
        );
        let end = if attempt <= 2 { part.len() / 2 } else { part.len() };
        stream.write_all(head.as_bytes()).is_ok()
            && stream.write_all(&part.as_bytes()[..end]).is_ok()
            && end == part.len()
    })
}

/// `--retry 2` sent one request for a body that broke off, and failed.
#[test]
fn a_body_that_breaks_off_is_continued_or_fetched_again() {
    for (path, letter) in [("/tagged", "x"), ("/plain", "x"), ("/changing", "d")] {
        let (origin, cache, pages) = (breaking(), folder(), folder());
        let url = format!("{}{path}", origin.url());
        let file = pages.path().join("file").display().to_string();
        let (output, _, err) = run(cache.path(), &["get", "--retry", "2", "-o", &file, &url]);
        assert_eq!(output.status.code(), Some(0), "{path}: {err}");
        assert_eq!(files(pages.path()), [("file".to_owned(), letter.repeat(40_000))].into(), "{path}");
        let heads = origin.heads();
        assert_eq!(heads.len(), 3, "{heads:?}");
        let ranges: Vec<_> =
            heads.iter().map(|head| head.to_ascii_lowercase().contains("range: bytes=")).collect();
        assert!(!ranges[0]);
        assert_eq!(ranges[1], path != "/plain", "{path}");
    }
    // Without enough retries it is an error, and no file.
    let (origin, cache, pages) = (breaking(), folder(), folder());
    let url = format!("{}/tagged", origin.url());
    let file = pages.path().join("file").display().to_string();
    let (output, _, err) = run(cache.path(), &["get", "--retry", "1", "-o", &file, &url]);
    assert!(output.status.code() == Some(1) && err.contains("incomplete"), "{err}");
    assert!(files(pages.path()).is_empty());
}

/// To standard output, a rest is appended. A body that would begin again is an error, since a part
/// was printed.
#[test]
fn standard_output_is_continued_but_never_begun_again() {
    let (origin, cache) = (breaking(), folder());
    let (output, out, err) = run(cache.path(), &["get", "--retry", "2", &format!("{}/tagged", origin.url())]);
    assert_eq!((output.status.code(), out.len()), (Some(0), 40_000), "{err}");
    let (output, out, err) = run(cache.path(), &["get", "--retry", "2", &format!("{}/plain", origin.url())]);
    assert!(output.status.code() == Some(1) && out.len() <= 20_000, "{}", out.len());
    assert!(err.contains("the connection broke after a part was printed"), "{err}");
}

/// Whatever watches the directory rebuilt everything after each run.
#[test]
fn unchanged_files_are_not_touched() {
    let (cache, pages) = (folder(), folder());
    let origin = RawOrigin::start(|head, stream| {
        let fields =
            "ETag: \"v1\"\r\nLast-Modified: Tue, 24 Nov 2026 08:49:37 GMT\r\nCache-Control: max-age=60";
        if head.to_ascii_lowercase().contains("if-none-match") {
            return write!(stream, "HTTP/1.1 304 Not Modified\r\n{fields}\r\n\r\n").is_ok();
        }
        write!(stream, "HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: 4\r\n\r\npage").is_ok()
    });
    let url = format!("{}/page", origin.url());
    let directory = pages.path().display().to_string();
    let get = |arguments: &[&str]| {
        let arguments = [&["get", "--output", &directory], arguments, &[&*url]].concat();
        let (output, _, err) = run(cache.path(), &arguments);
        assert!(output.status.success(), "{err}");
        let mut all = fs::read_dir(pages.path()).expect("a directory");
        let file = all.next().expect("a file").expect("a file").path();
        assert!(all.next().is_none(), "no other file");
        file
    };
    let file = get(&[]);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let set = |time| fs::File::options().append(true).open(&file).expect("a file").set_modified(time);
    set(long_ago).expect("its owner");
    for arguments in [&[][..], &["--reload"], &["--store", "memory"]] {
        get(arguments);
        let modified = fs::metadata(&file).and_then(|file| file.modified()).expect("a time");
        assert_eq!(modified, long_ago, "{arguments:?}");
    }
    // As in curl, -R sets the time of the server.
    get(&["-R"]);
    let modified = fs::metadata(&file).and_then(|file| file.modified()).expect("a time");
    assert_eq!(modified, SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_510_177));
    fs::write(&file, "another page").expect("a file");
    get(&["--remote-time"]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), "page");
    let modified = fs::metadata(&file).and_then(|file| file.modified()).expect("a time");
    assert_eq!(modified, SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_510_177));
}

/// Two commands on one folder wrote into the same `.part` file, and mixed their pages.
#[test]
fn many_processes_write_one_folder() {
    let pages = folder();
    let version = AtomicUsize::new(0);
    let origin = RawOrigin::start(move |_, stream| {
        // Each response has another content, of one letter, in chunks.
        let letter = char::from(b'a' + (version.fetch_add(1, Ordering::SeqCst) % 26) as u8);
        let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 200000\r\n\r\n";
        let chunk = letter.to_string().repeat(20_000);
        stream.write_all(head.as_bytes()).is_ok()
            && (0..10).all(|_| stream.write_all(chunk.as_bytes()).is_ok())
    });
    let urls: Vec<_> = (0..4).map(|n| format!("{}/{n}", origin.url())).collect();
    let caches: Vec<_> = (0..6).map(|_| folder()).collect();
    let start = |cache: &tempfile::TempDir| {
        let mut command = larder(cache.path(), &["get", "--output", &pages.path().display().to_string()]);
        command.args(&urls).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let commands: Vec<_> = caches.iter().map(start).collect();
    for command in commands {
        let output = command.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let files = files(pages.path());
    assert_eq!(files.len(), 4, "{:?}", files.keys());
    for (name, page) in files {
        let first = page.chars().next().expect("a page");
        assert!(page.len() == 200_000 && page.chars().all(|c| c == first), "{name} is mixed");
    }
}

/// Names of alike URLs changed from run to run, since the first response got the first name.
#[test]
fn alike_urls_get_the_same_names_in_each_run() {
    let cache = folder();
    let slow_first = RawOrigin::start(|head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if path.ends_with("?a") {
            std::thread::sleep(Duration::from_millis(200));
        }
        let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{path}", path.len()).is_ok()
    });
    let pages = folder();
    // The same in the characters that a name can have.
    let urls = ["/x?a", "/x/a", "/x_a"].map(|path| format!("{}{path}", slow_first.url()));
    let directory = pages.path().display().to_string();
    let mut arguments = vec!["get", "--output", &directory];
    arguments.extend(urls.iter().map(String::as_str));
    assert!(run(cache.path(), &arguments).0.status.success());
    let files = files(pages.path());
    let name = |suffix: &str| {
        let name =
            format!("{}_x_a{suffix}", slow_first.url().trim_start_matches("http://").replace(':', "_"));
        files.get(&name).cloned().unwrap_or_default()
    };
    assert_eq!([name(""), name(".2"), name(".3")], ["/x?a", "/x/a", "/x_a"], "{files:?}");
}

/// A file that may not be written stays, and the error states it.
#[test]
fn files_that_cannot_be_written_are_errors() {
    let (cache, pages) = (folder(), folder());
    let origin = RawOrigin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage");
    let missing = pages.path().join("missing").join("file").display().to_string();
    let directory = pages.path().display().to_string();
    for path in [&missing, &directory, "/dev/full"] {
        let (output, _, err) = run(cache.path(), &["get", "--retry", "0", "-o", path, &origin.url()]);
        assert!(output.status.code() == Some(1) && err.contains("can't write /"), "{path}: {err}");
    }
    let (output, _, err) = run(cache.path(), &["get", "-O", &format!("{}/", origin.url())]);
    assert!(output.status.code() == Some(1) && err.contains("no file name for -O"), "{err}");
}

/// The page after a repeated URL went to the file of the repetition, and replaced what was there.
#[test]
fn a_repeated_url_takes_no_file_of_another() {
    let (cache, pages) = (folder(), folder());
    let origin = RawOrigin::start(|head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).is_ok()
    });
    let file = |name: &str| pages.path().join(name).display().to_string();
    let (one, other) = (format!("{}/one", origin.url()), format!("{}/other", origin.url()));
    let arguments = ["get", "-o", &file("a"), "-o", &file("b"), "-o", &file("c"), &one, &one, &other];
    let (output, _, errors) = run(cache.path(), &arguments);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("is repeated"), "{errors}");
    let expected = [("a", "/one"), ("c", "/other")].map(|(name, page)| (name.to_owned(), page.to_owned()));
    assert_eq!(files(pages.path()), HashMap::from(expected));
}
