//! RFC 9111 §3: the conditions for storing a response, a row for each, in the section's order.

mod table;

use table::{check, rules, stored};

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
        shared  | BREW                         | 200 max-age=9                          | method not understood (§3)
        shared  | HEAD                         | 200 max-age=9                          | method not understood (§3)
        shared  | PUT                          | 200 max-age=9                          | method not understood (§3)
        shared  | GET                          | 103 max-age=9                          | not a final response (§3)
        shared  | GET                          | 304 max-age=9                          | nothing to confirm (§3)
        shared  | GET                          | 599 max-age=9                          | stored
        shared  | GET                          | 599 max-age=9, must-understand         | status not understood (§5.2.2.3)
        shared  | GET                          | 200 max-age=9, no-store                | no-store (§5.2.2.5)
        shared  | GET                          | 200 max-age=9; No-StOrE                | no-store (§5.2.2.5)
        shared  | GET                          | 200 max-age=9, no-store, must-understand | stored
        shared  | GET                          | 599 max-age=9, no-store, must-understand | status not understood (§5.2.2.3)
        shared  | GET no-store                 | 200 max-age=9                          | no-store (§5.2.1.5)
        shared  | GET                          | 200 max-age=9, private                 | private (§5.2.2.7)
        private | GET                          | 200 max-age=9, private                 | stored
        shared  | GET                          | 200 max-age=9, private=\"set-cookie\"  | stored
        shared  | GET                          | 200 max-age=9, private=\"\"            | private (§5.2.2.7)
        shared  | GET                          | 200 max-age=9, private, private=\"a\"  | private (§5.2.2.7)
        shared  | GET                          | 302                                    | nothing allows it (§3)
        shared  | GET                          | 302 max-age=9                          | stored
        shared  | GET                          | 302 Expires: ~60                       | stored
        shared  | GET                          | 404 Last-Modified: ~-99                | stored
        shared  | GET                          | 200 max-age=9; Vary: *                 | Vary: * (§4.1)
        shared  | GET                          | 200                                    | stale at once, without validator (§4.3.1)
        shared  | GET                          | 200 max-age=0                          | stale at once, without validator (§4.3.1)
        shared  | GET                          | 200 max-age=0; ETag: \"a\"             | stored
        shared  | GET                          | 200 no-cache; ETag: \"a\"              | stored
        shared  | GET                          | 200 max-age=0, stale-if-error=60       | stored
    ");
}

/// §3.5. A response to one user's credentials must not reach the next.
#[test]
fn responses_to_authorization_do_not_leak() {
    storing(
        "
        shared  | GET Authorization: x         | 200 max-age=9                          | authorization (§3.5)
        shared  | GET Authorization: x         | 200 max-age=9, public                  | stored
        shared  | GET Authorization: x         | 200 max-age=9, must-revalidate         | stored
        shared  | GET Authorization: x         | 200 s-maxage=9                         | stored
        shared  | GET Authorization: x         | 200 max-age=9, proxy-revalidate        | authorization (§3.5)
        private | GET Authorization: x         | 200 max-age=9                          | stored
    ",
    );
}

/// §7.3 leaves it to Cache-Control; a cookie that was sent to the next user can't be called back.
#[test]
fn a_cookie_of_one_user_is_not_kept_for_all() {
    storing(
        "
        shared  | GET                          | 200 max-age=9, public; Set-Cookie: a=b | set-cookie (§7.3)
        private | GET                          | 200 max-age=9; Set-Cookie: a=b         | stored
    ",
    );
    let mut rules = larder_policy::Rules::shared();
    rules.store_set_cookie = true;
    assert!(stored(&rules, "GET", "200 max-age=9; Set-Cookie: a=b").is_ok());
}

/// RFC 9110 §9.3.3: with explicit freshness, and a Content-Location that is the target.
#[test]
fn post() {
    storing("
        shared | POST | 200 max-age=9; Content-Location: /a/page?x=1                        | stored
        shared | POST | 200 max-age=9; Content-Location: http://EXAMPLE.com:80/a/page?x=1   | stored
        shared | POST | 200 max-age=9; Content-Location: ?x=1                               | stored
        shared | POST | 200 max-age=9; Content-Location: /other                             | method not understood (§3)
        shared | POST | 200 max-age=9                                                       | method not understood (§3)
        shared | POST | 200 Last-Modified: ~-99; Content-Location: /a/page?x=1              | method not understood (§3)
    ");
}

/// §3.3: a part is stored as what it is, or not at all.
#[test]
fn a_part_is_never_taken_for_the_whole() {
    storing("
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-4/10                      | stored
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-4/10; Content-Length: 5   | stored
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-4/10; Content-Length: 6   | part unclear (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9                                                   | part unclear (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 4-0/10                      | part unclear (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-10/10                     | part unclear (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: lines 0-4/10                      | part unclear (§3.3)
        shared | GET Range: bytes=0-4 | 206 max-age=9; Content-Range: bytes 0-4/10; Content-Range: x    | part unclear (§3.3)
        shared | GET                  | 200 max-age=9; Content-Range: nonsense                          | stored
    ");
    let part = stored(&rules("shared"), "GET Range: bytes=0-4", "206 max-age=9; Content-Range: bytes 0-4/10");
    let part = part.expect("it is storable").part.expect("it is a part");
    assert_eq!((part.first, part.last, part.complete), (0, 4, Some(10)));
}

/// §3.1, §5.2.2.4, §5.2.2.7: which fields are kept.
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
            let head = stored(&rules(cells[0]), "GET", cells[1]).expect("it is storable");
            let mut names: Vec<_> = head.fields.iter().map(|(name, _)| name.as_str().to_owned()).collect();
            names.sort();
            names.join(" ")
        },
    );
}

/// The values that come from a connection are slices of its read buffer, which lived as long as the shortest of them.
#[test]
fn what_is_kept_does_not_hold_on_to_what_it_came_in() {
    let buffer = bytes::Bytes::from(b"max-age=60|text/html|a|b".to_vec());
    let slice = |from, to| http::HeaderValue::from_maybe_shared(buffer.slice(from..to)).expect("a value");
    let mut fields = http::HeaderMap::new();
    fields.insert("cache-control", slice(0, 10));
    fields.insert("content-type", slice(11, 20));
    fields.append("link", slice(21, 22));
    fields.append("link", slice(23, 24));
    let method = http::Method::GET;
    let asked = http::HeaderMap::new();
    let request = larder_policy::RequestHead::new(&method, &asked);
    let kept = rules("shared").storable(
        &table::target(),
        &request,
        http::StatusCode::OK,
        &fields,
        table::exchange_at(table::NOW),
    );
    let kept = kept.expect("storable");
    assert_eq!(kept.fields, fields);
    drop(fields);
    assert!(buffer.is_unique(), "the buffer is still held");
}
