//! The access log of a configuration: which origin has responded, and how long it took.
#![cfg(all(feature = "config", feature = "tls"))]

mod setting;

use std::{io::Write as _, net::TcpListener, path::Path};

use larder_testkit::RawOrigin;
use serde_json::Value;
use setting::running::{Running, content_with};

/// Starts an origin of pages that are fresh for a minute, or for no time.
fn origin() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let (code, control) = match head.split(' ').nth(1) {
            Some("/base/path/fails") => ("503 Unavailable", "no-store"),
            Some("/stale") => ("200 OK", "max-age=0, stale-while-revalidate=60"),
            Some("/never") => ("200 OK", "no-store"),
            _ => ("200 OK", "max-age=60"),
        };
        let response =
            format!("HTTP/1.1 {code}\r\ncache-control: {control}\r\ncontent-length: 4\r\n\r\npage");
        stream.write_all(response.as_bytes()).is_ok()
    })
}

/// Returns the lines of the log for these requests, in their order.
async fn lines(log: &Path, paths: &[&str], proxy: &Running) -> Vec<String> {
    for (count, path) in paths.iter().enumerate() {
        proxy.get(path).await;
        // A line is written in the background.
        while std::fs::read_to_string(log).unwrap_or_default().lines().count() <= count {
            content_with(log, path).await;
        }
    }
    std::fs::read_to_string(log).expect("the log").lines().map(str::to_owned).collect()
}

/// Half of the requests were slow, and the log did not show whether the cache or one of two origins
/// was.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_has_the_origin_and_its_time() {
    let (origin, folder) = (origin(), tempfile::tempdir().expect("a folder"));
    // Nothing listens on this port.
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let gone = format!("http://{gone}");
    let log = folder.path().join("access.log");
    let text = format!(
        "log = {{ access = \"json\", file = \"{}\" }}\n\
         [[route]]\norigins = [\"{gone}\", \"{1}/\"]\n\
         [[route]]\nprefix = \"/gone\"\norigins = \"{gone}\"\n\
         [[route]]\nprefix = \"/path\"\norigins = \"{1}/base\"\nretries = 0\ncompress = true",
        log.display(),
        origin.url()
    );
    let proxy = Running::start(&text).await;
    let base = format!("{}/base", origin.url());
    let url = origin.url();
    let expected = [
        ("/page", Some(&url), true),
        ("/page", None, false),
        ("/never", Some(&url), true),
        ("/stale", Some(&url), true),
        // Served from the store, and revalidated in the background.
        ("/stale", None, false),
        ("/gone", Some(&gone), false),
        ("/path/x", Some(&base), true),
        ("/path/x", None, false),
        ("/path/fails", Some(&base), true),
    ];
    let lines = lines(&log, &expected.map(|(path, ..)| path), &proxy).await;
    for (line, (path, origin, has_time)) in lines.iter().zip(expected) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["target"], path);
        assert_eq!(line["origin"].as_str(), origin.map(String::as_str), "{line}");
        assert_eq!(line["origin_seconds"].is_number(), has_time, "{line}");
        if let Some(seconds) = line["origin_seconds"].as_f64() {
            assert!(seconds > 0.0 && seconds <= line["seconds"].as_f64().expect("a number"), "{line}");
        }
    }
    proxy.stop().await;
}

/// Programs read the first part as the combined format.
#[tokio::test(flavor = "multi_thread")]
async fn an_extended_line_is_one_of_text_with_the_origin() {
    let (origin, folder) = (origin(), tempfile::tempdir().expect("a folder"));
    let log = folder.path().join("access.log");
    let text = format!(
        "log = {{ access = \"extended\", file = \"{}\" }}\n[[route]]\norigins = \"{}\"",
        log.display(),
        origin.url()
    );
    let proxy = Running::start(&text).await;
    let lines = lines(&log, &["/page", "/page"], &proxy).await;
    let (miss, time) = lines[0].rsplit_once(' ').expect("a time");
    assert!(time.parse::<f64>().expect("seconds") > 0.0, "{time}");
    assert!(miss.ends_with(&format!(" \"{}\"", origin.url())), "{miss}");
    assert!(miss.contains("] \"GET /page HTTP/1.1\" 200 4 \"-\" \"-\" \"larder; fwd=uri-miss;"), "{miss}");
    assert!(lines[1].contains("\"larder; hit;") && lines[1].ends_with(" \"-\" -"), "{}", lines[1]);
    proxy.stop().await;
}
