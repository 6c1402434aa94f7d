//! Rules of a route for some of its requests, over each protocol: what they change, and that they
//! never make a stored response reachable for a request that it is not for.
#![cfg(feature = "tls")]

mod setting;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use larder_core::{Body, Overrides};
use larder_proxy::{Condition, Route, RouteRule};
use larder_testkit::FnOrigin;
use setting::{
    Protocol, Proxy, Setup,
    client::{Client, Reply},
};

on_each_protocol! {
    requests_that_bypass_get_and_leave_nothing_stored
    an_unsafe_request_that_bypasses_invalidates
    stripped_cookies_reach_no_origin_and_select_nothing
    cookies_in_the_key_of_some_requests
    a_header_changes_the_lifetime_of_no_other_clients_response
    a_path_in_doubt_bypasses
    rules_apply_in_order
}

/// Starts a proxy with these rules. The origin answers with the number of the request, its method,
/// path and cookies; the response may be stored for a minute, or as long as `x-age` of the request.
fn start(protocol: Protocol, rules: Vec<RouteRule>) -> (Proxy, Arc<FnOrigin>) {
    let origin = FnOrigin::new(|number, request: &Request<Body>| {
        let cookies = request.headers().get("cookie").map_or("", |line| line.to_str().expect("text"));
        let text = format!("{number} {} {} {cookies}", request.method(), request.uri().path());
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("public, max-age=60"));
        Ok(response)
    });
    let served = Arc::clone(&origin);
    let proxy =
        Setup::new(protocol).with_route(move || Route::to(Arc::clone(&served) as _).rules(rules.clone()));
    (proxy, origin)
}

/// Sends a request with these headers.
async fn send(client: &mut Client, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = client.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Full::<Bytes>::default()).expect("a request")).await
}

async fn requests_that_bypass_get_and_leave_nothing_stored(protocol: Protocol) {
    let rule = RouteRule::new([Condition::cookies(["session*"])]).with_bypass(true);
    let (proxy, origin) = start(protocol, vec![rule]);
    let mut client = proxy.client().await;
    let session = [("cookie", "a=1; session_id=2")];
    for number in 0..2 {
        let reply = send(&mut client, "GET", "/page", &session).await;
        assert_eq!(reply.text(), format!("{number} GET /page a=1; session_id=2"));
        assert_eq!(reply.how(), "larder; fwd=bypass; fwd-status=200");
    }
    let other = client.get("/page").await;
    assert_eq!((other.text(), other.how()), ("2 GET /page ", "larder; fwd=uri-miss; fwd-status=200; stored"));
    let reply = send(&mut client, "GET", "/page", &session).await;
    assert_eq!(reply.text(), "3 GET /page a=1; session_id=2", "a stored page");
    let reply = send(&mut client, "GET", "/page", &[session[0], ("cache-control", "only-if-cached")]).await;
    assert_eq!((reply.status, reply.text()), (200, "4 GET /page a=1; session_id=2"));
    let head = send(&mut client, "HEAD", "/page", &session).await;
    assert_eq!((head.status, head.text(), head.how()), (200, "", "larder; fwd=bypass; fwd-status=200"));
    assert_eq!(client.get("/page").await.text(), "2 GET /page ", "the page is still stored");
    assert_eq!(origin.count(), 6);
}

async fn an_unsafe_request_that_bypasses_invalidates(protocol: Protocol) {
    let rules = vec![
        RouteRule::new([Condition::methods([Method::POST, Method::PUT])]).with_bypass(true),
        RouteRule::new([Condition::paths(["/shop"])]).with_key_cookies(["currency"]),
    ];
    let (proxy, origin) = start(protocol, rules);
    let mut client = proxy.client().await;
    let euros = [("cookie", "currency=EUR")];
    let mut pages = async || {
        [client.get("/shop").await, send(&mut client, "GET", "/shop", &euros).await].map(|r| r.content)
    };
    let first = pages().await;
    assert_eq!(pages().await, first, "hits");
    let mut other = proxy.client().await;
    let reply = send(&mut other, "POST", "/shop", &[]).await;
    assert_eq!((reply.text(), reply.how()), ("2 POST /shop ", "larder; fwd=bypass; fwd-status=200"));
    assert_ne!(pages().await, first);
    assert_eq!(origin.count(), 5);
}

async fn stripped_cookies_reach_no_origin_and_select_nothing(protocol: Protocol) {
    let rules = vec![
        RouteRule::new([Condition::paths(["/assets/*"])]).with_stripped_cookies(["*"]),
        RouteRule::new([]).with_stripped_cookies(["_ga*", "theme"]),
    ];
    let (proxy, origin) = start(protocol, rules);
    let mut client = proxy.client().await;
    for cookies in ["session=1; _ga=2", "session=2", "_ga_b=1"] {
        let reply = send(&mut client, "GET", "/assets/a", &[("cookie", cookies)]).await;
        assert_eq!(reply.text(), "0 GET /assets/a ", "{cookies}");
    }
    let reply =
        send(&mut client, "GET", "/b", &[("cookie", "_ga=1; session=2"), ("cookie", "theme=dark")]).await;
    assert_eq!(reply.text(), "1 GET /b session=2");
    assert_eq!(send(&mut client, "GET", "/c", &[("cookie", "theme=dark")]).await.text(), "2 GET /c ");
    assert_eq!(origin.count(), 3);
}

async fn cookies_in_the_key_of_some_requests(protocol: Protocol) {
    let rule = RouteRule::new([Condition::paths(["/shop/*"])]).with_key_cookies(["currency"]);
    let (proxy, origin) = start(protocol, vec![rule]);
    let mut client = proxy.client().await;
    for _ in 0..2 {
        for (path, cookies, expected) in [
            ("/shop/a", "currency=EUR; x=1", "0 GET /shop/a currency=EUR; x=1"),
            ("/shop/a", "currency=USD", "1 GET /shop/a currency=USD"),
            ("/shop/a", "x=2", "2 GET /shop/a x=2"),
            ("/shop/a", "currency=EUR", "0 GET /shop/a currency=EUR; x=1"),
            ("/other", "currency=EUR", "3 GET /other currency=EUR"),
            ("/other", "currency=USD", "3 GET /other currency=EUR"),
        ] {
            assert_eq!(send(&mut client, "GET", path, &[("cookie", cookies)]).await.text(), expected);
        }
    }
    assert_eq!(origin.count(), 4);
    // A PUT concerns all keys of its URL.
    send(&mut client, "PUT", "/shop/a", &[]).await;
    let reply = send(&mut client, "GET", "/shop/a", &[("cookie", "currency=USD")]).await;
    assert_eq!(reply.text(), "5 GET /shop/a currency=USD");
}

/// One client's header made a page fresh for a day, for all clients.
async fn a_header_changes_the_lifetime_of_no_other_clients_response(protocol: Protocol) {
    let lifetime = |hours: u64| Overrides::default().with_freshness(Duration::from_secs(hours * 3600));
    let preview = Condition::headers([HeaderName::from_static("x-preview")]);
    let rules = vec![
        RouteRule::new([Condition::paths(["/a"])]).with_overrides(lifetime(1)),
        RouteRule::new([preview]).with_overrides(lifetime(24)),
    ];
    let (proxy, origin) = start(protocol, rules);
    let mut client = proxy.client().await;
    let long = [("x-preview", "1")];
    for (headers, path, number) in
        [(&long[..], "/a", "0"), (&[], "/a", "1"), (&long[..], "/b", "2"), (&[], "/b", "3")]
    {
        let reply = send(&mut client, "GET", path, headers).await;
        assert!(reply.text().starts_with(number), "{}", reply.text());
    }
    for (headers, path, at_most, at_least) in [
        (&long[..], "/a", 86_400, 86_300),
        (&[], "/a", 3600, 3500),
        (&long[..], "/b", 86_400, 86_300),
        (&[], "/b", 60, 0),
    ] {
        let reply = send(&mut client, "GET", path, headers).await;
        let ttl = reply.how().strip_prefix("larder; hit; ttl=").unwrap_or_else(|| panic!("{}", reply.how()));
        let ttl: u64 = ttl.parse().expect("a number");
        assert!((at_least..=at_most).contains(&ttl), "{path} {headers:?}: {ttl}");
    }
    assert_eq!(origin.count(), 4);
    send(&mut client, "PUT", "/b", &[]).await;
    for headers in [&long[..], &[]] {
        assert!(!send(&mut client, "GET", "/b", headers).await.how().contains("hit"), "a PUT leaves a form");
    }
}

/// A page of one user was stored under a link to `/%61ccount` that another user had made.
async fn a_path_in_doubt_bypasses(protocol: Protocol) {
    let rules = vec![
        RouteRule::new([Condition::paths(["/account", "/account/*"])]).with_bypass(true),
        RouteRule::new([Condition::paths(["*.css"])])
            .with_overrides(Overrides::default().with_freshness(Duration::from_secs(3600))),
    ];
    let (proxy, origin) = start(protocol, rules);
    let mut client = proxy.client().await;
    for path in [
        "/account",
        "/%61ccount",
        "/x/../account",
        "/Account/x",
        "//account",
        "/account;x",
        "/account%2fx",
        "/%2561ccount",
        "/page;.css",
        "/page%00.css",
        "/account/x.css",
    ] {
        let before = origin.count();
        for _ in 0..2 {
            let reply = client.get(path).await;
            assert_eq!(reply.how(), "larder; fwd=bypass; fwd-status=200", "{path}");
        }
        assert_eq!(origin.count(), before + 2, "{path}");
    }
    for path in ["/accounts", "/a.css", "/dir/Logo.css"] {
        client.get(path).await;
        assert!(client.get(path).await.how().starts_with("larder; hit"), "{path}");
    }
}

async fn rules_apply_in_order(protocol: Protocol) {
    let rules = vec![
        RouteRule::new([Condition::paths(["/assets/*"])]).with_stripped_cookies(["*"]),
        RouteRule::new([Condition::cookies(["session"])]).with_bypass(true),
        RouteRule::new([]).with_stripped_cookies(["*"]),
    ];
    let (proxy, _origin) = start(protocol, rules);
    let mut client = proxy.client().await;
    let cookies = [("cookie", "session=1; a=2")];
    for (path, expected, how) in [
        ("/assets/a", "0 GET /assets/a ", "larder; fwd=uri-miss; fwd-status=200; stored"),
        // After a bypass no rule applies, so that the origin gets the cookies.
        ("/page", "1 GET /page session=1; a=2", "larder; fwd=bypass; fwd-status=200"),
    ] {
        let reply = send(&mut client, "GET", path, &cookies).await;
        assert_eq!((reply.text(), reply.how()), (expected, how));
    }
    assert_eq!(send(&mut client, "GET", "/page", &[("cookie", "a=2")]).await.text(), "2 GET /page ");
}
