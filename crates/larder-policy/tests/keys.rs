//! Tests cache keys (RFC 9111 §2) and the normal form of target URIs (RFC 3986 §6).

mod table;

use larder_policy::{CacheKey, TargetError, TargetUri};
use proptest::prelude::*;
use table::check;

#[test]
fn normal_form() {
    check(
        "
        http://example.com                     | http://example.com/
        HTTP://Example.COM:80/                 | http://example.com/
        https://example.com:443/a              | https://example.com/a
        http://example.com:8080/a              | http://example.com:8080/a
        http://example.com/a/../b              | http://example.com/b
        http://example.com/a/./b/              | http://example.com/a/b/
        http://example.com/a/b/..              | http://example.com/a/
        http://example.com/../../a             | http://example.com/a
        http://example.com/%2e%2E/a            | http://example.com/a
        http://example.com/a//b                | http://example.com/a//b
        http://example.com/a/..b/.c            | http://example.com/a/..b/.c
        http://example.com/%7ea%2fb            | http://example.com/~a%2Fb
        http://example.com/%70age?q=%7E%2f     | http://example.com/page?q=%7E%2F
        http://example.com/a%2E%2e/.%2E/b%2e   | http://example.com/b.
        http://example.com/%2570%41%3b         | http://example.com/%2570A%3B
        http://example.com/%%370age            | http://example.com/%%370age
        http://example.com/%70%zz              | http://example.com/%70%zz
        http://example.com/%70%                | http://example.com/%70%
        http://example.com/%../../%70          | http://example.com/p
        http://example.com/?a=%2f&b=/../c      | http://example.com/?a=%2F&b=/../c
        http://example.com?a                   | http://example.com/?a
        http://example.com/a#b                 | http://example.com/a
        http://[::1]:80/                       | http://[::1]/
        ftp://example.com/                     | the scheme is neither http nor https
        http:///a                              | the authority is not a host with an optional port
        http://user@example.com/               | the authority is not a host with an optional port
        http://exa mple.com/                   | the authority is not a host with an optional port
        http://example.com:80:80/              | the authority is not a host with an optional port
        http://example.com:x/                  | the authority is not a host with an optional port
        http://example.com/a b                 | the path does not begin with / or contains bytes that a URI cannot contain
        http://example.com/ä                   | http://example.com/%C3%A4
        http://example.com/a\"b<c>d`e          | http://example.com/a%22b%3Cc%3Ed%60e
        http://example.com/a\\b^c{d}?e=f\\g\"    | http://example.com/a%5Cb%5Ec%7Bd%7D?e=f%5Cg%22
        http://example.com/%c3ü/../b\"          | http://example.com/b%22
        http://exämple.com/                    | the authority is not a host with an optional port
        ",
        |cells| match TargetUri::parse(cells[0]) {
            Ok(target) => target.to_string(),
            Err(error) => error.to_string(),
        },
    );
    assert_eq!(TargetUri::new("http", "a", &"/a".repeat(40_000)), Err(TargetError::TooLong));
    let encoded = format!("/{}", "|".repeat(30_000));
    assert_eq!(TargetUri::new("http", "a", &encoded), Err(TargetError::TooLong), "once it is encoded");
    assert_eq!(format!("{:?}", TargetError::TooLong), TargetError::TooLong.to_string());
}

#[test]
fn references() {
    check(
        "
        /b                     | http://example.com/b
        b                      | http://example.com/a/b
        ../b                   | http://example.com/b
        ?y=2                   | http://example.com/a/page?y=2
        //other.org/b          | http://other.org/b
        https://other.org/b    | https://other.org/b
        #frag                  | http://example.com/a/page?x=1
        mailto:a@b             | the scheme is neither http nor https
        ",
        |cells| match table::target().join(cells[0]) {
            Ok(target) => target.to_string(),
            Err(error) => error.to_string(),
        },
    );
}

/// A cache served the body of `/ab` for `/a`, since its keys were concatenated without lengths.
#[test]
fn two_requests_never_share_a_key() {
    let key = |scheme: &str, authority: &str, path: &str| {
        CacheKey::from_parts(scheme, authority, path).expect("a key")
    };
    let keys = [
        key("http", "example.com", "/a"),
        key("http", "example.com", "/ab"),
        key("https", "example.com", "/a"),
        key("http", "example.co", "/a"),
        key("http", "example.com:8080", "/a"),
        key("http", "example.com", "/a?"),
        key("http", "example.com", "/a").with_extra(b"b"),
        key("http", "example.com", "/a").with_extra(b""),
        key("http", "example.com", "/a").with_extra(b"b").with_extra(b"c"),
        key("http", "example.com", "/a").with_extra(b"bc"),
    ];
    for (i, one) in keys.iter().enumerate() {
        for (j, other) in keys.iter().enumerate() {
            assert_eq!(one == other, i == j, "{one:?} {other:?}");
        }
    }
}

/// `|` separates the columns of the tables, so it is here.
#[test]
fn what_a_uri_contains_only_encoded_is_encoded_once() {
    let target = |path: &str| TargetUri::new("http", "a", path).map(|uri| uri.path_and_query().to_owned());
    assert_eq!(target("/a|b?c=|"), Ok("/a%7Cb?c=%7C".to_owned()));
    assert_eq!(target("/a%7cb?c=%7C"), target("/a|b?c=|"));
    for control in ["/a\0", "/a\n", "/a\u{7f}", "/a b", "/a#b", "/?a b"] {
        assert_eq!(target(control), Err(TargetError::Path), "{control:?}");
    }
}

/// A purge of `/page?q=%31` missed `/page?q=1`, which most servers take for the same (RFC 3986
/// §6.2.2.2).
#[test]
fn the_decoded_form() {
    check(
        "
        http://a/%70age?q=%31%26  | http://a/page?q=1%26
        http://a/%7E%2d%2F%25%70  | http://a/~-%2F%25p
        http://a/%2570            | http://a/%2570
        http://a/%zz%             | http://a/%zz%
        http://a/page             | http://a/page
        http://a/%41/%2e%2e/%42   | http://a/B
        ",
        |cells| TargetUri::parse(cells[0]).expect("a target").decoded().to_string(),
    );
}

#[test]
fn debug_output_of_a_key_omits_the_query() {
    let key = CacheKey::from_parts("http", "example.com", "/reset?token=abc").expect("a key");
    assert_eq!(format!("{key:?}"), "CacheKey(http://example.com/reset?…)");
}

proptest! {
    #[test]
    fn normalising_is_idempotent_and_never_panics(path in "/[!-~äü€𝄞]{0,40}", authority in "[a-zA-Z0-9.:-]{1,20}") {
        if let Ok(target) = TargetUri::new("http", &authority, &path) {
            let again = TargetUri::parse(target.as_str()).expect("a normal form is a target");
            prop_assert_eq!(&again, &target);
            let key = CacheKey::from_parts("http", &authority, &path).expect("the same parts form a target");
            prop_assert_eq!(&key, &CacheKey::new(&target));
            prop_assert_eq!(CacheKey::from_bytes(key.as_bytes()).expect("bytes of a key form a key"), key);
        }
    }

    #[test]
    fn parsing_any_text_as_a_target_does_not_panic(text in "\\PC{0,60}") {
        let _ = TargetUri::parse(&text);
        let _ = table::target().join(&text);
    }

    #[test]
    fn extras_are_injective(a in proptest::collection::vec(any::<Vec<u8>>(), 0..4), b in proptest::collection::vec(any::<Vec<u8>>(), 0..4)) {
        let base = CacheKey::from_parts("http", "example.com", "/").expect("a key");
        let with = |parts: &[Vec<u8>]| parts.iter().fold(base.clone(), |key, part| key.with_extra(part));
        prop_assert_eq!(with(&a) == with(&b), a == b);
    }

    #[test]
    fn any_bytes_that_form_a_key_are_preserved(bytes in any::<Vec<u8>>()) {
        if let Some(key) = CacheKey::from_bytes(&bytes) {
            prop_assert_eq!(key.as_bytes(), &*bytes);
            let _ = key.target();
        }
    }
}

/// A key for another target has the same extra parts, and nothing else of the first key.
#[test]
fn the_key_of_another_target() {
    let target = |path: &str| TargetUri::parse(&format!("http://example.com{path}")).expect("a target");
    let (one, two) = (CacheKey::new(&target("/one")), CacheKey::new(&target("/two")));
    assert_eq!(one.for_target(&target("/two")), two);
    let with_extras = |key: &CacheKey| key.with_extra(b"alice").with_extra(b"");
    assert_eq!(with_extras(&one).for_target(&target("/two")), with_extras(&two));
    assert_ne!(with_extras(&one).for_target(&target("/two")), two);
}
