//! The text of an exchange: what it looks like, that it restores each byte, and that damaged text
//! is an error with its line.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use larder_cassette::{RecordedExchange, RecordedRequest, RecordedResponse};
use proptest::prelude::*;

fn exchange(body: impl Into<Bytes>) -> RecordedExchange {
    let request = RecordedRequest::new(Method::GET, "https://example.com/".parse().expect("a URL"));
    let mut response = RecordedResponse::new(StatusCode::OK);
    response.body = body.into();
    RecordedExchange::new(request, response)
}

fn parse(text: &str) -> Result<RecordedExchange, String> {
    RecordedExchange::try_from(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn an_exchange_is_readable() {
    let mut request =
        RecordedRequest::new(Method::POST, "https://api.example.com/users?a=b".parse().unwrap());
    request.headers.insert("content-type", HeaderValue::from_static("application/json"));
    request.body = Bytes::from(r#"{"name":"Anna"}"#);
    let mut response = RecordedResponse::new(StatusCode::CREATED);
    response.version = Version::HTTP_2;
    response.headers.insert("x-empty", HeaderValue::from_static(""));
    response.headers.insert("x-name", HeaderValue::from_bytes(b"caf\xe9 \\").unwrap());
    // A space that is no white space of HTTP.
    response.headers.insert("x-space", HeaderValue::from_bytes("\u{a0}".as_bytes()).unwrap());
    response.body = Bytes::from(
        r#"{"id":42,"name":"Anna","roles":["admin","reader"],"address":{"city":"Bonn"},"tags":[]}"#,
    );
    let mut exchange = RecordedExchange::new(request, response);
    exchange.recorded = Some(larder_core::Timestamp::from_millis(1_767_225_600_123));
    exchange.duration = std::time::Duration::from_millis(34);
    let text = r#"larder exchange 1
recorded: 2026-01-01T00:00:00.123Z (34 ms)

=== request
POST https://api.example.com/users?a=b
content-type: application/json
=== request body
{"name":"Anna"}
=== response
HTTP/2 201 Created
x-empty:
x-name:: caf\xe9 \\
x-space::  
=== response body json
{
  "id": 42,
  "name": "Anna",
  "roles": [
    "admin",
    "reader"
  ],
  "address": {
    "city": "Bonn"
  },
  "tags": []
}
=== end
"#;
    assert_eq!(exchange.to_string(), text);
    assert_eq!(parse(text), Ok(exchange));
}

#[test]
fn each_body_has_the_most_readable_form_that_restores_it() {
    let spaced = format!(r#"{{"a": 1, "b": "{}"}}"#, "x".repeat(80));
    let upload = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n";
    for (body, form) in [
        (&b"hello"[..], "=== response body\nhello\n=== end"),
        (b"two\nlines\n\n", "=== response body\ntwo\nlines\n\n\n=== end"),
        ("h\u{e9}llo \u{1f600}".as_bytes(), "=== response body\nh\u{e9}llo \u{1f600}\n=== end"),
        (spaced.as_bytes(), "=== response body json spaced\n{\n  \"a\": 1,\n  \"b\": "),
        (upload.as_bytes(), "=== response body crlf\n--b\nContent-Disposition"),
        (b"\n", "=== response body\n\n\n=== end"),
        (b"\r\n", "=== response body crlf\n\n\n=== end"),
        (b"ends with a space ", "=== response body escaped\nends with a space\\x20\n=== end"),
        (b"=== end\nmore", "=== response body escaped\n\\x3d== end\nmore\n=== end"),
        (b"<<<<<<< ours\n", "=== response body escaped\n\\x3c<<<<<< ours\n\n=== end"),
        (b"caf\xe9, \\ and \r alone", "=== response body escaped\ncaf\\xe9, \\\\ and \\r alone\n=== end"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0\0\0\x01\0", "=== response body base64\niVBORw0KGgoAAAAN"),
        ("a\u{202e}b".as_bytes(), "=== response body escaped\na\\xe2\\x80\\xaeb\n=== end"),
    ] {
        let exchange = exchange(Bytes::copy_from_slice(body));
        let text = exchange.to_string();
        assert!(text.contains(form), "{text}");
        assert_eq!(parse(&text), Ok(exchange));
    }
}

/// git checked the files out with CRLF on Windows, and each body had other bytes.
#[test]
fn line_breaks_of_windows_change_nothing() {
    for body in ["a\nb\n", "a\r\nb\r\n", "a\rb", r#"{"a":1}"#] {
        let exchange = exchange(body);
        let text = exchange.to_string().replace('\n', "\r\n");
        assert_eq!(parse(&text), Ok(exchange.clone()), "{text:?}");
        let with_mark = format!("\u{feff}{text}");
        assert_eq!(parse(&with_mark), Ok(exchange));
    }
}

#[test]
fn damaged_text_is_an_error_with_its_line() {
    let good = exchange("hello").to_string();
    for (text, line, reason) in [
        (String::new(), 1, "the file is no recording"),
        (good.replace("exchange 1", "exchange 2"), 1, "the file is no recording"),
        (good.replace("\n\n", "\nnonsense\n"), 2, "expected `recorded:"),
        (good.replace("=== request", "=== reqest"), 3, "expected `=== request`, found `=== reqest`"),
        (good.replace("GET https://example.com/", "GET"), 4, "expected a method and an absolute URL"),
        (good.replace("HTTP/1.1 200 OK", "200 OK"), 6, "expected a version and a status"),
        (good.replace("200 OK", "200 OK\nno field"), 7, "expected a header field"),
        (good.replace("200 OK", "200 OK\nb\u{f6}se: 1"), 7, "expected a header field"),
        (good.replace("200 OK", "200 OK\na:: \\q"), 7, "after `\\`"),
        (good.replace("response body", "response body gzip"), 7, "`gzip` is no form of a body"),
        (good.replace("response body", "response body json"), 8, "the body is not valid JSON"),
        (good.replace("response body", "response body base64"), 8, "the body is not valid Base64"),
        (good.replace("hello", "<<<<<<< HEAD\nhello\n=======\nbye\n>>>>>>> main"), 8, "merge conflict"),
        (good.replace("=== end\n", ""), 9, "the file is not whole"),
        (format!("{good}more"), 10, "something follows"),
        (good.replace("hello", "hel\rlo"), 8, "carriage return"),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(error.starts_with(&format!("line {line}: ")) && error.contains(reason), "{error}\n{text}");
    }
    let mut bytes = good.clone().into_bytes();
    let at = good.find("hello").unwrap();
    bytes[at] = 0xff;
    let error = RecordedExchange::try_from(&*bytes).unwrap_err();
    assert_eq!((error.line(), &*error.to_string()), (8, "line 8: this line is not UTF-8"));
}

/// A killed process left the beginning of a file, and the test replayed half a response.
#[test]
fn no_part_of_a_text_is_an_exchange() {
    let whole = exchange("some\nlines\n").to_string();
    for length in 0..whole.len() - 1 {
        parse(&whole[..length]).expect_err(&whole[..length]);
    }
}

/// Bodies that are likely to have a meaning in the format.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "=== end",
        "=== ",
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "\\",
        "\\x41",
        "{",
        "}",
        "\"",
        "[1, 2]",
        "{\"a\": 1}",
        "<<<<<<< x",
        ">>>>>>> y",
        "\u{feff}",
        "\u{202e}",
        "\u{e9}",
        "x",
        "\0",
        "\u{7f}",
        ":",
        "=",
    ]);
    let text = prop::collection::vec(parts, 0..20).prop_map(|parts| parts.concat().into_bytes());
    let json = prop::collection::vec(("[a-z\u{e9}\" \\\\]{0,12}", any::<i64>()), 0..12).prop_map(|members| {
        let value: serde_json::Value =
            members.into_iter().map(|(name, value)| (name, serde_json::Value::from(value))).collect();
        value.to_string().into_bytes()
    });
    prop_oneof![text, json, prop::collection::vec(any::<u8>(), 0..200)]
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    let value = prop_oneof![
        "[ -~]{0,20}".prop_map(String::into_bytes),
        prop::collection::vec(prop_oneof![Just(b'\t'), 32..127_u8, 128..=255_u8], 0..20),
    ];
    prop::collection::vec(("[a-z][a-z0-9-]{0,10}", value), 0..6).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(&value).expect("the strategy");
            map.append(HeaderName::try_from(name).expect("the strategy"), value);
        }
        map
    })
}

proptest! {
    #[test]
    fn each_exchange_is_restored(
        request_fields in fields(), request_body in body(),
        response_fields in fields(), response_body in body(),
        trailers in prop::option::of(fields()), status in 200..=599_u16,
        time in prop::option::of(0..=4_000_000_000_000_u64), millis in 0..100_000_u64,
    ) {
        let mut exchange = exchange(response_body);
        exchange.request.headers = request_fields;
        exchange.request.body = request_body.into();
        exchange.response.status = StatusCode::from_u16(status).unwrap();
        exchange.response.headers = response_fields;
        exchange.response.trailers = trailers;
        exchange.recorded = time.map(larder_core::Timestamp::from_millis);
        exchange.duration = std::time::Duration::from_millis(if time.is_some() { millis } else { 0 });
        let text = exchange.to_string();
        prop_assert!(!text.contains('\r'));
        prop_assert!(text.lines().all(|line| !line.ends_with([' ', '\t'])), "{}", text);
        prop_assert_eq!(parse(&text), Ok(exchange.clone()));
        prop_assert_eq!(parse(&text.replace('\n', "\r\n")), Ok(exchange));
    }

    #[test]
    fn no_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = RecordedExchange::try_from(&*bytes);
    }

    #[test]
    fn no_change_of_a_text_panics(body in body(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = exchange(body).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(changed) = RecordedExchange::try_from(&*bytes) {
            prop_assert_eq!(parse(&changed.to_string()), Ok(changed));
        }
    }
}
