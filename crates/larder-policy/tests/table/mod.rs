//! Runs tables written as strings: rustfmt does not reformat them, and they can be read next to the
//! RFC.
//!
//! A row is `cell | cell | expected`. A message is `GET field: value; field: value` or `200 field:
//! value`; a bare word or `name=value` without a colon is a member of `Cache-Control`. `~N` stands
//! for the date N seconds after `NOW`.
#![allow(dead_code, reason = "each test file uses a subset of the helpers")]

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use larder_policy::{Exchange, RequestHead, Rules, StoredHead, TargetUri, Timestamp, format_http_date};

/// Time at which the stored responses arrive.
pub(crate) const NOW: u64 = 1_700_000_000;

/// Runs every row, then fails once with all rows that have another result.
#[track_caller]
pub(crate) fn check(table: &str, run: impl Fn(&[&str]) -> String) {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        let (expected, cells) = cells.split_last().expect("split returns at least one cell");
        let result = run(cells);
        if result != *expected {
            wrong.push(format!("{row}, but the result is: {result}"));
        }
        rows += 1;
    }
    assert!(rows > 0, "an empty table tests nothing");
    assert!(wrong.is_empty(), "{} of {rows} rows:\n  {}", wrong.len(), wrong.join("\n  "));
}

/// Runs every row of a table. Its last column cites the line of an RFC that requires the result.
#[track_caller]
pub(crate) fn check_cited(table: &str, run: impl Fn(&[&str]) -> String) {
    let mut uncited = Vec::new();
    let rows = table.lines().map(str::trim).filter(|row| !row.is_empty() && !row.starts_with('#'));
    let rows: Vec<&str> = rows
        .filter_map(|row| {
            let (row, citation) = row.rsplit_once(" | ")?;
            let cites = citation.trim().starts_with('§') || citation.trim().starts_with("RFC ");
            if !cites {
                uncited.push(citation);
            }
            Some(row)
        })
        .collect();
    assert!(uncited.is_empty(), "no citations: {uncited:?}");
    check(&rows.join("\n"), run);
}

pub(crate) fn rules(kind: &str) -> Rules {
    if kind == "private" { Rules::private() } else { Rules::shared() }
}

pub(crate) fn target() -> TargetUri {
    TargetUri::parse("http://example.com/a/page?x=1").expect("a target")
}

pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(crate) fn exchange_at(secs: u64) -> Exchange {
    Exchange { request_time: at(secs), response_time: at(secs) }
}

/// Parses a message into its first word (method or status code) and its fields.
pub(crate) fn message(text: &str) -> (&str, HeaderMap) {
    let text = text.trim();
    let (first, rest) = text.trim_end_matches(";").split_once(' ').unwrap_or((text, ""));
    let mut fields = HeaderMap::new();
    for part in rest.split("; ").map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once(": ").or_else(|| part.strip_suffix(':').map(|name| (name, ""))) {
            Some((name, value)) => {
                let name: HeaderName = name.parse().expect("a field name");
                fields.append(name, HeaderValue::from_str(&dated(value)).expect("a field value"));
            }
            None => {
                fields.append("cache-control", HeaderValue::from_str(part).expect("a directive"));
            }
        }
    }
    (first, fields)
}

fn dated(value: &str) -> String {
    match value.strip_prefix('~').and_then(|offset| offset.parse::<i64>().ok()) {
        Some(offset) => format_http_date(at(NOW.saturating_add_signed(offset))),
        None => value.to_owned(),
    }
}

pub(crate) fn method(text: &str) -> Method {
    Method::from_bytes(text.as_bytes()).expect("a method")
}

/// Stores the response of an exchange at `NOW`, and returns its head.
pub(crate) fn stored(
    rules: &Rules,
    request: &str,
    response: &str,
) -> Result<StoredHead, larder_policy::NotStorable> {
    let (verb, request_fields) = message(request);
    let (status, fields) = message(response);
    let verb = method(verb);
    let status = StatusCode::from_bytes(status.as_bytes()).expect("a status code");
    rules.storable(&target(), &RequestHead::new(&verb, &request_fields), status, &fields, exchange_at(NOW))
}
