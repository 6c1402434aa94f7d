//! Tests the conditions for storing a response (RFC 9111 §3), a row for each, in the section's
//! order.

mod table;

use table::{check, check_cited, rules, stored};

fn storing(table: &str) {
    check(table, |cells| match stored(&rules(cells[0]), cells[1], cells[2]) {
        Ok(_) => "stored".to_owned(),
        Err(why) => why.to_string(),
    });
}

#[test]
fn conditions_for_storing() {
    storing("
        shared  | GET                          | 200 max-age=9                          | stored
        shared  | BREW                         | 200 max-age=9                          | method without cacheable responses (§3)
        shared  | HEAD                         | 200 max-age=9                          | method without cacheable responses (§3)
        shared  | PUT                          | 200 max-age=9                          | method without cacheable responses (§3)
        shared  | GET                          | 103 max-age=9                          | not a final response (§3)
        shared  | GET                          | 304 max-age=9                          | 304 without a stored response (§3)
        shared  | GET                          | 599 max-age=9                          | stored
        shared  | GET                          | 599 max-age=9, must-understand         | status code not understood (§5.2.2.3)
        shared  | GET                          | 200 max-age=9, no-store                | no-store in the response (§5.2.2.5)
        shared  | GET                          | 200 max-age=9; No-StOrE                | no-store in the response (§5.2.2.5)
        shared  | GET                          | 200 max-age=9, no-store, must-understand | stored
        shared  | GET                          | 599 max-age=9, no-store, must-understand | status code not understood (§5.2.2.3)
        shared  | GET no-store                 | 200 max-age=9                          | no-store in the request (§5.2.1.5)
        shared  | GET                          | 200 max-age=9, private                 | private response in a shared cache (§5.2.2.7)
        private | GET                          | 200 max-age=9, private                 | stored
        shared  | GET                          | 200 max-age=9, private=\"set-cookie\"  | stored
        shared  | GET                          | 200 max-age=9, private=\"\"            | private response in a shared cache (§5.2.2.7)
        shared  | GET                          | 200 max-age=9, private, private=\"a\"  | private response in a shared cache (§5.2.2.7)
        shared  | GET                          | 302                                    | no lifetime or other permission to store (§3)
        shared  | GET                          | 302 max-age=9                          | stored
        shared  | GET                          | 302 Expires: ~60                       | stored
        shared  | GET                          | 404 Last-Modified: ~-99                | stored
        shared  | GET                          | 200 max-age=9; Vary: *                 | Vary: * (§4.1)
        shared  | GET                          | 200                                    | stale on arrival, without a validator (§4.3.1)
        shared  | GET                          | 200 max-age=0                          | stale on arrival, without a validator (§4.3.1)
        shared  | GET                          | 200 max-age=0; ETag: \"a\"             | stored
        shared  | GET                          | 200 no-cache; ETag: \"a\"              | stored
        shared  | GET                          | 200 max-age=0, stale-if-error=60       | stored
    ");
}

/// §3.5: a response to one user's credentials must not reach another user.
#[test]
fn responses_to_authorization_do_not_leak() {
    storing(
        "
        shared  | GET Authorization: x         | 200 max-age=9                          | Authorization in the request (§3.5)
        shared  | GET Authorization: x         | 200 max-age=9, public                  | stored
        shared  | GET Authorization: x         | 200 max-age=9, must-revalidate         | stored
        shared  | GET Authorization: x         | 200 s-maxage=9                         | stored
        shared  | GET Authorization: x         | 200 max-age=9, proxy-revalidate        | Authorization in the request (§3.5)
        private | GET Authorization: x         | 200 max-age=9                          | stored
    ",
    );
}

fn storing_cited(table: &str) {
    check_cited(table, |cells| match stored(&rules(cells[0]), cells[1], cells[2]) {
        Ok(_) => "stored".to_owned(),
        Err(why) => why.token().to_owned(),
    });
}

/// An origin answered Alice with `s-maxage=foo` and an entity tag. The page was stored, and after a
/// 304 Bob got it.
#[test]
fn an_invalid_directive_does_not_share_a_response_to_authorization() {
    storing_cited("
        shared  | GET Authorization: A | 200 s-maxage=foo; ETag: \"a\"               | authorization | §3.5: s-maxage, §1.2.2: its value is delta-seconds
        shared  | GET Authorization: A | 200 s-maxage; ETag: \"a\"                   | authorization | §5.2.2.10: the argument is required
        shared  | GET Authorization: A | 200 s-maxage=-1; ETag: \"a\"                | authorization | §1.2.2: non-negative
        shared  | GET Authorization: A | 200 s-maxage=9, s-maxage=x; ETag: \"a\"     | authorization | §4.2.1: conflicting values
        shared  | GET Authorization: A | 200 s-maxage=x, s-maxage=9; ETag: \"a\"     | authorization | §4.2.1: conflicting values
        shared  | GET Authorization: A | 200 max-age=9, public=\"x\"; ETag: \"a\"   | authorization | §5.2.2.9: no argument
        shared  | GET Authorization: A | 200 max-age=9, must-revalidate=1; ETag: \"a\" | authorization | §5.2.2.2: no argument
        shared  | GET Authorization: A | 200 max-age=9, xpublic; ETag: \"a\"         | authorization | §5.2.3: unknown directives are ignored
        shared  | GET Authorization: A | 200 max-age=9, x=\"public\"; ETag: \"a\"   | authorization | §5.2.3: an extension's argument is no directive
        shared  | GET Authorization: A | 200 s-maxage=\"9\"                          | stored        | §5.2: both forms of an argument ought to be accepted
        shared  | GET Authorization: A | 200 s-maxage=0; ETag: \"a\"                 | stored        | §3.5: s-maxage
        shared  | GET Authorization: A | 200 max-age=9; CDN-Cache-Control: s-maxage=\"9\" | authorization | RFC 9213 §2.1: a string is of the wrong type
        shared  | GET Authorization: A | 200 CDN-Cache-Control: s-maxage=9             | stored        | RFC 9213 §2.2: replaces Cache-Control
        shared  | GET Authorization: A | 200 public, max-age=9; CDN-Cache-Control: max-age=9 | authorization | RFC 9213 §2.2: Cache-Control is ignored
    ");
}

/// §3, last item of the list: only a valid directive permits storing what would not be stored
/// otherwise.
#[test]
fn an_invalid_directive_does_not_permit_storing() {
    storing_cited(
        "
        shared  | GET | 302 max-age=x; ETag: \"a\"              | nothing-allows | §3: a max-age response directive
        shared  | GET | 302 s-maxage=x; ETag: \"a\"             | nothing-allows | §3: an s-maxage response directive
        private | GET | 302 s-maxage=9; ETag: \"a\"             | nothing-allows | §3: and the cache is shared
        shared  | GET | 302 public=x; ETag: \"a\"               | nothing-allows | §3: a public response directive
        shared  | GET | 302 max-age=0; ETag: \"a\"              | stored         | §3: a max-age response directive
        shared  | GET | 302 Expires: 0; ETag: \"a\"             | stored         | §5.3: an invalid date is a time in the past
        ",
    );
}

/// §7.3 leaves the decision to Cache-Control. A cookie that was sent to another user cannot be
/// revoked.
#[test]
fn a_shared_cache_does_not_store_cookies() {
    storing(
        "
        shared  | GET                          | 200 max-age=9, public; Set-Cookie: a=b | Set-Cookie in a shared cache (§7.3)
        private | GET                          | 200 max-age=9; Set-Cookie: a=b         | stored
    ",
    );
    let rules = larder_policy::Rules::shared().with_store_set_cookie(true);
    assert!(stored(&rules, "GET", "200 max-age=9; Set-Cookie: a=b").is_ok());
}

/// nginx added `Cache-Control: max-age=600` to all responses. A client requested bytes behind the
/// end of the page, and its 416 was stored and served to plain requests for ten minutes.
#[test]
fn an_error_that_one_request_can_cause_is_not_shared() {
    storing_cited("
        shared | GET Range: bytes=99999999- | 416 max-age=600                  | request-error  | RFC 9110 §15.5.17: the ranges of the request
        shared | GET If-Match: \"x\"        | 412 max-age=600                  | request-error  | RFC 9110 §15.5.13: the conditions of the request
        shared | GET Expect: x              | 417 max-age=600                  | request-error  | RFC 9110 §15.5.18: Expect of the request
        shared | GET Early-Data: 1          | 425 max-age=600                  | request-error  | RFC 8470 §5.2: Early-Data of the request
        shared | GET                        | 400 max-age=600                  | request-error  | RFC 9110 §15.5.1: malformed request syntax
        shared | GET                        | 401 max-age=600                  | request-error  | RFC 9110 §15.5.2: credentials are missing
        shared | GET                        | 403 max-age=600                  | request-error  | RFC 9110 §15.5.4: insufficient credentials
        shared | GET                        | 405 max-age=600                  | request-error  | RFC 9110 §15.5.6: a method, or one that a field replaces it with
        shared | GET                        | 405 Last-Modified: ~-99          | request-error  | RFC 9110 §15.5.6: heuristically cacheable
        shared | GET Accept: x              | 406 max-age=600                  | request-error  | RFC 9110 §15.5.7: proactive negotiation
        shared | GET Accept: x              | 406 max-age=600; Vary: Accept    | stored         | RFC 9110 §12.5.5: the fields of the request are selecting
        shared | GET                        | 407 max-age=600                  | request-error  | RFC 9110 §15.5.8: the proxy's credentials
        shared | GET                        | 408 max-age=600                  | request-error  | RFC 9110 §15.5.9: one client's connection
        shared | GET                        | 411 max-age=600                  | request-error  | RFC 9110 §15.5.12: Content-Length of the request
        shared | GET                        | 413 max-age=600                  | request-error  | RFC 9110 §15.5.14: the content of the request
        shared | GET                        | 414 max-age=600                  | request-error  | RFC 9110 §15.5.15: heuristically cacheable
        shared | GET                        | 415 max-age=600                  | request-error  | RFC 9110 §15.5.16: the content of the request
        shared | GET                        | 421 max-age=600                  | request-error  | RFC 9110 §15.5.20: the connection of the request
        shared | GET                        | 422 max-age=600                  | request-error  | RFC 9110 §15.5.21: the content of the request
        shared | GET Upgrade: x             | 426 max-age=600                  | request-error  | RFC 9110 §15.5.22: Upgrade of the request
        shared | GET                        | 499 max-age=600                  | request-error  | RFC 9110 §15: an unknown 4xx is as 400
        shared | GET                        | 500 max-age=600                  | request-error  | RFC 9110 §15.6.1: an unexpected condition
        shared | GET Transfer-Encoding: x   | 501 max-age=600                  | request-error  | RFC 9110 §15.6.2: heuristically cacheable
        shared | GET                        | 505 max-age=600                  | request-error  | RFC 9110 §15.6.6: the version of the request
        shared | GET                        | 404 max-age=600                  | stored         | RFC 9110 §15.5.5: the resource
        shared | GET                        | 410 max-age=600                  | stored         | RFC 9110 §15.5.11: the resource
        shared | GET                        | 451 max-age=600                  | stored         | RFC 7725 §3: the resource
        shared | GET                        | 503 max-age=600                  | stored         | RFC 9110 §15.6.4: the server
        shared | GET                        | 416 s-maxage=600                 | stored         | §5.2.2.10: for shared caches
        shared | GET                        | 416 s-maxage=x                   | request-error  | §1.2.2: no delta-seconds
        shared | GET                        | 416 CDN-Cache-Control: max-age=9 | stored         | RFC 9213 §2.2: for this cache
        shared | GET                        | 416 max-age=9; CDN-Cache-Control: public; ETag: \"a\" | request-error | RFC 9213 §2.2: no lifetime for this cache
        shared | GET                        | 400 max-age=600, no-store        | no-store       | §5.2.2.5: MUST NOT store
        private | GET                       | 400 max-age=600                  | stored         | §3: one user's cache
        private | GET Range: bytes=99999999- | 416 max-age=600                 | request-error  | RFC 9110 §15.5.17: the ranges of one request
        private | GET If-Match: \"x\"       | 412 max-age=600                  | request-error  | RFC 9110 §15.5.13: the conditions of one request
        private | GET                       | 412 s-maxage=600                 | request-error  | §5.2.2.10: not for private caches
        shared | GET                        | 428 s-maxage=600                 | status         | RFC 6585 §3: MUST NOT be stored by a cache
        shared | GET                        | 429 s-maxage=600                 | status         | RFC 6585 §4: MUST NOT be stored by a cache
        shared | GET                        | 431 s-maxage=600                 | status         | RFC 6585 §5: MUST NOT be stored by a cache
        private | GET                       | 511 max-age=600                  | status         | RFC 6585 §6: MUST NOT be stored by a cache
    ");
    let switched = larder_policy::Rules::shared().with_store_request_errors(true);
    for status in [400, 405, 416, 500, 501] {
        assert!(stored(&switched, "GET", &format!("{status} max-age=600")).is_ok(), "{status}");
    }
    let never = stored(&switched, "GET", "429 max-age=600");
    assert_eq!(never, Err(larder_policy::NotStorable::NeverStoredStatus));
}

/// An origin answered 404 to a request with a field of 9,000 bytes. The 404 was stored for the page
/// of everybody, for ten minutes.
#[test]
fn an_error_of_a_request_with_unusually_long_fields_is_not_shared() {
    use larder_policy::{NotStorable::RequestError, Rules};

    let shared = Rules::shared();
    let long = |length: usize| format!("GET X-Long: {}", "x".repeat(length));
    let many = |count: usize| {
        let fields: Vec<_> = (0..count).map(|number| format!("X-{number}: y")).collect();
        format!("GET {}", fields.join("; "))
    };
    for (request, response, is_stored, reason) in [
        (long(9000), "404 max-age=600", false, "the limit of the origin may be the reason"),
        (long(9000), "410 max-age=600", false, "RFC 9110 §15.5.11"),
        (long(9000), "301 max-age=600", false, "a redirect to a page of errors"),
        (long(9000), "503 max-age=600", false, "RFC 9110 §15.6.4"),
        (long(9000), "404 s-maxage=600", true, "§5.2.2.10: for shared caches"),
        (long(9000), "200 max-age=600", true, "no error"),
        (long(3000), "404 max-age=600", true, "usual"),
        (many(80), "404 max-age=600", false, "the number of fields"),
        (many(40), "404 max-age=600", true, "usual"),
    ] {
        let result = stored(&shared, &request, response).map(|_| ());
        assert_eq!(result, if is_stored { Ok(()) } else { Err(RequestError) }, "{response}: {reason}");
    }
    assert!(stored(&Rules::private(), &long(9000), "404 max-age=600").is_ok(), "one user's cache");
    let switched = shared.with_store_request_errors(true);
    assert!(stored(&switched, &long(9000), "404 max-age=600").is_ok(), "the operator's choice");
}

/// RFC 9110 §9.3.3: POST needs an explicit lifetime and a Content-Location equal to the target.
#[test]
fn post() {
    storing("
        shared | POST | 200 max-age=9; Content-Location: /a/page?x=1                        | stored
        shared | POST | 200 max-age=9; Content-Location: http://EXAMPLE.com:80/a/page?x=1   | stored
        shared | POST | 200 max-age=9; Content-Location: ?x=1                               | stored
        shared | POST | 200 max-age=9; Content-Location: /other                             | method without cacheable responses (§3)
        shared | POST | 200 max-age=9                                                       | method without cacheable responses (§3)
        shared | POST | 200 Last-Modified: ~-99; Content-Location: /a/page?x=1              | method without cacheable responses (§3)
    ");
}

/// §3.3: a partial response is stored with its range, or not at all.
#[test]
fn a_partial_response_is_never_stored_as_complete() {
    storing("
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-4/10                      | stored
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-4/10; Content-Length: 5   | stored
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-4/10; Content-Length: 6   | invalid or inconsistent Content-Range (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9                                                   | invalid or inconsistent Content-Range (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 4-0/10                      | invalid or inconsistent Content-Range (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-10/10                     | invalid or inconsistent Content-Range (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: lines 0-4/10                      | invalid or inconsistent Content-Range (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-4/10; Content-Range: x    | invalid or inconsistent Content-Range (§3.3)
        shared | GET                  | 200 max-age=9; Content-Range: nonsense                          | stored
    ");
    let part = stored(&rules("shared"), "GET Range: bytes=0-4", "206 max-age=9; Content-Range: bytes 0-4/10");
    let part = part.expect("the response is storable").part.expect("the response is partial");
    assert_eq!((part.first, part.last, part.complete), (0, 4, Some(10)));
}

/// §3.1, §5.2.2.4, §5.2.2.7: the fields that are stored.
#[test]
fn fields_that_are_stored() {
    check(
        "
        shared  | 200 max-age=9; Connection: a, b; A: 1; B: 2; C: 3; C: 4                    | c c cache-control
        shared  | 200 max-age=9; Keep-Alive: 1; TE: x; Trailer: x; Upgrade: h; D: 1          | cache-control d
        shared  | 200 max-age=9; Proxy-Authenticate: x; Proxy-Authentication-Info: x         | cache-control
        shared  | 200 max-age=9; Proxy-Connection: x; Age: 3; Transfer-Encoding: x           | cache-control
        shared  | 200 max-age=9, no-cache=\"a, b\"; A: 1; B: 2; C: 3                         | c cache-control
        shared  | 200 max-age=9, private=\"a\"; A: 1; C: 3                                   | c cache-control
        private | 200 max-age=9, private=\"a\"; A: 1                                         | a cache-control
        shared  | 200 max-age=9; Connection: cache-control, vary; Vary: x                    | cache-control vary
        ",
        |cells| {
            let head = stored(&rules(cells[0]), "GET", cells[1]).expect("the response is storable");
            let mut names: Vec<_> = head.fields.iter().map(|(name, _)| name.as_str().to_owned()).collect();
            names.sort();
            names.join(" ")
        },
    );
}

/// An origin listed its CDN-Cache-Control in Connection. The field was removed before it was read,
/// and a page with `no-store` was stored.
#[test]
fn connection_does_not_hide_what_forbids_storing() {
    let own = http::HeaderName::from_static("own-control");
    let rules = rules("shared").with_targets([own, larder_policy::header_names::CDN_CACHE_CONTROL]);
    check_cited(
        "
        200 max-age=9; Connection: cdn-cache-control; CDN-Cache-Control: no-store         | no-store | RFC 9213 §2.2: the first on the target list
        200 max-age=9; Connection: CDN-Cache-Control, close; CDN-Cache-Control: private   | private  | RFC 9213 §2.2: the first on the target list
        200 max-age=9; Connection: own-control; Own-Control: no-store                     | no-store | RFC 9213 §2.2: a target list that is configured
        200 max-age=9, private; Connection: cache-control                                 | private  | RFC 9110 §7.6.1: Cache-Control is never appropriate
        200 max-age=9; Connection: set-cookie; Set-Cookie: a=b                            | set-cookie | RFC 9110 §7.6.1: intended for all recipients
        200 max-age=9; Connection: vary; Vary: *                                          | vary-star | RFC 9110 §7.6.1: intended for all recipients
        200 max-age=9; Connection: expires, age; Age: 60; ETag: \"a\"                    | age cache-control etag | RFC 9110 §7.6.1: intended for all recipients
        200 max-age=9; Connection: cache-groups; Cache-Groups: \"a\"                     | cache-control cache-groups | RFC 9110 §7.6.1: intended for all recipients
        200 max-age=9; Connection: last-modified; Last-Modified: ~0                       | cache-control last-modified | RFC 9110 §7.6.1: intended for all recipients
        200 max-age=9; Connection: x-hop; X-Hop: 1                                        | cache-control | RFC 9110 §7.6.1: MUST remove
        ",
        |cells| {
            let (_, mut fields) = table::message(cells[0]);
            rules.strip_hop_by_hop(&mut fields);
            // The engine strips the fields before it decides. A caller that does not gets the same
            // decision.
            let response = cells[0];
            match (stored(&rules, "GET", response), store_fields(&rules, &fields)) {
                (Err(why), Err(after)) if why == after => why.token().to_owned(),
                (Ok(_), Ok(_)) => {
                    let mut names: Vec<_> = fields.keys().map(|name| name.as_str().to_owned()).collect();
                    names.sort();
                    names.join(" ")
                }
                other => format!("{other:?}"),
            }
        },
    );
}

/// Decides on a 200 with these fields for a plain GET.
fn store_fields(
    rules: &larder_policy::Rules,
    fields: &http::HeaderMap,
) -> Result<larder_policy::StoredHead, larder_policy::NotStorable> {
    let plain = http::HeaderMap::new();
    let request = larder_policy::RequestHead::new(&http::Method::GET, &plain);
    rules.storable(&table::target(), &request, http::StatusCode::OK, fields, table::exchange_at(table::NOW))
}

/// Received values are slices of a connection's read buffer. Stored heads kept the whole buffer in
/// memory.
#[test]
fn a_stored_head_does_not_keep_the_read_buffer_in_memory() {
    let buffer = bytes::Bytes::from(b"max-age=60|text/html|a|b".to_vec());
    let slice = |from, to| http::HeaderValue::from_maybe_shared(buffer.slice(from..to)).expect("a value");
    let mut fields = http::HeaderMap::new();
    fields.insert("cache-control", slice(0, 10));
    fields.insert("content-type", slice(11, 20));
    fields.append("link", slice(21, 22));
    fields.append("link", slice(23, 24));
    let method = http::Method::GET;
    let request_fields = http::HeaderMap::new();
    let request = larder_policy::RequestHead::new(&method, &request_fields);
    let stored = rules("shared").storable(
        &table::target(),
        &request,
        http::StatusCode::OK,
        &fields,
        table::exchange_at(table::NOW),
    );
    let stored = stored.expect("the response is storable");
    assert_eq!(stored.fields, fields);
    drop(fields);
    assert!(buffer.is_unique(), "the buffer is still held");
}
