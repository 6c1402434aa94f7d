//! Tests the keys of requests and of purges: what separates two requests, and what a purge of a URL
//! concerns. Each row's last column is the reason.

use http::{HeaderMap, HeaderName, HeaderValue};
use larder_core::{
    Body, CacheKey, Scope,
    adapter::{
        ContentInKey, KeyParts, KeyRules, PurgePrefix, PurgeUrl, ReceivedTarget, RequestContent,
        RequestTarget, TrustedProxies,
    },
};

/// Returns a map of these fields, one line each.
fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(*name).expect("a name");
        fields.append(name, HeaderValue::try_from(*value).expect("a value"));
    }
    fields
}

/// Two requests get one response if, and only if, they are the same in everything that the rules
/// name.
#[test]
fn the_parts_of_a_key() {
    let by_header = KeyRules::default().with_headers([HeaderName::from_static("x-country")]);
    let by_cookie = KeyRules::default().with_cookies(["currency"]);
    let both = KeyRules::default()
        .with_headers([HeaderName::from_static("b"), HeaderName::from_static("a")])
        .with_cookies(["d", "c"]);
    let key = |rules: &KeyRules, lines: &[(&str, &str)]| {
        let url = rules.key_of_url("http://example.com/").expect("a URL");
        rules.key_with(&url, &KeyParts::new(&fields(lines)))
    };
    for (rules, one, other, is_same, reason) in [
        (&by_header, &[("x-country", "de")][..], &[("x-country", "fr")][..], false, "another value"),
        (&by_header, &[], &[("x-country", "")], false, "an empty value is not an absent one"),
        (
            &by_header,
            &[("x-country", "a"), ("x-country", "b")],
            &[("x-country", "a, b")],
            true,
            "RFC 9110 §5.3",
        ),
        (&by_header, &[("x-country", " de ")], &[("x-country", "de")], true, "RFC 9110 §5.5: white space"),
        (&by_header, &[("x-city", "a")], &[("x-city", "b")], true, "headers that are not named"),
        (
            &by_cookie,
            &[("cookie", "currency=EUR; s=1")],
            &[("cookie", "s=2; currency=EUR")],
            true,
            "the session",
        ),
        (&by_cookie, &[("cookie", "currency=EUR")], &[("cookie", "currency=USD")], false, "another value"),
        (&by_cookie, &[("cookie", "currency=")], &[("cookie", "s=1")], false, "an empty value"),
        (&by_cookie, &[("cookie", "s=1")], &[], true, "no such cookie"),
        (
            &by_cookie,
            &[("cookie", "currency=EUR; currency=USD")],
            &[("cookie", "currency=USD; currency=EUR")],
            false,
            "some programs take the first, some the last",
        ),
        (
            &by_cookie,
            &[("cookie", "currency=EUR"), ("cookie", "s=1")],
            &[("cookie", "currency=EUR; s=1")],
            true,
            "RFC 9113 §8.2.3: lines of HTTP/2",
        ),
        (&by_cookie, &[("cookie", "currency=\"EUR\"")], &[("cookie", "currency=EUR")], false, "quotes"),
        (&by_cookie, &[("cookie", "s=1 currency=EUR")], &[("cookie", "s=1")], false, "lenient programs"),
        (
            &by_header,
            &[("x-country", "de"), ("connection", "close, X-Country")],
            &[("x-country", "de")],
            false,
            "RFC 9110 §7.6.1: the origin does not see it",
        ),
        (
            &by_cookie,
            &[("cookie", "currency=EUR"), ("connection", "cookie")],
            &[("cookie", "currency=EUR")],
            false,
            "RFC 9110 §7.6.1: the origin does not see it",
        ),
        (&both, &[("a", "b")], &[("b", "b")], false, "another name"),
        (&both, &[("a", "1"), ("cookie", "c=2")], &[("a", "1"), ("cookie", "d=2")], false, "another cookie"),
        (&both, &[("a", "c")], &[("cookie", "a=c")], false, "a header is no cookie"),
    ] {
        assert_eq!(key(rules, one) == key(rules, other), is_same, "{reason}");
    }
    assert_ne!(key(&by_header, &[]), key(&by_cookie, &[]), "other rules");
    let reordered = KeyRules::default()
        .with_headers([HeaderName::from_static("a"), HeaderName::from_static("b")])
        .with_cookies(["c", "d"]);
    assert_eq!(key(&both, &[("a", "1")]), key(&reordered, &[("a", "1")]), "the order of names is no rule");
    let plain = KeyRules::default();
    assert_eq!(key(&plain, &[("a", "1")]), plain.key_of_url("http://example.com/").expect("a URL"));
}

#[test]
fn clients_and_contents_have_keys_of_their_own() {
    let rules = KeyRules::default();
    let url = rules.key_of_url("http://example.com/search").expect("a URL");
    let query: http::Method = "QUERY".parse().expect("a method");
    let json = fields(&[("content-type", "application/json")]);
    let text = fields(&[("content-type", "text/plain")]);
    let gzip = fields(&[("content-type", "text/plain"), ("content-encoding", "gzip")]);
    let of = |headers, method, content: &'static [u8]| {
        rules.key_with(&url, &KeyParts::new(headers).with_query(method, content))
    };
    let partition = |name| rules.key_with(&url, &KeyParts::new(&json).with_partition(name));
    let keys = [
        url.clone(),
        of(&json, &query, b"a"),
        of(&json, &query, b"b"),
        of(&json, &query, b""),
        of(&text, &query, b"a"),
        of(&gzip, &query, b"a"),
        of(&json, &http::Method::POST, b"a"),
        partition(b"alice"),
        partition(b"bob"),
        partition(b""),
        rules.key_with(&url, &KeyParts::new(&json).with_partition(b"alice").with_query(&query, b"a")),
    ];
    for (i, one) in keys.iter().enumerate() {
        for (j, other) in keys.iter().enumerate() {
            assert_eq!(one == other, i == j, "{i} {j}");
        }
    }
    let shown = String::from_utf8_lossy(partition(b"alice").as_bytes()).into_owned();
    assert!(!shown.contains("alice"), "the name of a client is hashed");
    let debug = format!("{:?}", KeyParts::new(&json).with_partition(b"alice"));
    assert!(!debug.contains("alice") && !debug.contains("97"), "{debug}");
    assert!(!rules.is_query(&query), "by default, contents are in no key");
    let rules = rules.with_content(ContentInKey::default());
    assert!(rules.is_query(&query) && !rules.is_query(&http::Method::POST));
}

/// A search of 70 KB was cut to the part that had been read for its key.
#[tokio::test]
async fn a_content_beyond_the_limit_is_forwarded_whole() {
    let limits = ContentInKey::default().with_max_length(6);
    let chunks = |sizes: &[usize]| {
        let chunks: Vec<_> = sizes.iter().map(|size| Ok::<_, std::io::Error>(vec![b'x'; *size])).collect();
        Body::from_stream(futures_util::stream::iter(chunks))
    };
    for (sizes, is_whole) in [
        (&[][..], true),
        (&[6], true),
        (&[1, 2, 3], true),
        (&[7], false),
        (&[3, 3, 1], false),
        (&[1, 100_000, 5], false),
    ] {
        let length: usize = sizes.iter().sum();
        match RequestContent::read(chunks(sizes), &limits).await.expect("it arrives") {
            RequestContent::Whole(content) => assert!(is_whole && content.len() == length, "{sizes:?}"),
            RequestContent::Longer(body) => {
                let content = body.into_bytes(1 << 20).await.expect("whole");
                assert!(!is_whole && content.len() == length, "{sizes:?}");
            }
        }
    }
    let announced = Body::from("seven b");
    assert!(matches!(RequestContent::read(announced, &limits).await, Ok(RequestContent::Longer(_))));
    let broken = Body::from_stream(futures_util::stream::iter([Ok("a"), Err(std::io::Error::other("cut"))]));
    let error = RequestContent::read(broken, &limits).await.expect_err("it is incomplete");
    assert_eq!(error.status(), http::StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_owes_its_content_gets_408() {
    let silent = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
    let error = RequestContent::read(silent, &ContentInKey::default()).await.expect_err("nothing arrives");
    assert_eq!(error.status(), http::StatusCode::REQUEST_TIMEOUT);
}

/// An operator purged the URL as it stands in a mail. The page has another spelling.
#[test]
fn a_purge_names_a_url_as_users_know_it() {
    let rules = KeyRules::default().with_ignored_query(["utm_*"]);
    let stored = |url: &str| rules.key_of_url(url).expect("a URL");
    for (purged, page) in [
        ("HTTP://SITE.test:80/x/../%70age?q=%31", "http://site.test/page?q=1"),
        ("http://site.test/%7Ealice", "http://site.test/~alice"),
        ("http://site.test/%7Ealice", "http://site.test/%7ealice"),
        ("http://site.test/p\"", "http://site.test/p%22"),
        ("http://site.test/Manü", "http://site.test/Man%c3%bc"),
        ("http://site.test/page?utm_source=a#top", "http://site.test/page"),
    ] {
        let purge = PurgeUrl::parse(purged, &rules).expect("a URL");
        assert!(purge.scopes().contains(&Scope::Key(&stored(page))), "{purged}");
        assert!(!purge.scopes().contains(&Scope::Key(&stored("http://site.test/other"))));
        assert_eq!(purge.clone().and(purge.clone()), purge);
    }
    let below = PurgePrefix::parse("http://site.test/%7Ealice").expect("a URL");
    assert!(below.scopes().contains(&Scope::Prefix("http://site.test/~alice/")));
    assert!(
        below
            .scopes()
            .contains(&Scope::Key(&CacheKey::from_parts("http", "site.test", "/~alice").expect("a key")))
    );
}

#[test]
fn a_purge_goes_through_the_rules_of_requests() {
    let rules = KeyRules::default().with_ignored_query(["utm_*"]).with_sorted_query(true);
    let headers = fields(&[("host", "WWW.example.com:443")]);
    let received = ReceivedTarget::new("https", "/p?b=2&utm_source=a&a=1");
    let target = RequestTarget::of(&received, &headers, None, &TrustedProxies::default()).expect("a target");
    let key = rules.key(&target).expect("a key");
    for url in
        ["https://www.example.com/p?a=1&b=2", "HTTPS://www.example.com:443/x/../p?b=2&a=1&utm_medium=b#top"]
    {
        assert_eq!(rules.key_of_url(url), Ok(key.clone()), "{url}");
    }
    assert_ne!(rules.key_of_url("http://www.example.com/p?a=1&b=2"), Ok(key), "another scheme");
}
