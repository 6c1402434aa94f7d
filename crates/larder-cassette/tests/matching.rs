//! Which requests get which recording.

mod common;

use common::{Counting, NoNetwork, options, send};
use http::{HeaderValue, Request};
use larder_cassette::{Cassette, MatchRules, Mode};
use larder_core::Body;
use tempfile::tempdir;

type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

fn request((method, url, fields, body): Row) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(url).body(Body::from(body)).expect("valid");
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    request
}

/// Returns whether the recording of the first request answers the second.
async fn is_answer(rules: &MatchRules, recorded: Row, requested: Row) -> bool {
    let directory = tempdir().expect("valid");
    let options = options().with_rules(rules.clone());
    let cassette = Cassette::with_options(directory.path(), Mode::Record, options.clone()).expect("valid");
    send(&cassette.origin(Counting::default()), request(recorded)).await.expect("valid");
    let cassette = Cassette::with_options(directory.path(), Mode::Replay, options).expect("valid");
    send(&cassette.origin(NoNetwork), request(requested)).await.is_ok()
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json; charset=utf-8")];
const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];
const RANGE: &[(&str, &str)] = &[("range", "bytes=0-1")];
const OTHER_RANGE: &[(&str, &str)] = &[("range", "bytes=2-3")];
const TAG: &[(&str, &str)] = &[("if-none-match", "\"1\"")];
const OTHER_TAG: &[(&str, &str)] = &[("if-none-match", "\"2\"")];
const PARTS: &[(&str, &str)] = &[("content-type", "multipart/form-data; boundary=aaa")];
const OTHER_PARTS: &[(&str, &str)] = &[("content-type", "multipart/form-data; boundary=\"bbbbb\"")];

#[tokio::test]
async fn equal_requests_are_found() {
    let default = MatchRules::default();
    let rows: &[(Row, Row, bool, &str)] = &[
        (
            ("GET", "http://a/x", &[], ""),
            ("GET", "http://a/x", &[("accept", "b")], ""),
            true,
            "headers do not matter",
        ),
        (("GET", "http://a/x", &[], ""), ("HEAD", "http://a/x", &[], ""), false, "the method"),
        (("GET", "http://a/x", &[], ""), ("GET", "https://a/x", &[], ""), false, "the scheme"),
        (("GET", "http://a/x", &[], ""), ("GET", "http://a/X", &[], ""), false, "the case of a path"),
        (("GET", "http://A:80", &[], ""), ("GET", "HTTP://a/", &[], ""), true, "spellings of a host"),
        (
            ("GET", "http://a/?x=1&y=2", &[], ""),
            ("GET", "http://a/?y=2&x=1", &[], ""),
            true,
            "the order of a query",
        ),
        (("GET", "http://a/?x=1&x=2", &[], ""), ("GET", "http://a/?x=2&x=1", &[], ""), false, "of one name"),
        (("GET", "http://a/?x=1", &[], ""), ("GET", "http://a/", &[], ""), false, "a missing parameter"),
        (("POST", "http://a/", &[], "a"), ("POST", "http://a/", &[], "b"), false, "the body"),
        (
            ("POST", "http://a/", JSON, r#"{"a":1,"b":[2]}"#),
            ("POST", "http://a/", JSON, r#"{ "b": [2], "a": 1 }"#),
            true,
            "JSON",
        ),
        (
            ("POST", "http://a/", JSON, r#"{"a":[1,2]}"#),
            ("POST", "http://a/", JSON, r#"{"a":[2,1]}"#),
            false,
            "an array",
        ),
        (
            ("POST", "http://a/", JSON, r#"{"a":1"#),
            ("POST", "http://a/", JSON, r#"{"a":1 "#),
            false,
            "no JSON",
        ),
        (("POST", "http://a/", FORM, "a=1&b=2"), ("POST", "http://a/", FORM, "b=2&a=1"), true, "a form"),
        (("GET", "http://a/", RANGE, ""), ("GET", "http://a/", OTHER_RANGE, ""), false, "another range"),
        (("GET", "http://a/", RANGE, ""), ("GET", "http://a/", &[], ""), false, "no range"),
        (("GET", "http://a/", TAG, ""), ("GET", "http://a/", OTHER_TAG, ""), true, "another tag"),
        (("GET", "http://a/", TAG, ""), ("GET", "http://a/", &[], ""), false, "a 304 is no answer"),
        (
            ("POST", "http://a/", PARTS, "--aaa\r\n\r\n1\r\n--aaa--\r\n"),
            ("POST", "http://a/", OTHER_PARTS, "--bbbbb\r\n\r\n1\r\n--bbbbb--\r\n"),
            true,
            "a boundary is random",
        ),
    ];
    for (recorded, requested, expected, reason) in rows {
        assert_eq!(is_answer(&default, *recorded, *requested).await, *expected, "{reason}");
    }
}

#[tokio::test]
async fn rules_change_what_is_equal() {
    let rules = MatchRules::default;
    let get = |url, fields| -> Row { ("GET", url, fields, "") };
    let post = |body| -> Row { ("POST", "http://a/", JSON, body) };
    let rows: Vec<(MatchRules, Row, Row, bool)> = vec![
        (
            rules().with_header("Accept"),
            get("http://a/", &[("accept", "a")]),
            get("http://a/", &[("accept", "b")]),
            false,
        ),
        (
            rules().with_header("accept"),
            get("http://a/", &[("accept", "a")]),
            get("http://a/", &[("accept", "a")]),
            true,
        ),
        (rules().with_header("accept"), get("http://a/", &[]), get("http://a/", &[("accept", "")]), true),
        (
            rules().with_ignored_parameter("t"),
            get("http://a/?t=1&x=2", &[]),
            get("http://a/?x=2&t=3", &[]),
            true,
        ),
        (rules().with_ignored_parameter("t"), get("http://a/?t=1", &[]), get("http://a/", &[]), true),
        (rules().with_ignored_json("/id"), post(r#"{"id":1,"a":2}"#), post(r#"{"a":2,"id":3}"#), true),
        (
            rules().with_ignored_json("/*/id"),
            post(r#"[{"id":1},{"id":2}]"#),
            post(r#"[{"id":3},{"id":4}]"#),
            true,
        ),
        (rules().with_ignored_json("/id"), post(r#"{"id":1,"a":2}"#), post(r#"{"a":3,"id":1}"#), false),
        (rules().with_ignored_body(), post("1"), post("2"), true),
        (rules().with_exact_bytes(), post(r#"{"a":1}"#), post(r#"{ "a":1}"#), false),
        (rules().with_exact_bytes(), get("http://a/?x=1&y=2", &[]), get("http://a/?y=2&x=1", &[]), false),
        (
            rules().with_normal_form(|request| request.url = http::Uri::from_static("http://a/any")),
            get("http://a/1", &[]),
            get("http://b/2?x", &[]),
            true,
        ),
    ];
    for (number, (rules, recorded, requested, expected)) in rows.into_iter().enumerate() {
        assert_eq!(is_answer(&rules, recorded, requested).await, expected, "row {number}");
    }
}

#[tokio::test]
async fn the_url_may_be_in_the_host_header() {
    let rules = MatchRules::default();
    let recorded = ("GET", "http://a/x", &[][..], "");
    assert!(is_answer(&rules, recorded, ("GET", "/x", &[("host", "a")], "")).await);
}
