//! What a client gets, the same over each protocol: hits, misses, collapsing, content, parts,
//! errors and limits.
#![cfg(feature = "tls")]

mod setting;

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use larder_core::{Body, Limits};
use larder_testkit::{FnOrigin, ManualOrigin, RawOrigin};
use setting::{Protocol, Setup, storable};
use tokio::time::timeout;

/// The time at which the origin has sent its response.
const DATE: &str = "Thu, 01 Jan 2026 01:02:03 GMT";

on_each_protocol! {
    a_miss_is_stored_and_the_next_request_is_a_hit
    twenty_concurrent_requests_make_one
    head_and_conditions_and_parts_are_answered_from_the_cache
    content_reaches_the_origin_whole
    a_long_response_arrives_whole
    a_silent_origin_is_a_gateway_timeout
    too_many_fields_get_431
    a_long_head_gets_431
    content_beyond_the_limit_gets_413
    content_that_stops_gets_408
    a_client_that_leaves_cancels_its_fetch
    a_failed_response_is_not_complete
    several_cookies_reach_the_origin_as_one_line
    a_reader_that_stops_is_cut
    purge_methods_and_tunnels_are_rejected
    a_response_before_the_end_of_the_content_arrives
    interim_responses_are_not_the_response
    urls_of_the_origin_become_public
}

/// Over HTTP/2, a request without content was taken for one with content, so that with TLS nothing
/// was ever stored or collapsed.
async fn a_miss_is_stored_and_the_next_request_is_a_hit(protocol: Protocol) {
    let origin = FnOrigin::new(|_, _| {
        let mut response = storable("a page");
        // Fresh for 68 years.
        for (name, value) in [("date", DATE), ("cache-control", "max-age=2147483648")] {
            response.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        Ok(response)
    });
    let proxy = Setup::new(protocol).with(Arc::clone(&origin) as _);
    let mut client = proxy.client().await;
    let miss = client.get("/page").await;
    assert_eq!((miss.status, miss.text()), (200, "a page"));
    assert_eq!(miss.how(), "larder; fwd=uri-miss; fwd-status=200; stored");
    for _ in 0..2 {
        let hit = client.get("/page").await;
        assert_eq!((hit.status, hit.text()), (200, "a page"));
        assert!(hit.how().starts_with("larder; hit; ttl="), "{hit:?}");
        assert_eq!(hit.header("date"), DATE, "the date of the origin");
        assert_eq!(hit.header("content-length"), "6");
    }
    assert_eq!(origin.count(), 1);
}

async fn twenty_concurrent_requests_make_one(protocol: Protocol) {
    let (origin, mut requests) = ManualOrigin::new();
    let proxy = Arc::new(Setup::new(protocol).with(origin));
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.client().await;
        clients.push(tokio::spawn(async move { client.get("/cold").await }));
    }
    let received = requests.next().await;
    received.respond(200, &[("cache-control", "max-age=60")], b"once");
    for client in clients {
        let reply = client.await.expect("a reply");
        assert_eq!((reply.status, reply.text()), (200, "once"));
    }
    assert!(requests.is_empty(), "a second request reached the origin");
}

async fn head_and_conditions_and_parts_are_answered_from_the_cache(protocol: Protocol) {
    let origin = FnOrigin::fixed(&[("cache-control", "max-age=60"), ("etag", "\"1\"")], b"0123456789");
    let proxy = Setup::new(protocol).with(Arc::clone(&origin) as _);
    let mut client = proxy.client().await;
    client.get("/").await;
    let request = client.request("HEAD", "/").body(Full::default()).expect("a request");
    let head = client.send(request).await;
    assert_eq!((head.status, head.header("content-length"), head.text()), (200, "10", ""));
    let request = client.request("GET", "/").header("if-none-match", "\"1\"").body(Full::default());
    let not_modified = client.send(request.expect("a request")).await;
    assert_eq!((not_modified.status, not_modified.header("content-length")), (304, ""));
    let request = client.request("GET", "/").header("range", "bytes=2-4").body(Full::default());
    let part = client.send(request.expect("a request")).await;
    assert_eq!((part.status, part.text(), part.header("content-length")), (206, "234", "3"));
    assert_eq!(origin.count(), 1);
}

async fn content_reaches_the_origin_whole(protocol: Protocol) {
    let (origin, mut requests) = ManualOrigin::new();
    let proxy = Setup::new(protocol).with(origin);
    let mut client = proxy.client().await;
    let content: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let sent = Bytes::from(content);
    let copy = sent.clone();
    let posting = tokio::spawn(async move { client.post("/form", copy).await });
    let mut received = requests.next().await;
    assert_eq!(received.request.method(), "POST");
    let body = std::mem::take(received.request.body_mut());
    assert!(body.into_bytes(2_000_000).await.expect("the whole content") == sent);
    received.respond(201, &[], b"created");
    let reply = posting.await.expect("a reply");
    assert_eq!((reply.status, reply.text()), (201, "created"));
}

/// Longer than any window or buffer: it needs the client's updates.
async fn a_long_response_arrives_whole(protocol: Protocol) {
    let content: Bytes = (0..5_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let shared = content.clone();
    let origin = FnOrigin::new(move |_, _| Ok(storable(Body::from(shared.clone()))));
    let proxy = Setup::new(protocol).with(origin);
    for _ in 0..2 {
        assert!(proxy.get("/long").await.content == content);
    }
}

async fn a_silent_origin_is_a_gateway_timeout(protocol: Protocol) {
    let (origin, mut requests) = ManualOrigin::new();
    let mut setup = Setup::new(protocol);
    setup.limits = Limits::default().with_origin_timeout(Duration::from_millis(100));
    let proxy = setup.with(origin);
    let asking = proxy.get("/slow");
    let (reply, _held) = tokio::join!(asking, requests.next());
    assert_eq!(reply.status, 504);
    assert_eq!(reply.text(), "504 Gateway Timeout: the origin did not answer within 100ms\n");
}

async fn too_many_fields_get_431(protocol: Protocol) {
    let origin = FnOrigin::fixed(&[], b"");
    let proxy = Setup::new(protocol).with(Arc::clone(&origin) as _);
    let mut client = proxy.client().await;
    let mut request = client.request("GET", "/");
    for number in 0..150 {
        request = request.header(format!("x-{number}"), "1");
    }
    assert_eq!(client.send(request.body(Full::default()).expect("a request")).await.status, 431);
    assert_eq!(origin.count(), 0);
    assert_eq!(proxy.get("/").await.status, 200);
}

async fn a_long_head_gets_431(protocol: Protocol) {
    let origin = FnOrigin::fixed(&[], b"");
    let proxy = Setup::new(protocol).with(Arc::clone(&origin) as _);
    let mut client = proxy.client().await;
    let mut request = client.request("GET", "/");
    for number in 0..30 {
        request = request.header(format!("x-{number}"), "a".repeat(3000));
    }
    let reply = client.head_of(request.body(Full::default()).expect("a request")).await;
    // A client of HTTP/2 knows the limit from the settings, and may not even send the request.
    assert!(reply.map_or(protocol.is_http_2(), |reply| reply.status() == 431));
    assert_eq!(origin.count(), 0);
    assert_eq!(proxy.get("/").await.status, 200);
}

async fn content_beyond_the_limit_gets_413(protocol: Protocol) {
    let origin = FnOrigin::fixed(&[], b"");
    let proxy = Setup::new(protocol).proxy(|options| options.with_max_content(1000)).with(origin);
    let mut client = proxy.client().await;
    assert_eq!(client.post("/", vec![0; 1000]).await.status, 200);
    assert_eq!(proxy.client().await.post("/", vec![0; 1001]).await.status, 413);
}

/// The client was to blame, and got a 504 after the origin's time, which counted as a failure of
/// the origin.
async fn content_that_stops_gets_408(protocol: Protocol) {
    let origin = RawOrigin::start(|_, stream| stream.read(&mut [0]).is_ok_and(|read| read > 0));
    let proxy = Setup::new(protocol)
        .proxy(|options| options.with_content_timeout(Duration::from_millis(300)))
        .in_front_of(&origin);
    let mut client = proxy.client().await;
    let (content, _keep) = setting::client::unfinished(5);
    let request = client.request("POST", "/").header("content-length", "100").body(content);
    let reply = timeout(setting::PATIENCE, client.stream(request.expect("a request"))).await;
    let reply = reply.expect("an answer").expect("a response");
    assert_eq!(reply.status(), 408);
}

async fn a_client_that_leaves_cancels_its_fetch(protocol: Protocol) {
    let (origin, mut requests) = ManualOrigin::new();
    let proxy = Setup::new(protocol).with(origin);
    let mut client = proxy.client().await;
    let asking = tokio::spawn(async move { client.get("/abandoned").await });
    let received = requests.next().await;
    asking.abort();
    assert!(asking.await.is_err());
    let cancelled = async {
        while received.is_awaited() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(setting::PATIENCE, cancelled).await.expect("the fetch is cancelled");
}

/// A truncated response must not look like a complete one.
async fn a_failed_response_is_not_complete(protocol: Protocol) {
    use http_body_util::BodyExt as _;
    let (origin, mut requests) = ManualOrigin::new();
    let proxy = Setup::new(protocol).with(origin);
    let mut client = proxy.client().await;
    let request = client.request("GET", "/").body(Full::default()).expect("a request");
    let asking = tokio::spawn(async move { client.head_of(request).await });
    let sender = requests.next().await.respond_streaming(200, &[("cache-control", "max-age=60")], None);
    assert!(sender.chunk("half").await);
    let response = asking.await.expect("no panic").expect("a head");
    drop(sender);
    let collected = timeout(setting::PATIENCE, response.into_body().collect()).await.expect("an end");
    assert!(collected.is_err(), "a truncated response looked complete");
}

async fn several_cookies_reach_the_origin_as_one_line(protocol: Protocol) {
    let origin = FnOrigin::new(|_, request| {
        let lines: Vec<_> =
            request.headers().get_all("cookie").iter().map(|line| line.to_str().expect("text")).collect();
        Ok(Response::new(Body::from(lines.join(" | "))))
    });
    let proxy = Setup::new(protocol).with(origin);
    let mut client = proxy.client().await;
    let request = client.request("GET", "/").header("cookie", "a=1").header("cookie", "b=2");
    let reply = client.send(request.body(Full::default()).expect("a request")).await;
    assert_eq!(reply.text(), "a=1; b=2");
}

/// Clients that requested a long response and read nothing stayed for ever.
async fn a_reader_that_stops_is_cut(protocol: Protocol) {
    use http_body_util::BodyExt as _;
    let (origin, mut requests) = ManualOrigin::new();
    let proxy = Setup::new(protocol)
        .server(|options| options.with_send_timeout(Duration::from_millis(300)))
        .with(origin);
    let mut client = proxy.client().await;
    let request = client.request("GET", "/").body(Full::default()).expect("a request");
    let asking = tokio::spawn(async move { (client.head_of(request).await, client) });
    let sender = requests.next().await.respond_streaming(200, &[("cache-control", "no-store")], None);
    let sending = async { while sender.chunk(vec![7; 64 * 1024]).await {} };
    let (response, _client) = asking.await.expect("no panic");
    timeout(setting::PATIENCE, sending).await.expect("the response ends, though no one reads it");
    let collected = timeout(setting::PATIENCE, response.expect("a head").into_body().collect());
    assert!(collected.await.expect("an end").is_err(), "a cut response looked complete");
}

async fn purge_methods_and_tunnels_are_rejected(protocol: Protocol) {
    let origin = FnOrigin::fixed(&[], b"");
    let proxy = Setup::new(protocol).with(Arc::clone(&origin) as _);
    let mut client = proxy.client().await;
    for (method, status) in [("PURGE", 405), ("TRACE", 501), ("BAN", 405)] {
        let request = client.request(method, "/").body(Full::default()).expect("a request");
        let reply = client.send(request).await;
        assert_eq!((reply.status, reply.how()), (status, "larder; detail=refused"), "{method}");
    }
    assert_eq!(origin.count(), 0);
}

/// An origin that refuses an upload answers before it has everything, and some close then.
async fn a_response_before_the_end_of_the_content_arrives(protocol: Protocol) {
    use http_body_util::BodyExt as _;
    for closes in [true, false] {
        let origin = RawOrigin::start(move |head, stream| {
            if head.starts_with("GET") {
                return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").is_ok();
            }
            let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
            stream.write_all(refused).expect("it reads");
            !closes && stream.read_to_end(&mut Vec::new()).is_ok()
        });
        let proxy = Setup::new(protocol).in_front_of(&origin);
        let mut client = proxy.client().await;
        let (content, _keep) = setting::client::unfinished(5);
        let request = client.request("POST", "/").body(content).expect("a request");
        let exchange = async {
            let response = client.stream(request).await.expect("a response");
            let status = response.status();
            (status, response.into_body().collect().await.expect("whole").to_bytes())
        };
        let (status, content) = timeout(setting::PATIENCE, exchange).await.expect("before the end");
        assert_eq!((status.as_u16(), &content[..]), (403, &b"no"[..]), "closes: {closes}");
        if protocol.is_http_2() {
            assert_eq!(client.get("/next").await.text(), "next", "the connection goes on");
        }
    }
}

/// Interim responses other than 100 cannot be forwarded; the final one is.
async fn interim_responses_are_not_the_response(protocol: Protocol) {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\npage";
    let origin = RawOrigin::fixed(format!("{hints}HTTP/1.1 102 Processing\r\n\r\n{hints}{last}"));
    let proxy = Setup::new(protocol).in_front_of(&origin);
    for how in ["larder; fwd=uri-miss; fwd-status=200; stored", "larder; hit"] {
        let reply = proxy.get("/").await;
        assert_eq!((reply.status, reply.text(), reply.header("link")), (200, "page", ""));
        assert!(reply.how().starts_with(how), "{reply:?}");
    }
}

/// A redirect of the origin to its own name sent browsers past the proxy, or nowhere.
async fn urls_of_the_origin_become_public(protocol: Protocol) {
    let origin = RawOrigin::start(|head, stream| {
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
        let own = format!("http://{}/app", stream.local_addr().expect("an address"));
        let head = format!(
            "HTTP/1.1 302 Found\r\ncache-control: public, max-age=60\r\ncontent-length: 0\r\nx-host: {host}\r\n\
             location: {own}/login?a=/app\r\ncontent-location: /app/page\r\nlink: <{own}/a.css>; rel=preload\r\n\
             link: </app/b.css>; rel=preload\r\nset-cookie: a=1; Path=/app; Domain=127.0.0.1\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).is_ok()
    });
    let proxy = Setup::new(protocol).in_front_of_path(&origin, "/app");
    let scheme = if protocol.is_tls() { "https" } else { "http" };
    for public in ["site.test", "site.test", "other.test:8080"] {
        let mut client = proxy.client().await;
        let request = if protocol.is_http_2() {
            client.request("GET", "/page").uri(format!("{scheme}://{public}/page"))
        } else {
            http::Request::get("/page").header("host", public)
        };
        let reply = client.send(request.body(Full::default()).expect("a request")).await;
        assert_eq!(reply.header("x-host"), public, "the origin gets the public name");
        assert_eq!(reply.header("location"), format!("{scheme}://{public}/login?a=/app"));
        assert_eq!(reply.header("content-location"), "/page");
        let links: Vec<_> = reply.headers.get_all("link").iter().collect();
        assert_eq!(links, [&*format!("<{scheme}://{public}/a.css>; rel=preload"), "</b.css>; rel=preload"]);
        let name = public.split(':').next().expect("a name");
        assert_eq!(reply.header("set-cookie"), format!("a=1; Path=/; Domain={name}"));
    }
    assert!(origin.heads().iter().all(|head| head.starts_with("GET /app/page ")), "{:?}", origin.heads());
}
