//! Tests conditional requests, and 304, 206 and 416 responses (RFC 9111 §4.3, RFC 9110 §13, §14).

mod table;

use http::StatusCode;
use larder_policy::{ByteRange, Combined, PartSource, RequestHead, Serve, not_modified_fields};
use table::{check, check_cited, message, method, rules, stored};

/// A request for thousands of ranges made servers send a body many times (CVE-2011-3192).
#[test]
fn many_ranges_cost_no_more_than_the_representation() {
    let head = stored(&rules("shared"), "GET", "200 max-age=9").expect("the response is storable");
    let serve = |set: &str| {
        let text = format!("GET Range: bytes={set}");
        let fields = message(&text).1;
        head.serve(&RequestHead::new(&http::Method::GET, &fields), Some(1000))
    };
    let several =
        |count: usize| (0..count).map(|n| format!("{}-{}", 4 * n, 4 * n)).collect::<Vec<_>>().join(",");
    assert!(matches!(serve(&several(32)), Serve::Parts(parts) if parts.len() == 32));
    assert_eq!(serve(&several(33)), Serve::Whole, "more than 32 ranges are ignored");
    let overlapping = ["0-"; 32].join(",");
    assert!(
        matches!(serve(&overlapping), Serve::Part(part) if part.length() == 1000),
        "overlapping ranges are one"
    );
}

/// Request | stored response with a body of ten bytes | expected
#[test]
fn serving() {
    check(
        "
        GET                                           | 200 max-age=9                          | whole
        GET If-None-Match: \"a\"                      | 200 max-age=9; ETag: \"a\"             | 304
        GET If-None-Match: \"a\"                      | 200 max-age=9; ETag: W/\"a\"           | 304
        GET If-None-Match: W/\"a\"                    | 200 max-age=9; ETag: \"a\"             | 304
        GET If-None-Match: \"x\", \"a,b\" , \"c\"     | 200 max-age=9; ETag: \"a,b\"           | 304
        GET If-None-Match: \"x\\\", \"a\"           | 200 max-age=9; ETag: \"a\"             | 304
        GET If-None-Match: \"x\"                      | 200 max-age=9; ETag: \"a\"             | whole
        GET If-None-Match: *                          | 200 max-age=9                          | 304
        GET If-None-Match: \"a\"                      | 404 max-age=9; ETag: \"a\"             | whole
        GET If-None-Match: \"x\"; If-Modified-Since: ~0 | 200 max-age=9; ETag: \"a\"; Last-Modified: ~-99 | whole
        GET If-Modified-Since: ~-99                   | 200 max-age=9; Last-Modified: ~-99     | 304
        GET If-Modified-Since: ~-50                   | 200 max-age=9; Last-Modified: ~-99     | 304
        GET If-Modified-Since: ~-100                  | 200 max-age=9; Last-Modified: ~-99     | whole
        GET If-Modified-Since: ~0                     | 200 max-age=9; Date: ~0                | 304
        GET If-Modified-Since: ~-1                    | 200 max-age=9; Date: ~0                | whole
        GET If-Modified-Since: nonsense               | 200 max-age=9; Last-Modified: ~-99     | whole
        GET Range: bytes=0-1                          | 200 max-age=9                          | 0-1/10
        GET Range: bytes=8-                           | 200 max-age=9                          | 8-9/10
        GET Range: bytes=8-99                         | 200 max-age=9                          | 8-9/10
        GET Range: bytes=-3                           | 200 max-age=9                          | 7-9/10
        GET Range: bytes=-99                          | 200 max-age=9                          | 0-9/10
        GET Range: bytes=10-                          | 200 max-age=9                          | 416 of 10
        GET Range: bytes=-0                           | 200 max-age=9                          | 416 of 10
        GET Range: bytes=5-4                          | 200 max-age=9                          | whole
        GET Range: bytes=0-1,3-4                      | 200 max-age=9                          | 0-1/10, 3-4/10
        GET Range: bytes=8-9 , ,\t0-1,               | 200 max-age=9                          | 8-9/10, 0-1/10
        GET Range: bytes=0-0,-1                       | 200 max-age=9                          | 0-0/10, 9-9/10
        GET Range: bytes=0-1,2-3                      | 200 max-age=9                          | 0-3/10
        GET Range: bytes=0-5,2-3,9-                   | 200 max-age=9                          | 0-5/10, 9-9/10
        GET Range: bytes=6-7,0-1,2-5                  | 200 max-age=9                          | 0-7/10
        GET Range: bytes=0-0,10-20                    | 200 max-age=9                          | 0-0/10
        GET Range: bytes=0-0,                         | 200 max-age=9                          | 0-0/10
        GET Range: bytes=10-,20-,-0                   | 200 max-age=9                          | 416 of 10
        GET Range: bytes=0-1,x                        | 200 max-age=9                          | whole
        GET Range: bytes=0-1,5-4                      | 200 max-age=9                          | whole
        GET Range: bytes=,                            | 200 max-age=9                          | whole
        GET Range: bytes=0-0,2-2; If-Range: \"x\"     | 200 max-age=9; ETag: \"a\"             | whole
        GET Range: lines=0-1                          | 200 max-age=9                          | whole
        GET Range: bytes=99999999999999999999-        | 200 max-age=9                          | whole
        GET Range: bytes=0-1                          | 404 max-age=9                          | whole
        HEAD Range: bytes=0-1                         | 200 max-age=9                          | whole
        GET Range: bytes=0-1; If-Range: \"a\"         | 200 max-age=9; ETag: \"a\"             | 0-1/10
        GET Range: bytes=0-1; If-Range: \"x\"         | 200 max-age=9; ETag: \"a\"             | whole
        GET Range: bytes=0-1; If-Range: W/\"a\"       | 200 max-age=9; ETag: W/\"a\"           | whole
        GET Range: bytes=0-1; If-Range: ~-99          | 200 max-age=9; Last-Modified: ~-99; Date: ~0 | 0-1/10
        GET Range: bytes=0-1; If-Range: ~0            | 200 max-age=9; Last-Modified: ~0; Date: ~0   | whole
        GET Range: bytes=0-1; If-None-Match: \"a\"    | 200 max-age=9; ETag: \"a\"             | 304
        GET Range: bytes=5-6                          | 206 max-age=9; Content-Range: bytes 4-8/10   | 5-6/10
        GET Range: bytes=5-9                          | 206 max-age=9; Content-Range: bytes 4-8/10   | no
        GET                                           | 206 max-age=9; Content-Range: bytes 4-8/10   | no
        GET Range: bytes=4-4,8-8                      | 206 max-age=9; Content-Range: bytes 4-8/10   | 4-4/10, 8-8/10
        GET Range: bytes=4-4,9-9                      | 206 max-age=9; Content-Range: bytes 4-8/10   | no
        ",
        |cells| {
            let head = stored(&rules("shared"), "GET", cells[1]).expect("the response is storable");
            let (verb, fields) = message(cells[0]);
            let verb = method(verb);
            match head.serve(&RequestHead::new(&verb, &fields), Some(10)) {
                Serve::Whole => "whole".to_owned(),
                Serve::NotModified => "304".to_owned(),
                Serve::Part(part) => format!("{}-{}/{}", part.first, part.last, part.complete.unwrap_or_default()),
                Serve::Parts(parts) => {
                    let shown = |part: &ByteRange| format!("{}-{}/{}", part.first, part.last, part.complete.unwrap_or_default());
                    parts.iter().map(shown).collect::<Vec<_>>().join(", ")
                }
                Serve::NotSatisfiable { complete } => format!("416 of {complete}"),
                _ => "no".to_owned(),
            }
        },
    );
}

/// An HTTP/2 client relied on the Content-Length of a 304 and reset the stream.
#[test]
fn a_304_has_no_content_length() {
    let (_, fields) = message(
        "200 max-age=9; Content-Length: 10; Content-Type: a; ETag: \"a\"; Date: ~0; Vary: x; X-Own: 1",
    );
    let mut names: Vec<_> =
        not_modified_fields(&fields).keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["cache-control", "date", "etag", "vary", "x-own"]);
}

/// A page was stored with two Link lines. A client that revalidated it got a 304 with one of them,
/// and replaced both.
#[test]
fn a_304_has_all_lines_of_each_field() {
    check_cited(
        "
        200 max-age=9; Link: <a>; Link: <b>            | link | <a>,<b>       | §3.2: replacing field values that are present
        200 max-age=9; no-cache=\"a\"                  | cache-control | max-age=9,no-cache=\"a\" | RFC 9110 §15.4.5: MUST generate
        200 max-age=9; Vary: a; Vary: b                | vary | a,b           | RFC 9110 §15.4.5: MUST generate
        200 max-age=9; ETag: \"a\"                     | etag | \"a\"          | RFC 9110 §15.4.5: MUST generate
        200 max-age=9; Content-Location: /a            | content-location | /a | RFC 9110 §15.4.5: MUST generate
        200 max-age=9; Date: Sun, 06 Nov 1994 08:49:37 GMT | date | Sun, 06 Nov 1994 08:49:37 GMT | RFC 9110 §15.4.5: MUST generate
        200 max-age=9; Expires: 0                      | expires | 0          | RFC 9110 §15.4.5: MUST generate
        200 max-age=9; CDN-Cache-Control: a; CDN-Cache-Control: b | cdn-cache-control | a,b | RFC 9213 §2: the semantics of Cache-Control
        200 max-age=9; Last-Modified: x                | last-modified | x    | RFC 9110 §15.4.5: guides cache updates
        200 max-age=9; Content-Language: de; Content-Language: en | content-language | none | RFC 9110 §15.4.5: other representation metadata
        200 max-age=9; Content-Type: a                 | content-type | none | RFC 9110 §15.4.5: other representation metadata
        200 max-age=9; Content-Security-Policy: a; Content-Security-Policy: b | content-security-policy | a,b | §3.2: the prefix Content- is no signal
        200 max-age=9; Set-Cookie: a=1; Set-Cookie: b=2 | set-cookie | a=1,b=2 | RFC 6265 §3: not folded
        ",
        |cells| {
            let (_, fields) = message(cells[0]);
            let fields = not_modified_fields(&fields);
            let lines = fields.get_all(cells[1]).iter().map(|value| value.to_str().expect("text"));
            let lines = lines.collect::<Vec<_>>().join(",");
            if lines.is_empty() { "none".to_owned() } else { lines }
        },
    );
}

/// Stored responses, the selected one first | fields of the request | expected
#[test]
fn conditional_requests() {
    check(
        "
        200 max-age=0; ETag: \"a\"                             | GET                                        | if-none-match=\"a\"
        200 max-age=0; ETag: W/\"a\"                           | GET                                        | if-none-match=W/\"a\"
        200 max-age=9; Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT | GET                                   | if-modified-since=Sun, 06 Nov 1994 08:49:37 GMT
        200 max-age=9                                          | GET If-None-Match: \"mine\"                | if-none-match=\"mine\" unconditional
        200 max-age=0; ETag: \"a\"                             | GET If-None-Match: \"mine\"; Range: bytes=0-1; If-Range: \"mine\" | if-none-match=\"a\"
        200 max-age=0; ETag: \"a\" + 200 max-age=0; ETag: \"b\" | GET                                       | if-none-match=\"a\", \"b\"
        206 max-age=0; ETag: \"a\"; Content-Range: bytes 0-4/10   | GET Range: bytes=0-1; If-Range: \"mine\" | range=bytes=0-1 if-none-match=\"a\"
        206 max-age=0; ETag: W/\"a\"; Content-Range: bytes 0-4/10 | GET Range: bytes=0-1                      | range=bytes=0-1 unconditional
        206 max-age=0; ETag: \"a\"; Content-Range: bytes 0-4/10   | GET                                       | unconditional
        ",
        |cells| {
            let heads: Vec<_> =
                cells[0].split(" + ").map(|text| stored(&rules("shared"), "GET", text).expect("the response is storable")).collect();
            let (_, mut fields) = message(cells[1]);
            let made = rules("shared").make_conditional(&mut fields, &heads, 0);
            let mut shown: Vec<_> =
                fields.iter().map(|(name, value)| format!("{name}={}", value.to_str().expect("text"))).collect();
            if !made {
                shown.push("unconditional".to_owned());
            }
            shown.join(" ")
        },
    );
}

/// §3.4: parts are combined only with the same strong validator and without a gap.
#[test]
fn combining_parts() {
    let part = |text: &str| {
        stored(&rules("shared"), "GET", &format!("206 max-age=9; {text}")).expect("the response is storable")
    };
    let first = part("ETag: \"a\"; Content-Range: bytes 0-4/10");
    let second = part("ETag: \"a\"; Content-Range: bytes 3-9/10");
    let whole = Combined::combine(&first, &second).expect("the parts overlap");
    assert_eq!((whole.head.status, whole.head.part), (StatusCode::OK, None));
    assert_eq!(whole.sources, [PartSource::Stored { from: 0, to: 3 }, PartSource::Received]);
    for other in [
        "ETag: \"b\"; Content-Range: bytes 5-9/10",
        "ETag: W/\"a\"; Content-Range: bytes 5-9/10",
        "Content-Range: bytes 5-9/10",
        "ETag: \"a\"; Content-Range: bytes 6-9/10",
        "ETag: \"a\"; Content-Range: bytes 5-9/11",
        "ETag: \"a\"; Content-Range: bytes 5-9/*",
    ] {
        assert_eq!(Combined::combine(&first, &part(other)), None, "{other}");
    }
}

/// §3.4: a part with a strong validator states the head of the whole.
#[test]
fn a_part_has_the_head_of_the_whole() {
    let head =
        |text: &str| stored(&rules("shared"), "GET", &format!("206 max-age=9; {text}")).expect("storable");
    let whole =
        head("ETag: \"a\"; Content-Range: bytes 0-4/10; Content-Length: 5").of_whole().expect("a whole");
    assert_eq!((whole.status, whole.part), (StatusCode::OK, None));
    assert_eq!(whole.fields["content-length"], "10");
    assert!(!whole.fields.contains_key("content-range"));
    for other in [
        "Content-Range: bytes 0-4/10",
        "ETag: W/\"a\"; Content-Range: bytes 0-4/10",
        "ETag: \"a\"; Content-Range: bytes 0-4/*",
    ] {
        assert_eq!(head(other).of_whole(), None, "{other}");
    }
}
