//! Which responses continue a body of which only the beginning is at hand (RFC 9110 §8.8.1,
//! §13.1.5, §14.4). `crates/larder-core/tests/resumption.rs` has the responses of origins.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use larder_policy::{
    ByteRange, Exchange, RequestHead, Rules, StoredHead, TargetUri, Timestamp, have_same_bytes, is_rest_of,
    request_rest,
};

/// Creates header fields.
fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    let mut fields = HeaderMap::new();
    for (name, value) in lines.iter().map(field) {
        fields.append(name, value);
    }
    fields
}

/// Creates the head of a stored response to a request with `accept: a`.
fn stored(lines: &[(&str, &str)]) -> StoredHead {
    let target = TargetUri::parse("http://example.com/").expect("a target");
    let request = fields(&[("accept", "a")]);
    let head = RequestHead::new(&Method::GET, &request);
    let now = Timestamp::from_secs(1_700_000_000);
    let times = Exchange { request_time: now, response_time: now };
    let lines = [&[("cache-control", "max-age=60")], lines].concat();
    Rules::shared().storable(&target, &head, StatusCode::OK, &fields(&lines), times).expect("storable")
}

#[test]
fn only_the_same_strong_tag_and_coding_have_the_same_bytes() {
    let tag = ("etag", "\"a\"");
    let gzip = ("content-encoding", "gzip");
    for (one, other, same, why) in [
        (&[tag][..], &[tag][..], true, "one tag names the same bytes at all times"),
        (&[tag, gzip], &[tag, gzip], true, "the same coding"),
        (&[tag], &[tag, gzip], false, "some servers keep the tag when they compress"),
        (&[tag], &[("etag", "\"b\"")], false, "another version"),
        (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], false, "a weak tag names equal meaning only"),
        (&[], &[], false, "nothing to compare"),
        (&[("etag", "a")], &[("etag", "a")], false, "not an entity tag, so whatever the origin means"),
        (&[tag, ("etag", "\"b\"")], &[tag, ("etag", "\"b\"")], false, "it is not known which one applies"),
        (&[tag], &[tag, ("vary", "accept")], false, "it may be another variant with the same tag"),
    ] {
        assert_eq!(have_same_bytes(&stored(one), &stored(other)), same, "{one:?} {other:?}: {why}");
        assert_eq!(have_same_bytes(&stored(other), &stored(one)), same, "{other:?} {one:?}: {why}");
    }
}

#[test]
fn the_rest_is_requested_for_the_tag_alone() {
    let rest = ByteRange::new(5, 9, Some(10)).expect("a range");
    let mut request = fields(&[
        ("accept", "a"),
        ("range", "bytes=0-"),
        ("if-range", "\"x\""),
        ("if-none-match", "\"x\""),
        ("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT"),
        // The origin would take the beginning of the connection's next request for the content.
        ("content-length", "10"),
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("expect", "100-continue"),
    ]);
    assert!(request_rest(&mut request, &stored(&[("etag", "\"a\"")]), &rest));
    let expected = fields(&[("accept", "a"), ("range", "bytes=5-9"), ("if-range", "\"a\"")]);
    assert_eq!(request, expected);
    assert!(!request_rest(&mut request, &stored(&[("etag", "W/\"a\"")]), &rest));
    assert_eq!(request, expected, "unchanged");
}

#[test]
fn an_unknown_length_is_not_compared() {
    let rest = ByteRange::new(5, 9, None).expect("a range");
    let head = stored(&[("etag", "\"a\"")]);
    for (range, is_rest) in [("bytes 5-9/10", true), ("bytes 5-9/*", true), ("bytes 5-10/11", false)] {
        let response = fields(&[("etag", "\"a\""), ("content-range", range)]);
        assert_eq!(is_rest_of(StatusCode::PARTIAL_CONTENT, &response, &head, &rest), is_rest, "{range}");
        assert!(!is_rest_of(StatusCode::OK, &response, &head, &rest), "{range}");
    }
}
