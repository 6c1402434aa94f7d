//! Tests what a 304 and a response to HEAD change of the stored responses (RFC 9111 §3.2, §4.3.4,
//! §4.3.5).

mod table;

use http::{HeaderMap, StatusCode};
use larder_policy::{Freshen, HeadFreshen, NotStorable, RequestHead, Rules, StoredHead};
use table::{NOW, check, check_cited, exchange_at, message, method, rules, stored, target};

fn freshen_get(rules: &Rules, heads: &[StoredHead], fields: &HeaderMap) -> Freshen {
    let (verb, request_fields) = (http::Method::GET, HeaderMap::new());
    rules.freshen(
        &target(),
        &RequestHead::new(&verb, &request_fields),
        heads,
        0,
        fields,
        exchange_at(NOW + 100),
    )
}

/// §3.2, §4.3.4: the fields that a 304 updates, and the new freshness information.
#[test]
fn freshening() {
    let rules = rules("shared");
    let old = "200 max-age=9; ETag: \"a\"; A: 1; A: 2; Content-Type: x; Content-Length: 10; Content-Encoding: gzip; Keep: 1";
    let head = stored(&rules, "GET", old).expect("the response is storable");
    let (_, new) = message(
        "304 max-age=60; ETag: \"a\"; A: 3; Content-Type: y; Content-Length: 0; Content-Encoding: br; Connection: B; B: 1",
    );
    let Freshen::Updated { index: 0, head } = freshen_get(&rules, &[head], &new) else {
        panic!("the 304 validates the response")
    };
    let field = |name: &str| {
        head.fields
            .get_all(name)
            .iter()
            .map(|value| value.to_str().expect("text"))
            .collect::<Vec<_>>()
            .join(",")
    };
    for (name, expected) in [
        ("a", "3"),
        ("content-type", "y"),
        ("content-length", "10"),
        ("content-encoding", "gzip"),
        ("keep", "1"),
        ("etag", "\"a\""),
        ("b", ""),
        ("connection", ""),
        ("cache-control", "max-age=60"),
    ] {
        assert_eq!(field(name), expected, "{name}");
    }
    assert_eq!(head.freshness.lifetime.lifetime.as_secs(), 60);
    assert_eq!(head.freshness.response_time, table::at(NOW + 100));
}

#[test]
fn a_304_that_selects_none_of_several_updates_none() {
    let rules = rules("shared");
    let heads: Vec<_> = ["\"a\"", "\"b\"", "W/\"c\""]
        .iter()
        .map(|tag| {
            stored(&rules, "GET", &format!("200 max-age=9; ETag: {tag}")).expect("the response is storable")
        })
        .collect();
    for (response, expected) in [
        ("304 ETag: \"b\"", Some(1)),
        ("304 ETag: W/\"c\"", Some(2)),
        ("304 ETag: \"x\"", None),
        ("304 A: 1", None),
    ] {
        let (_, fields) = message(response);
        let index = match freshen_get(&rules, &heads, &fields) {
            Freshen::Updated { index, .. } => Some(index),
            _ => None,
        };
        assert_eq!(index, expected, "{response}");
    }
}

/// §4.3.4: which of the stored responses a 304 validates, by index. `+` separates them; the first
/// one was selected.
#[test]
fn what_a_304_validates() {
    check_cited(
        "
        ETag: \"a\"                          | 304 ETag: \"a\"               | 0    | §4.3.4: one of those same strong validators
        ETag: \"a\" + ETag: \"b\"            | 304 ETag: \"b\"               | 1    | §4.3.4: one of those same strong validators
        ETag: \"a\" + ETag: \"b\"            | 304 ETag: \"c\"               | none | §4.3.4: MUST NOT use the new response to update
        ETag: \"a\" + ETag: W/\"b\"          | 304 ETag: \"b\"               | none | §4.3.4: not the same strong validator
        ETag: \"a\" + ETag: W/\"b\"          | 304 ETag: W/\"b\"             | 1    | §4.3.4: weak validators that correspond to one
        ETag: \"a\" + ETag: W/\"b\"          | 304 ETag: W/\"a\"             | 0    | §4.3.4: weak validators that correspond to one
        ETag: \"a\" + ETag: \"a\"            | 304 ETag: \"a\"               | 0    | §4.3.4: the most recent, which was selected
        ETag: \"a\" + ETag: \"b\"            | 304 A: 1                      | none | §4.3.4: they have validators
        Last-Modified: ~-9 + ETag: \"b\"     | 304 A: 1                      | 0    | RFC 9110 §13.1.3: the only condition that was sent
        Last-Modified: ~-9 + Last-Modified: ~-5 | 304 Last-Modified: ~-5     | 1    | §4.3.4: weak validators that correspond to one
        Last-Modified: ~-9 + Last-Modified: ~-5 | 304 Last-Modified: ~-7     | none | §4.3.4: no corresponding validator
        ETag: \"a\"                          | 304 A: 1                      | 0    | §4.3.4: only one stored response
        # Decision 010: a server that encodes on the fly sends another tag with the 304.
        ETag: \"a\"                          | 304 ETag: \"a-gzip\"          | 0    | §4.3.4: other than there, if only one is stored
        ",
        |cells| {
            let rules = rules("shared");
            let heads: Vec<_> = cells[0]
                .split(" + ")
                .map(|text| stored(&rules, "GET", &format!("200 max-age=9; {text}")).expect("it is storable"))
                .collect();
            let (_, fields) = message(cells[1]);
            match freshen_get(&rules, &heads, &fields) {
                Freshen::Updated { index, .. } => index.to_string(),
                Freshen::Unmatched => "none".to_owned(),
                other => format!("{other:?}"),
            }
        },
    );
}

/// §3.2: the fields of a 304 that update the stored ones.
#[test]
fn what_a_304_updates() {
    check_cited(
        "
        a             | A: 1; A: 2             | A: 3            | 3   | §3.2: replacing field values that are already present
        a             | A: 1                   | B: 3            | 1   | §3.2: add each header field in the provided response
        b             | A: 1                   | B: 3; B: 4      | 3,4 | §3.2: add each header field in the provided response
        content-type  | Content-Type: x        | Content-Type: y | y   | §3.2: the Content- prefix is no signal
        content-length | Content-Length: 9     | Content-Length: 0 | 9 | §3.2: except Content-Length
        content-range | A: 1                   | Content-Range: x | none | §3.2: automatically processed and removed
        content-encoding | Content-Encoding: x | Content-Encoding: y | x | §3.2: fields that the stored response depends upon
        connection    | A: 1                   | Connection: b   | none | §3.1: excepted from storage
        b             | A: 1                   | Connection: b; B: 1 | none | §3.1: fields listed in Connection
        proxy-authenticate | A: 1              | Proxy-Authenticate: x | none | §3.1: fields of one proxy
        age           | A: 1                   | Age: 5          | none | §4.2.3: part of the age
        date          | Date: Sun, 06 Nov 1994 08:49:37 GMT | Date: Mon, 07 Nov 1994 08:49:37 GMT | Mon, 07 Nov 1994 08:49:37 GMT | §3.2: replacing
        expires       | Expires: 0             | Expires: 1      | 1   | §3.2: replacing
        cache-control | A: 1                   | max-age=5       | max-age=5 | §3.2: replacing
        ",
        |cells| {
            let rules = rules("private");
            let response = format!("200 max-age=999999999; ETag: \"a\"; {}", cells[1]);
            let head = stored(&rules, "GET", &response).expect("the response is storable");
            let (_, fields) = message(&format!("304 ETag: \"a\"; {}", cells[2]));
            let Freshen::Updated { head, .. } = freshen_get(&rules, &[head], &fields) else {
                return "not updated".to_owned();
            };
            let lines = head.fields.get_all(cells[0]).iter().map(|value| value.to_str().expect("text"));
            let lines = lines.collect::<Vec<_>>().join(",");
            if lines.is_empty() { "none".to_owned() } else { lines }
        },
    );
}

#[test]
fn a_304_with_no_store_makes_the_response_unstorable() {
    let rules = rules("shared");
    let head = stored(&rules, "GET", "200 max-age=9; ETag: \"a\"").expect("the response is storable");
    let (_, fields) = message("304 no-store; ETag: \"a\"");
    let freshened = freshen_get(&rules, &[head], &fields);
    assert!(
        matches!(freshened, Freshen::NoLongerStorable { why: NotStorable::NoStore, .. }),
        "{freshened:?}"
    );
}

/// §4.3.5: a response to HEAD validates or outdates the response stored for GET.
#[test]
fn freshening_by_head() {
    let rules = rules("shared");
    let old = "200 max-age=9; ETag: \"a\"; Content-Length: 10; Last-Modified: ~-99";
    check(
        "
        200 max-age=60; ETag: \"a\"; Content-Length: 10 | updated
        200 max-age=60; ETag: \"a\"                     | updated
        200 max-age=60; ETag: \"b\"; Content-Length: 10 | outdated
        200 max-age=60; Content-Length: 11              | outdated
        200 max-age=60; Last-Modified: ~0               | outdated
        404 max-age=60                                  | unrelated
        ",
        |cells| {
            let head = stored(&rules, "GET", old).expect("the response is storable");
            let (verb, request_fields) = (http::Method::HEAD, HeaderMap::new());
            let (status, fields) = message(cells[0]);
            let status = StatusCode::from_bytes(status.as_bytes()).expect("a status code");
            let request = RequestHead::new(&verb, &request_fields);
            match rules.freshen_by_head(&target(), &request, [&head], status, &fields, exchange_at(NOW)) {
                HeadFreshen::Updated { .. } => "updated".to_owned(),
                HeadFreshen::Stale { .. } => "outdated".to_owned(),
                _ => "unrelated".to_owned(),
            }
        },
    );
}

/// A page was stored. Alice, with a session, sent HEAD or revalidated it, and the response had a
/// cookie for her or was private: its fields went into the stored page, and all got her cookie.
#[test]
fn an_exchange_that_may_not_be_stored_changes_nothing_that_is_stored() {
    check_cited(
        "
        shared  | HEAD                    | 200 max-age=60; ETag: \"a\"                        | updated    | §4.3.5: SHOULD update the stored response
        shared  | HEAD                    | 200 max-age=60; ETag: \"a\"; Set-Cookie: s=alice  | unrelated  | §7.3: a shared cache of this crate does not store it
        shared  | HEAD                    | 200 max-age=60, private; ETag: \"a\"              | unrelated  | §5.2.2.7: MUST NOT store the response
        shared  | HEAD                    | 200 no-store; ETag: \"a\"                         | unrelated  | §5.2.2.5: MUST NOT store any part
        shared  | HEAD                    | 200 max-age=60; ETag: \"b\"; Set-Cookie: s=alice  | unrelated  | §4.3.5: SHOULD, not MUST
        shared  | HEAD                    | 200 max-age=60; ETag: \"a\"; CDN-Cache-Control: no-store | unrelated | RFC 9213 §2.2: no-store
        shared  | HEAD no-store           | 200 max-age=60; ETag: \"a\"                       | unrelated  | §5.2.1.5: MUST NOT store any part of any response to it
        shared  | HEAD Authorization: a   | 200 max-age=60; ETag: \"a\"                       | unrelated  | §3.5: no directive that allows it
        shared  | HEAD Authorization: a   | 200 ETag: \"a\"                                   | unrelated  | §3.5: no directive that allows it
        shared  | HEAD Authorization: a   | 200 max-age=60, public; ETag: \"a\"               | updated    | §3.5: public
        shared  | HEAD                    | 200 max-age=60; ETag: \"a\"; Vary: *              | outdated   | §4.1: always fails to match
        private | HEAD                    | 200 max-age=60; ETag: \"a\"; Set-Cookie: s=alice  | updated    | §3: one user's cache
        private | HEAD Authorization: a   | 200 max-age=60; ETag: \"a\"                       | unrelated  | §4.3.5: could not have been chosen, since credentials select
        private | HEAD                    | 200 no-store; ETag: \"a\"                         | unrelated  | §5.2.2.5: MUST NOT store any part
        shared  | GET                     | 304 max-age=60; ETag: \"a\"                       | updated    | §4.3.4: MUST update its header fields
        shared  | GET                     | 304 max-age=60; ETag: \"a\"; Set-Cookie: s=alice  | for alice  | §7.3: a shared cache of this crate does not store it
        shared  | GET                     | 304 ETag: \"a\"; Set-Cookie: s=alice              | for alice  | §7.3: a shared cache of this crate does not store it
        shared  | GET                     | 304 max-age=60, private; ETag: \"a\"              | for alice  | §5.2.2.7: MUST NOT store the response
        shared  | GET no-store            | 304 max-age=60; ETag: \"a\"                       | for alice  | §5.2.1.5: MUST NOT store any part of any response to it
        shared  | GET Authorization: a    | 304 max-age=60; ETag: \"a\"                       | for alice  | §3.5: no directive that allows it
        shared  | GET Authorization: a    | 304 ETag: \"a\"                                   | for alice  | §3.5: no directive that allows it
        shared  | GET Authorization: a    | 304 s-maxage=x; ETag: \"a\"                       | for alice  | §3.5: no valid directive that allows it
        shared  | GET Authorization: a    | 304 max-age=60, public; ETag: \"a\"               | updated    | §3.5: public
        shared  | GET                     | 304 no-store; ETag: \"a\"                         | removed    | §5.2.2.5: MUST NOT store any part
        shared  | GET                     | 304 max-age=60; ETag: \"a\"; Vary: *              | removed    | §4.1: always fails to match
        private | GET Authorization: a    | 304 max-age=60; ETag: \"a\"; Set-Cookie: s=alice  | updated    | §3: one user's cache
        ",
        |cells| {
            let rules = rules(cells[0]);
            let head = stored(&rules, "GET", "200 max-age=9; ETag: \"a\"").expect("the response is storable");
            let (verb, request_fields) = message(cells[1]);
            let (verb, request_fields) = (method(verb), request_fields);
            let request = RequestHead::new(&verb, &request_fields);
            let (status, fields) = message(cells[2]);
            let status = StatusCode::from_bytes(status.as_bytes()).expect("a status code");
            let result = if verb == http::Method::HEAD {
                match rules.freshen_by_head(&target(), &request, [&head], status, &fields, exchange_at(NOW)) {
                    HeadFreshen::Updated { .. } => "updated",
                    HeadFreshen::Stale { .. } => "outdated",
                    HeadFreshen::Unrelated => "unrelated",
                }
            } else {
                match rules.freshen(&target(), &request, [&head], 0, &fields, exchange_at(NOW)) {
                    Freshen::Updated { .. } => "updated",
                    Freshen::ForThisRequest { .. } => "for alice",
                    Freshen::NoLongerStorable { .. } => "removed",
                    Freshen::Unmatched => "unmatched",
                }
            };
            result.to_owned()
        },
    );
}

/// §3.5: a page that was stored for a request with `Authorization` because of `public` is not
/// served to others once a 304 has withdrawn it.
#[test]
fn a_304_may_withdraw_the_permission_to_share() {
    let rules = rules("shared");
    let head = stored(&rules, "GET Authorization: a", "200 max-age=9, public; ETag: \"a\"")
        .expect("the response is storable");
    for (response, removed) in [("304 max-age=60; ETag: \"a\"", true), ("304 ETag: \"a\"", false)] {
        let (_, fields) = message(response);
        let freshened = freshen_get(&rules, std::slice::from_ref(&head), &fields);
        let expected = NotStorable::Authorization;
        assert_eq!(
            matches!(freshened, Freshen::NoLongerStorable { why, .. } if why == expected),
            removed,
            "{response}: {freshened:?}"
        );
    }
}
