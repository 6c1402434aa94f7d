//! Purges that are requests: what plug-ins and libraries for other caches send, and what that
//! means here.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use larder_core::adapter::PurgeRequest;

/// Reads a request such as `PURGE /page; X-Purge-Method: regex`, and describes what it concerns.
fn read(text: &str) -> String {
    let mut parts = text.split("; ");
    let (method, path) = parts.next().and_then(|line| line.split_once(' ')).expect("a request line");
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut headers = HeaderMap::new();
    for field in parts {
        let (name, value) = field.split_once(": ").expect("a field");
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    match PurgeRequest::parse(&method, "shop.example", path, &headers) {
        Err(error) => format!("error: {error}"),
        Ok(purge) => {
            let mut shown: Vec<_> = purge.urls().into_iter().chain(purge.prefixes()).collect();
            // With http and https.
            shown.truncate(1);
            shown.extend(purge.tags().iter().map(|tag| tag.name().to_owned()));
            shown.extend(purge.is_everything().then(|| "everything".to_owned()));
            shown.join(" ") + if purge.is_soft() { " (soft)" } else { "" }
        }
    }
}

#[test]
fn the_requests_of_plug_ins_are_read() {
    // The last column is the source of the request.
    let rows = [
        ("PURGE /page", "http://shop.example/page", "nginx, Squid, Varnish"),
        ("PURGE /page?a=b; Fastly-Soft-Purge: 1", "http://shop.example/page?a=b (soft)", "Fastly"),
        ("PURGE /page; X-Purge-Method: default", "http://shop.example/page", "WordPress: Proxy Cache Purge"),
        ("PURGE /.*; X-Purge-Method: regex", "http://shop.example/*", "WordPress: Proxy Cache Purge"),
        ("PURGE /news/*", "http://shop.example/news/*", "nginx: cache_purge"),
        ("PURGE /; X-Magento-Tags-Pattern: .*", "everything", "Magento"),
        (
            "PURGE /; X-Magento-Tags-Pattern: ((^|,)cat_c_2(,|$))|((^|,)cat_p_1(,|$))",
            "cat_c_2 cat_p_1",
            "Magento",
        ),
        (
            "BAN /; X-Host: .*; X-Url: .*; X-Content-Type: .*; X-Cache-Tags: (^|,)(a\\-1|b)(,|$)",
            "a-1 b",
            "FOSHttpCache, tags by ban",
        ),
        ("PURGEKEYS /; xkey-softpurge: a b", "a b (soft)", "FOSHttpCache, tags by xkey"),
        ("PURGEKEYS /; xkey-purge: a b", "a b", "FOSHttpCache, tags by xkey"),
        ("BAN /; X-Host: ^shop.example$; X-Url: ^/news", "http://shop.example/news*", "FOSHttpCache"),
        ("BAN /; X-Host: ^(shop.example)$; X-Url: ^/news", "http://shop.example/news*", "FOSHttpCache"),
        ("BAN /; X-Host: shop.example; X-Url: ^/news$", "http://shop.example/news", "FOSHttpCache"),
        ("BAN /; X-Host: .*; X-Url: .*", "everything", "FOSHttpCache, clear"),
        ("BAN /; Cache-Tags: node:1 node:2", "node:1 node:2", "Drupal: varnish_purge"),
        ("BAN /; Cache-Tags: (node:1|node:2)", "node:1 node:2", "Drupal: varnish_purge, in a bundle"),
        ("PURGE /; Purge-Cache-Tags: node:1 node:2", "node:1 node:2", "Drupal: purge"),
        ("PURGE /; Surrogate-Key: a b; Surrogate-Key: c", "a b c", "Fastly, in a batch"),
        ("PURGE /; Cache-Tag: a b,c", "a b c", "Cloudflare"),
    ];
    for (request, expected, source) in rows {
        assert_eq!(read(request), expected, "{source}: {request}");
    }
}

#[test]
fn what_is_not_read_is_an_error() {
    for request in [
        "PURGE /; Surrogate-Key: ",
        "PURGEKEYS /",
        "BAN /",
        "BAN /; X-Url: [0-9]+",
        "BAN /; X-Host: .*; X-Url: ^/news",
        "BAN /; X-Cache-Tags: ^a.+",
        "PURGE /(a|b); X-Purge-Method: regex",
        "PURGE /.*/feed/.*; X-Purge-Method: regex",
        "PURGE /(feed|comments)/.*; X-Purge-Method: regex",
        "PURGE /news/[0-9]+/.*; X-Purge-Method: regex",
        "PURGE /news|/blog/.*; X-Purge-Method: regex",
        "BAN /; X-Url: ^/news|/blog/.*",
    ] {
        let result = read(request);
        assert!(result.starts_with("error: "), "{request}: {result}");
    }
}

#[test]
fn tags_have_a_limit() {
    let tags = |many: usize| (0..many).map(|n| format!("t{n}")).collect::<Vec<_>>().join(" ");
    assert!(!read(&format!("PURGE /; xkey: {}", tags(4096))).starts_with("error"));
    assert!(read(&format!("PURGE /; xkey: {}", tags(4097))).starts_with("error"));
}
