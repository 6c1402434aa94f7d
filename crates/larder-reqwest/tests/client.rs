//! The client as a program sees it: hits, request options, redirects, cookies and partitions.

mod origin;

use std::{io::Write as _, sync::Arc, time::Duration};

use larder_memory::MemoryStore;
use larder_reqwest::{CacheOutcome, CachedClient, CachedClientBuilder, ErrorKind, RedirectPolicy};
use larder_testkit::{ManualClock, RawOrigin};
use origin::{count, origin};

const FRESH: &str = "200 OK\r\ncache-control: max-age=60";

fn builder() -> CachedClientBuilder {
    CachedClient::builder().no_proxy().timeout(Duration::from_secs(10))
}

fn client() -> CachedClient {
    builder().build().expect("a client")
}

async fn outcome(client: &CachedClient, url: &str) -> (CacheOutcome, String) {
    let response = client.get(url).send().await.expect("a response");
    (response.outcome(), response.text().await.expect("a complete body"))
}

#[tokio::test]
async fn the_second_request_is_a_hit() {
    let origin = origin(&[("/a", FRESH, "hello")]);
    let (client, url) = (client(), format!("{}/a", origin.url()));
    assert_eq!(outcome(&client, &url).await, (CacheOutcome::Miss, "hello".to_owned()));
    let again = client.get(&url).send().await.expect("a response");
    assert_eq!((again.outcome(), again.status().as_u16()), (CacheOutcome::Hit, 200));
    assert_eq!(again.age(), Some(Duration::ZERO));
    assert_eq!(again.headers()["cache-control"], "max-age=60");
    assert!(again.cache_status().to_string().starts_with("hit; ttl="));
    let converted = again.into_reqwest();
    assert!(
        converted.headers()["cache-status"].to_str().is_ok_and(|status| status.starts_with("larder; hit"))
    );
    assert_eq!(converted.url().as_str(), url);
    assert_eq!(converted.text().await.expect("a complete body"), "hello");
    assert_eq!(count(&origin, "/a"), 1);
    client.purge_url(&url).await.expect("a purge");
    assert_eq!(outcome(&client, &url).await.0, CacheOutcome::Miss);
}

#[tokio::test]
async fn request_options() {
    let origin = origin(&[
        ("/tagged", "200 OK\r\ncache-control: max-age=60\r\netag: \"a\"", "tagged"),
        ("/silent", "200 OK", "silent"),
        ("/never", "200 OK\r\ncache-control: no-store", "never"),
    ]);
    let clock = ManualClock::at(1_700_000_000);
    let client = builder().clock(Arc::new(clock.clone())).build().expect("a client");
    let url = |path: &str| format!("{}{path}", origin.url());
    let tagged = url("/tagged");
    let error = client.get(&tagged).only_if_cached().send().await.expect_err("nothing is stored");
    assert_eq!((error.kind(), origin.heads().len()), (ErrorKind::NotCached, 0), "{error}");
    assert_eq!(outcome(&client, &tagged).await.0, CacheOutcome::Miss);
    let cached = client.get(&tagged).only_if_cached().send().await.expect("a stored response");
    assert_eq!(cached.outcome(), CacheOutcome::Hit);
    let reloaded = client.get(&tagged).reload().send().await.expect("a response");
    assert_eq!(reloaded.outcome(), CacheOutcome::Pass, "this origin sends no 304");
    clock.advance(Duration::from_secs(100));
    let stale = client.get(&tagged).prefer_stale().send().await.expect("a stored response");
    assert_eq!((stale.outcome(), stale.age()), (CacheOutcome::Stale, Some(Duration::from_secs(100))));
    // A default freshness if the server specifies none, or an override.
    for (path, overridden) in [("/silent", false), ("/never", true)] {
        let request = || {
            let (builder, minute) = (client.get(url(path)), Duration::from_secs(60));
            if overridden { builder.override_freshness(minute) } else { builder.default_freshness(minute) }
        };
        assert_eq!(request().send().await.expect("a response").outcome(), CacheOutcome::Miss);
        assert_eq!(request().send().await.expect("a response").outcome(), CacheOutcome::Hit, "{path}");
        let mine = request().key_part("me").send().await.expect("a response");
        assert_eq!(mine.outcome(), CacheOutcome::Miss, "another key");
    }
    let not_stored =
        client.get(url("/silent")).no_store().key_part("other").send().await.expect("a response");
    assert_eq!(not_stored.outcome(), CacheOutcome::Miss);
    let short = client.get(&tagged).max_body(3).send().await.expect("a response").text().await;
    assert_eq!(short.expect_err("a body of six bytes").kind(), ErrorKind::BodyTooLarge(3));
}

#[tokio::test]
async fn freshness_by_pattern_and_offline() {
    let origin = origin(&[("/api/a", "200 OK", "a"), ("/other", "200 OK", "b")]);
    let store = Arc::new(MemoryStore::default());
    let on_store = || builder().store(Arc::clone(&store) as _).partition("me");
    let client = on_store()
        .default_freshness(&format!("{}/api/*", origin.url()), Duration::from_secs(60))
        .build()
        .expect("a client");
    let (api, other) = (format!("{}/api/a", origin.url()), format!("{}/other", origin.url()));
    for url in [&api, &other, &api, &other] {
        outcome(&client, url).await;
    }
    assert_eq!((count(&origin, "/api/a"), count(&origin, "/other")), (1, 2));
    let offline = on_store().offline().build().expect("a client");
    assert_eq!(outcome(&offline, &api).await, (CacheOutcome::Hit, "a".to_owned()));
    let error = offline.get(&other).send().await.expect_err("nothing is stored");
    assert_eq!((error.kind(), error.url().map(|url| url.as_str())), (ErrorKind::NotCached, Some(&*other)));
    assert_eq!(count(&origin, "/other"), 2);
}

#[tokio::test]
async fn a_post_as_query_is_stored_by_its_body() {
    let origin = origin(&[("/search", FRESH, "found")]);
    let (client, url) = (client(), format!("{}/search", origin.url()));
    for (content, expected) in [
        ("one", CacheOutcome::Miss),
        ("one", CacheOutcome::Hit),
        ("two", CacheOutcome::Miss),
        ("one", CacheOutcome::Hit),
    ] {
        let query = client.post(&url).header("content-type", "text/plain").body(content).safe_query();
        assert_eq!(query.send().await.expect("a response").outcome(), expected, "{content}");
    }
    let plain = client.post(&url).body("one").send().await.expect("a response");
    assert_eq!((plain.outcome(), count(&origin, "/search")), (CacheOutcome::Pass, 3));
}

#[tokio::test]
async fn an_upload_streams_and_invalidates() {
    let origin = origin(&[("/a", FRESH, "a")]);
    // The partition is part of the keys. The invalidation applies to the keys of this partition,
    // too.
    let store = Arc::new(MemoryStore::default());
    let client = builder().store(store).partition("alice").build().expect("a client");
    let url = format!("{}/a", origin.url());
    outcome(&client, &url).await;
    assert_eq!(outcome(&client, &url).await.0, CacheOutcome::Hit);
    let chunks = ["on", "e ", "two"].map(|chunk| Ok::<_, std::io::Error>(bytes::Bytes::from(chunk)));
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(
        chunks.map(|chunk| chunk.map(http_body::Frame::data)),
    ));
    client.put(&url).body(larder_reqwest::reqwest::Body::wrap(body)).send().await.expect("a response");
    assert_eq!(
        outcome(&client, &url).await.0,
        CacheOutcome::Miss,
        "a PUT invalidates the stored response (RFC 9111 §4.4)"
    );
}

#[tokio::test]
async fn each_response_of_a_redirect_chain_is_stored_under_its_own_url() {
    let origin = origin(&[
        ("/old", "301 Moved Permanently\r\ncache-control: max-age=60\r\nlocation: /between", ""),
        ("/between", "302 Found\r\nlocation: new#part", ""),
        ("/new", FRESH, "new"),
        ("/loop", "302 Found\r\nlocation: /loop", ""),
        ("/away", "302 Found\r\nlocation: ftp://example.com/", ""),
    ]);
    let (client, url) = (client(), |path: &str| format!("{}{path}", origin.url()));
    for _ in 0..2 {
        let response = client.get(url("/old")).send().await.expect("a response");
        assert_eq!(response.url().as_str(), url("/new#part"));
        assert_eq!(response.text().await.expect("a complete body"), "new");
    }
    assert_eq!((count(&origin, "/old"), count(&origin, "/between"), count(&origin, "/new")), (1, 2, 1));
    let error = client.get(url("/loop")).send().await.expect_err("an endless redirect");
    assert_eq!((error.kind(), count(&origin, "/loop")), (ErrorKind::Redirect, 11), "{error}");
    let error = client.get(url("/away")).send().await.expect_err("an unsupported scheme");
    assert_eq!(error.kind(), ErrorKind::Redirect, "{error}");
    let none = builder().redirect(RedirectPolicy::none()).build().expect("a client");
    let redirect = none.get(url("/old")).send().await.expect("the redirect itself");
    assert_eq!(redirect.status().as_u16(), 301);
    for (max, expected) in [(2, Ok(200)), (1, Err(ErrorKind::Redirect)), (0, Err(ErrorKind::Redirect))] {
        let limited = builder().redirect(RedirectPolicy::limited(max)).build().expect("a client");
        let result = limited.get(url("/old")).send().await;
        let result = result.map(|response| response.status().as_u16()).map_err(|error| error.kind());
        assert_eq!(result, expected, "at most {max} redirects");
    }
}

#[tokio::test]
async fn methods_and_credentials_along_a_redirect() {
    let other =
        RawOrigin::start(|_, stream| write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok());
    let away = format!("{}/there", other.url());
    let origin = RawOrigin::start(move |head, stream| {
        let code = head.split(['/', ' ']).nth(2).unwrap_or_default();
        let to = if code == "200" { "" } else { &*away };
        write!(stream, "HTTP/1.1 {code} x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").is_ok()
    });
    for (code, method, content) in [
        ("301", "GET", false),
        ("302", "GET", false),
        ("303", "GET", false),
        ("307", "POST", true),
        ("308", "POST", true),
    ] {
        // Default headers of the client are removed, too.
        let defaults = [("cookie".parse().unwrap(), "a=b".parse().unwrap())].into_iter().collect();
        let client = builder().default_headers(defaults).build().expect("a client");
        let request = client.post(format!("{}/{code}", origin.url())).bearer_auth("secret").body("content");
        let request = request.header("content-type", "text/plain");
        request.send().await.expect("a response");
        let head = other.heads().pop().expect("the redirected request").to_ascii_lowercase();
        assert!(head.starts_with(&method.to_ascii_lowercase()), "{code}: {head}");
        assert_eq!(head.contains("content-type"), content, "{code}: {head}");
        assert!(!head.contains("secret") && !head.contains("a=b"), "{code}: credentials were sent: {head}");
    }
}

#[tokio::test]
async fn partitions_separate_the_responses_of_private_clients() {
    let origin = origin(&[("/mine", "200 OK\r\ncache-control: private, max-age=60", "mine")]);
    let (store, url) = (Arc::new(MemoryStore::default()), format!("{}/mine", origin.url()));
    let on_store = |partition: Option<&str>| {
        let builder = builder().store(Arc::clone(&store) as _);
        partition
            .into_iter()
            .fold(builder, |builder, name| builder.partition(name))
            .build()
            .expect("a client")
    };
    let (one, two) = (on_store(None), on_store(None));
    assert_eq!(outcome(&one, &url).await.0, CacheOutcome::Miss);
    assert_eq!(outcome(&one, &url).await.0, CacheOutcome::Hit);
    assert_eq!(outcome(&two, &url).await.0, CacheOutcome::Miss, "another client, perhaps another user");
    let (alice, again, bob) = (on_store(Some("alice")), on_store(Some("alice")), on_store(Some("bob")));
    assert_eq!(outcome(&alice, &url).await.0, CacheOutcome::Miss);
    assert_eq!(outcome(&again, &url).await.0, CacheOutcome::Hit, "the same user");
    assert_eq!(outcome(&bob, &url).await.0, CacheOutcome::Miss);
    let shared = || builder().store(Arc::clone(&store) as _).shared().build().expect("a client");
    assert_eq!(outcome(&shared(), &url).await.0, CacheOutcome::Miss);
    assert_eq!(
        outcome(&shared(), &url).await.0,
        CacheOutcome::Miss,
        "a shared cache stores no private response"
    );
}

/// Clients with different default headers must not share responses that `Vary` selects by them.
#[tokio::test]
async fn default_headers_select_responses() {
    let origin = RawOrigin::start(|head, stream| {
        let language = if head.contains("accept-language: de") { "de" } else { "en" };
        let headers = "cache-control: max-age=60\r\nvary: accept-language\r\ncontent-length: 2";
        write!(stream, "HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{language}").is_ok()
    });
    let store = Arc::new(MemoryStore::default());
    for (language, first) in
        [("de", CacheOutcome::Miss), ("en", CacheOutcome::Miss), ("de", CacheOutcome::Hit)]
    {
        let headers = [("accept-language".parse().unwrap(), language.parse().unwrap())].into_iter().collect();
        let client = builder().store(Arc::clone(&store) as _).shared().default_headers(headers);
        let result = outcome(&client.build().expect("a client"), &origin.url()).await;
        assert_eq!(result, (first, language.to_owned()));
    }
}

#[cfg(feature = "cookies")]
#[tokio::test]
async fn the_origin_fills_the_cookie_jar_and_vary_sees_its_cookies() {
    let origin = RawOrigin::start(|head, stream| {
        let headers = "cache-control: max-age=60\r\nvary: cookie";
        let (set, user) = match head.to_ascii_lowercase() {
            head if head.contains("session=2") => ("", "two"),
            head if head.starts_with("get /login") => ("\r\nset-cookie: session=2; path=/", "in"),
            _ => ("", "anonymous"),
        };
        let length = user.len();
        write!(stream, "HTTP/1.1 200 OK\r\n{headers}{set}\r\ncontent-length: {length}\r\n\r\n{user}").is_ok()
    });
    let client = builder().cookie_store(true).build().expect("a client");
    let url = |path: &str| format!("{}{path}", origin.url());
    assert_eq!(outcome(&client, &url("/page")).await.1, "anonymous");
    assert_eq!(outcome(&client, &url("/login")).await.1, "in");
    assert_eq!(outcome(&client, &url("/page")).await, (CacheOutcome::Miss, "two".to_owned()));
    assert_eq!(outcome(&client, &url("/page")).await, (CacheOutcome::Hit, "two".to_owned()));
}

/// Two programs with different certificates shared a cache. The server answers by the certificate,
/// which no header shows, and one program got the page of the other.
#[tokio::test]
async fn clients_with_different_certificates_share_nothing() {
    let origin = origin(&[("/mine", "200 OK\r\ncache-control: max-age=60", "mine")]);
    let (store, url) = (Arc::new(MemoryStore::default()), format!("{}/mine", origin.url()));
    let with = |client: Option<&str>| {
        let builder = builder().store(Arc::clone(&store) as _).shared();
        let builder = client.into_iter().fold(builder, |builder, value| builder.client_partition(value));
        builder.build().expect("a client")
    };
    let outcome = async |client: &CachedClient| client.get(&url).send().await.expect("a response").outcome();
    for (certificate, expected) in [
        (None, CacheOutcome::Miss),
        (Some("alice"), CacheOutcome::Miss),
        (Some("bob"), CacheOutcome::Miss),
        (Some("alice"), CacheOutcome::Hit),
        (None, CacheOutcome::Hit),
    ] {
        assert_eq!(outcome(&with(certificate)).await, expected, "{certificate:?}");
    }
    let alice = with(Some("alice"));
    let key = alice.key(&url.parse().expect("a URL")).expect("a key");
    assert!(!String::from_utf8_lossy(key.as_bytes()).contains("alice"), "the identity is hashed");
    assert_eq!(alice.purge_url(&url).await.expect("purged"), larder_core::Purged::from(1));
    assert_eq!(outcome(&alice).await, CacheOutcome::Miss);
    assert_eq!(outcome(&with(Some("bob"))).await, CacheOutcome::Hit, "another client's response stays");
}

/// A program purged a URL, and its searches of that URL and its tenants' responses stayed.
#[tokio::test]
async fn a_purge_of_a_url_reaches_its_queries_and_key_parts() {
    let origin = origin(&[("/search", "200 OK\r\ncache-control: max-age=60", "found")]);
    let (client, url) = (builder().build().expect("a client"), format!("{}/search", origin.url()));
    let query = async |content: String| {
        client.post(&url).body(content).safe_query().send().await.expect("a response").outcome()
    };
    let tenant = async || client.get(&url).key_part("tenant").send().await.expect("a response").outcome();
    for expected in [CacheOutcome::Miss, CacheOutcome::Hit] {
        assert_eq!((query("one".to_owned()).await, tenant().await), (expected, expected));
    }
    let long = "x".repeat(70_000);
    for _ in 0..2 {
        assert_eq!(query(long.clone()).await, CacheOutcome::Pass, "it is too long for a key");
    }
    assert_eq!(query("one".to_owned()).await, CacheOutcome::Hit, "a long query invalidates nothing");
    client.purge_url(&url).await.expect("purged");
    assert_eq!((query("one".to_owned()).await, tenant().await), (CacheOutcome::Miss, CacheOutcome::Miss));
}
