//! HAR: what browsers and tools write is imported, and what is exported is whole and imported
//! again.

mod common;

use bytes::Bytes;
use common::{Counting, NoNetwork, files, open, options, request, send};
use http::Response;
use larder_cassette::{Cassette, CassetteErrorKind, CassetteOptions, Mode};
use larder_core::{Body, Origin as _};
use larder_testkit::FnOrigin;
use serde_json::Value;
use tempfile::tempdir;

/// As Chrome exports it: pseudo-fields of HTTP/2, members of its own, decoded content, cookies
/// joined by line feeds, and entries without a response.
const CHROME: &str = r#"{
  "log": {
    "version": "1.2",
    "creator": { "name": "WebInspector", "version": "537.36" },
    "pages": [],
    "entries": [
      {
        "_connectionId": "1", "_initiator": { "type": "script" }, "_priority": "High", "_resourceType": "fetch",
        "cache": {},
        "request": {
          "method": "POST", "url": "https://api.example.com/login?x=1#top", "httpVersion": "h2",
          "headers": [
            { "name": ":authority", "value": "api.example.com" },
            { "name": ":method", "value": "POST" },
            { "name": "content-type", "value": "application/json" },
            { "name": "authorization", "value": "Bearer hunter2" },
            { "name": "content-length", "value": "13" }
          ],
          "queryString": [{ "name": "x", "value": "1" }], "cookies": [], "headersSize": -1, "bodySize": 13,
          "postData": { "mimeType": "application/json", "text": "{\"name\":\"a\"}" }
        },
        "response": {
          "status": 200, "statusText": "", "httpVersion": "h2",
          "headers": [
            { "name": "content-encoding", "value": "br" },
            { "name": "content-type", "value": "text/html; charset=ISO-8859-1" },
            { "name": "content-length", "value": "9" },
            { "name": "set-cookie", "value": "a=1; Path=/\nb=2" }
          ],
          "cookies": [], "content": { "size": 6, "mimeType": "text/html", "compression": -3, "text": "caf\u00e9!" },
          "redirectURL": "", "headersSize": -1, "bodySize": -1, "_transferSize": 200, "_error": null
        },
        "serverIPAddress": "10.0.0.1",
        "startedDateTime": "2026-01-01T12:00:00.500+02:00", "time": 12.345,
        "timings": { "blocked": 1.2, "dns": -1, "ssl": -1, "connect": -1, "send": 0.1, "wait": 11, "receive": 0.04 }
      },
      {
        "request": { "method": "GET", "url": "https://api.example.com/first", "httpVersion": "http/1.1", "headers": [] },
        "response": { "status": 304, "headers": [], "content": { "size": 500 } },
        "startedDateTime": "2026-01-01T10:00:00.000Z", "time": 0
      },
      {
        "request": { "method": "GET", "url": "https://ads.example.com/x?secret=hunter2", "headers": [] },
        "response": { "status": 0, "headers": [], "content": { "size": 0 }, "_error": "net::ERR_BLOCKED_BY_CLIENT" },
        "startedDateTime": "2026-01-01T10:00:01.000Z"
      },
      {
        "request": { "method": "GET", "url": "https://api.example.com/video", "headers": [] },
        "response": { "status": 200, "headers": [], "content": { "size": 1000000, "mimeType": "video/mp4" } }
      },
      {
        "request": { "method": "GET", "url": "data:image/png;base64,AA" },
        "response": { "status": 200, "content": { "text": "AA", "encoding": "base64" } }
      },
      {
        "_resourceType": "websocket",
        "request": { "method": "GET", "url": "https://api.example.com/ws", "headers": [] },
        "response": { "status": 101, "headers": [], "content": { "size": 0 } }
      }
    ]
  }
}"#;

#[tokio::test]
async fn the_har_of_chrome_is_imported() {
    let directory = tempdir().unwrap();
    let import = open(directory.path(), Mode::RecordMissing).import_har(CHROME.as_bytes()).unwrap();
    assert_eq!(import.imported(), 2);
    let skipped: Vec<_> = import.skipped().iter().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        [
            "entry 2 (GET https://ads.example.com/x): there was no response (net::ERR_BLOCKED_BY_CLIENT)",
            "entry 3 (GET https://api.example.com/video): the HAR does not have the content of the response",
            "entry 4 (GET data:image/png;base64,AA): the URL is not one of HTTP",
            "entry 5 (GET https://api.example.com/ws): a WebSocket cannot be replayed",
        ]
    );
    assert_eq!(files(directory.path()).len(), 2);

    let cassette = open(directory.path(), Mode::Replay);
    let [first, login] = &*cassette.exchanges() else { panic!("two exchanges") };
    assert_eq!(first.request.url.path(), "/first", "by the time of their beginnings");
    assert!(login.request.headers["authorization"] == "Bearer REDACTED");
    assert!(login.request.headers.keys().all(|name| !name.as_str().starts_with(':')));

    let mut request = request("POST", "https://api.example.com/login?x=1", r#"{"name": "a"}"#);
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let response = cassette.origin(NoNetwork).fetch(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert!(!response.headers().contains_key("content-encoding"), "the content is decoded");
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(response.headers()["content-length"], "6");
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=REDACTED; Path=/", "b=REDACTED"]);
    assert_eq!(response.into_body().into_bytes(100).await.unwrap(), "caf\u{e9}!");
}

/// As Firefox exports it: form fields without text, content in Base64, no `_` members.
#[tokio::test]
async fn the_har_of_firefox_is_imported() {
    let har = r#"{"log":{"version":"1.2","creator":{"name":"Firefox","version":"140"},"entries":[{
        "startedDateTime":"2026-01-01T12:00:00.000+01:00","time":5,
        "request":{"bodySize":13,"method":"POST","url":"http://example.com/form","httpVersion":"HTTP/1.1",
            "headers":[{"name":"Content-Type","value":"application/x-www-form-urlencoded"},{"name":"Connection","value":"keep-alive"}],
            "postData":{"mimeType":"application/x-www-form-urlencoded","params":[{"name":"a b","value":"\u00e9&"},{"name":"c","value":""}],"text":""}},
        "response":{"status":200,"statusText":"OK","httpVersion":"HTTP/1.1",
            "headers":[{"name":"Transfer-Encoding","value":"chunked"},{"name":"Content-Type","value":"image/png"}],
            "content":{"mimeType":"image/png","size":4,"encoding":"base64","text":"iVBORw=="}},
        "cache":{},"timings":{"blocked":0,"dns":0,"connect":0,"ssl":0,"send":0,"wait":5,"receive":0}}]}}"#;
    let with_mark = format!("\u{feff}{har}");
    let cassette = Cassette::from_har(with_mark.as_bytes(), CassetteOptions::default()).unwrap();
    let request = || {
        let mut request = request("POST", "http://example.com/form", "a+b=%C3%A9%26&c=");
        request.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        request
    };
    let response = cassette.origin(NoNetwork).fetch(request()).await.unwrap();
    assert!(!response.headers().contains_key("transfer-encoding"));
    assert_eq!(response.into_body().into_bytes(100).await.unwrap(), &b"\x89PNG"[..]);
    cassette.assert_all_used();
}

#[test]
fn what_is_no_har_is_an_error() {
    for (har, text) in [
        ("", "the HAR is not valid JSON"),
        ("[]", "no list `log.entries`"),
        (r#"{"log":{"entries":{}}}"#, "no list `log.entries`"),
    ] {
        let error = Cassette::from_har(har.as_bytes(), CassetteOptions::default()).unwrap_err();
        assert_eq!(error.kind(), CassetteErrorKind::Har);
        assert!(error.to_string().contains(text), "{error}");
    }
    let odd = r#"{"log":{"entries":[null, 1, {}, {"request": [], "response": ""}, {"request":{"method":"G T","url":5}}]}}"#;
    let import = Cassette::recorder(CassetteOptions::default()).import_har(odd.as_bytes()).unwrap();
    assert_eq!((import.imported(), import.skipped().len()), (0, 5));
}

#[tokio::test]
async fn an_export_is_valid_and_imported_again() {
    let cassette = Cassette::recorder(options());
    let origin = cassette.origin(FnOrigin::new(|number, _| {
        let response = Response::builder().status(if number == 2 { 404 } else { 200 });
        let response = response.header("content-type", "text/plain").header("content-encoding", "x-test");
        let bodies = [&b"caf\xc3\xa9"[..], b"\x89\0", b"not found", b""];
        Ok(response.body(Body::from(Bytes::from_static(bodies[number]))).unwrap())
    }));
    let requests = || {
        let binary = http::Request::put("https://example.com/b").body(Body::from(vec![0xff, 0]));
        [
            request("GET", "https://example.com/a?x=1&y", ""),
            binary.unwrap(),
            request("GET", "https://example.com/a?x=1&y", ""),
            request("POST", "https://example.com/c", "text"),
        ]
    };
    let mut recorded = Vec::new();
    for request in requests() {
        recorded.push(send(&origin, request).await.unwrap());
    }
    let har = cassette.export_har();
    let value: Value = serde_json::from_str(&har).unwrap();
    let entries = value["log"]["entries"].as_array().unwrap();
    assert_eq!((value["log"]["version"].as_str(), entries.len()), (Some("1.2"), 4));
    for entry in entries {
        // What the standard requires.
        for name in ["startedDateTime", "time", "request", "response", "cache", "timings"] {
            assert!(!entry[name].is_null(), "{name}");
        }
        for name in
            ["method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize", "bodySize"]
        {
            assert!(!entry["request"][name].is_null(), "{name}");
        }
        for name in [
            "status",
            "statusText",
            "httpVersion",
            "cookies",
            "headers",
            "content",
            "redirectURL",
            "headersSize",
            "bodySize",
        ] {
            assert!(!entry["response"][name].is_null(), "{name}");
        }
        assert!(
            entry["response"]["content"]["size"].is_u64()
                && entry["response"]["content"]["mimeType"].is_string()
        );
        assert!(["send", "wait", "receive"].iter().all(|name| entry["timings"][name].is_u64()));
    }
    assert_eq!(entries[0]["startedDateTime"], "2026-01-01T00:00:00.000Z");
    assert_eq!(entries[1]["response"]["content"]["encoding"], "base64");

    let imported = Cassette::from_har(har.as_bytes(), options()).unwrap();
    let origin = imported.origin(NoNetwork);
    for (request, expected) in requests().into_iter().zip(recorded) {
        let response = origin.fetch(request).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "x-test", "Larder exports encoded content");
        let status = response.status().as_u16();
        let body = response.into_body().into_bytes(100).await.unwrap();
        assert_eq!((status, String::from_utf8_lossy(&body).into_owned()), expected);
    }
    imported.assert_all_used();
}

#[tokio::test]
async fn a_recorder_without_a_directory_passes_long_bodies_on() {
    let cassette = Cassette::recorder(options().with_max_body(4));
    let (_, text) = send(&cassette.origin(Counting::default()), request("GET", "https://example.com/", ""))
        .await
        .unwrap();
    let value: Value = serde_json::from_str(&cassette.export_har()).unwrap();
    let content = &value["log"]["entries"][0]["response"]["content"];
    assert_eq!(content["size"], text.len());
    assert!(content["text"].is_null() && content["comment"].is_string(), "{content}");
    cassette.finish().await.unwrap();
}

#[tokio::test]
async fn imported_entries_are_numbered_after_the_recorded_ones() {
    let directory = tempdir().unwrap();
    let one = Cassette::recorder(options());
    send(&one.origin(Counting::default()), request("GET", "https://example.com/", "")).await.unwrap();
    let har = one.export_har();
    let cassette = open(directory.path(), Mode::RecordMissing);
    cassette.import_har(har.as_bytes()).unwrap();
    cassette.import_har(har.as_bytes()).unwrap();
    let names = files(directory.path());
    assert_eq!(names.len(), 2);
    assert!(names[0].ends_with(".2.exchange"), "{names:?}");
    let cassette = open(directory.path(), Mode::Replay);
    for _ in 0..2 {
        send(&cassette.origin(NoNetwork), request("GET", "https://example.com/", "")).await.unwrap();
    }
    cassette.finish().await.unwrap();
}

/// An upload of more than 16 MiB failed only because it was recorded.
#[tokio::test]
async fn a_recorder_without_a_directory_passes_long_requests_on() {
    let cassette = Cassette::recorder(options().with_max_body(4));
    let echo = FnOrigin::new(|_, request| {
        let length = http_body::Body::size_hint(request.body()).lower();
        Ok(Response::new(Body::from(length.to_string())))
    });
    let origin = cassette.origin(echo);
    let chunks = [Ok::<_, std::io::Error>(Bytes::from("123")), Ok(Bytes::from("456")), Ok(Bytes::from("7"))];
    let streamed = Body::from_stream(futures_util::stream::iter(chunks));
    let streamed = http::Request::post("https://example.com/").body(streamed).unwrap();
    assert_eq!(send(&origin, streamed).await.unwrap().1, "6", "what was read of the stream is sent");
    let whole = request("POST", "https://example.com/", "1234567");
    assert_eq!(send(&origin, whole).await.unwrap().1, "7");
    let har = cassette.export_har();
    let value: Value = serde_json::from_str(&har).unwrap();
    for (index, length) in [(0, 6), (1, 7)] {
        let request = &value["log"]["entries"][index]["request"];
        assert_eq!(request["bodySize"], length);
        assert!(request["postData"]["comment"].is_string(), "{request}");
    }
    let import = Cassette::recorder(options()).import_har(har.as_bytes()).unwrap();
    assert_eq!((import.imported(), import.skipped().len()), (0, 2));
    let replay = Cassette::from_har(har.as_bytes(), options().with_max_body(4)).unwrap();
    let error = replay.play(request("POST", "https://example.com/", "1234567")).await.unwrap_err();
    assert_eq!(error.kind(), CassetteErrorKind::TooLong, "a replay compares the body");
    cassette.finish().await.unwrap();
}

/// The limit of all bodies was applied only to responses that had ended.
#[tokio::test]
async fn a_recorder_counts_bodies_while_they_are_kept() {
    let rules = larder_cassette::MatchRules::default().with_ignored_body();
    let cassette = Cassette::recorder(options().with_max_body(1 << 30).with_rules(rules));
    let shared = Bytes::from(vec![0; 100 << 20]);
    let served = shared.clone();
    let origin = cassette.origin(FnOrigin::new(move |number, _| {
        let mut chunks = vec![Ok(served.clone())];
        if number == 0 {
            chunks.extend([Ok(served.clone()), Err("the connection was reset")]);
        }
        Ok(Response::new(Body::from_stream(futures_util::stream::iter(chunks))))
    }));
    let get = || request("GET", "https://example.com/", "");
    let mut held = origin.fetch(get()).await.unwrap().into_body();
    for _ in 0..2 {
        held.chunk().await.unwrap().unwrap();
    }
    let omitted = |index: usize| {
        let exchange = &cassette.exchanges()[index];
        (exchange.request.omitted.is_some(), exchange.response.omitted.is_some())
    };
    send(&origin, get()).await.unwrap();
    assert_eq!(omitted(0), (false, true), "200 MiB are kept of another response");
    held.chunk().await.unwrap().unwrap_err();
    send(&origin, get()).await.unwrap();
    assert_eq!(omitted(1), (false, false), "that one has broken");
    for (index, expected) in [(2, (false, true)), (3, (true, true))] {
        let post = http::Request::post("https://example.com/").body(Body::from(shared.clone())).unwrap();
        send(&origin, post).await.unwrap();
        assert_eq!(omitted(index), expected);
    }
}
