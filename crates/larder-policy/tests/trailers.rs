//! RFC 9110 §6.5.1: what a trailer section may have, and §10.1.4 who accepts one.

use http::{HeaderMap, HeaderName, HeaderValue};
use larder_policy::{accepts_trailers, strip_trailers, strip_unforwardable};

fn names(fields: &HeaderMap) -> Vec<&str> {
    fields.keys().map(HeaderName::as_str).collect()
}

#[test]
fn fields_that_change_the_message_are_removed() {
    for (name, is_kept) in [
        ("grpc-status", true),
        ("grpc-message", true),
        ("grpc-status-details-bin", true),
        ("etag", true),
        ("digest", true),
        ("repr-digest", true),
        ("server-timing", true),
        ("authentication-info", true),
        ("x-checksum", true),
        ("transfer-encoding", false),
        ("content-length", false),
        ("content-type", false),
        ("content-encoding", false),
        ("content-range", false),
        ("content-location", false),
        ("trailer", false),
        ("te", false),
        ("connection", false),
        ("keep-alive", false),
        ("proxy-connection", false),
        ("proxy-authenticate", false),
        ("proxy-authorization", false),
        ("upgrade", false),
        ("host", false),
        ("authorization", false),
        ("cookie", false),
        ("set-cookie", false),
        ("www-authenticate", false),
        ("cache-control", false),
        ("cdn-cache-control", false),
        ("cache-groups", false),
        ("cache-group-invalidation", false),
        ("age", false),
        ("date", false),
        ("expires", false),
        ("location", false),
        ("vary", false),
        ("pragma", false),
        ("range", false),
        ("if-match", false),
        ("if-none-match", false),
        ("if-modified-since", false),
        ("if-unmodified-since", false),
        ("if-range", false),
        ("expect", false),
        ("max-forwards", false),
        ("retry-after", false),
        ("warning", false),
    ] {
        let mut fields = HeaderMap::new();
        fields.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        fields.append(HeaderName::from_static(name), HeaderValue::from_static("2"));
        strip_trailers(&mut fields);
        assert_eq!(!fields.is_empty(), is_kept, "{name}");
    }
}

/// gRPC servers refuse requests without `TE: trailers`. Other values concern one connection.
#[test]
fn te_is_forwarded_as_trailers_only() {
    for (lines, expected) in [
        (&["trailers"][..], &["te"][..]),
        (&["gzip, trailers;q=1", "Trailers"], &["te"]),
        (&["gzip"], &[]),
        (&["trailers-x"], &[]),
        (&[], &[]),
    ] {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append("te", HeaderValue::from_static(line));
        }
        fields.append("connection", HeaderValue::from_static("te, x"));
        fields.append("x", HeaderValue::from_static("1"));
        assert_eq!(accepts_trailers(&fields), !expected.is_empty(), "{lines:?}");
        strip_unforwardable(&mut fields);
        assert_eq!(names(&fields), expected, "{lines:?}");
        assert!(fields.get_all("te").iter().all(|value| value == "trailers"), "{fields:?}");
    }
}

/// `Trailer` announces what follows the content, to all recipients (RFC 9110 §6.6.2).
#[test]
fn trailer_is_forwarded() {
    let mut fields = HeaderMap::new();
    fields.append("trailer", HeaderValue::from_static("grpc-status"));
    strip_unforwardable(&mut fields);
    assert_eq!(names(&fields), ["trailer"]);
    larder_policy::strip_hop_by_hop(&mut fields);
    assert_eq!(names(&fields), ["trailer"]);
}
