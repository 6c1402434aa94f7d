//! What reqwest's types offer, and a program that changes to this crate expects: versions,
//! addresses, cookies, services, clients that exist, forms.

mod origin;
mod recorder;

use std::net::SocketAddr;

use http::Version;
use larder_reqwest::{CacheOutcome, CachedClient, reqwest};
use larder_testkit::RawOrigin;
use origin::{count, origin};
use recorder::Recorder;

const FRESH: &str = "200 OK\r\ncache-control: max-age=60";

fn client() -> CachedClient {
    CachedClient::builder().no_proxy().build().expect("a client")
}

fn address(origin: &RawOrigin) -> SocketAddr {
    origin.url().trim_start_matches("http://").parse().expect("an address")
}

#[tokio::test]
async fn version_and_address_are_those_of_the_origin() {
    let origin =
        RawOrigin::fixed("HTTP/1.0 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\nhello");
    let client = client();
    let mut miss = client.get(origin.url()).send().await.expect("a response");
    assert_eq!((miss.version(), miss.remote_addr()), (Version::HTTP_10, Some(address(&origin))));
    miss.extensions_mut().insert("own");
    let converted = miss.into_reqwest();
    assert_eq!((converted.version(), converted.remote_addr()), (Version::HTTP_10, Some(address(&origin))));
    assert_eq!(converted.extensions().get(), Some(&"own"));
    assert_eq!(converted.text().await.expect("a body"), "hello");
    let hit = client.get(origin.url()).send().await.expect("a response");
    assert_eq!(
        (hit.outcome(), hit.version(), hit.remote_addr()),
        (CacheOutcome::Hit, Version::HTTP_11, None)
    );
}

#[cfg(feature = "cookies")]
#[tokio::test]
async fn the_cookies_of_a_response() {
    let origin = origin(&[(
        "/",
        "200 OK\r\nset-cookie: a=1; path=/; httponly\r\nset-cookie: \r\nset-cookie: b=2",
        "",
    )]);
    let response = client().get(origin.url()).send().await.expect("a response");
    let cookies: Vec<String> =
        response.cookies().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert!(response.cookies().next().is_some_and(|cookie| cookie.http_only()));
}

#[tokio::test]
async fn a_client_is_a_tower_service() {
    use tower::{Service as _, ServiceBuilder, ServiceExt as _};

    let origin = origin(&[("/", FRESH, "hello")]);
    let mut service = ServiceBuilder::new().concurrency_limit(1).service(client());
    for outcome in [CacheOutcome::Miss, CacheOutcome::Hit] {
        let request = reqwest::Request::new(reqwest::Method::GET, origin.url().parse().expect("a URL"));
        let response = service.ready().await.expect("ready").call(request).await.expect("a response");
        assert_eq!(response.outcome(), outcome);
        assert_eq!(response.text().await.expect("a body"), "hello");
    }
}

/// A client that follows redirects itself: what it has reached belongs to another URL.
#[tokio::test]
async fn a_client_that_exists_gets_a_cache() {
    let origin = origin(&[("/page", FRESH, "hello"), ("/old", "302 Found\r\nlocation: /page", "")]);
    let http = reqwest::Client::builder().no_proxy().user_agent("existing").build().expect("a client");
    let client = CachedClient::from(http);
    for outcome in [CacheOutcome::Miss, CacheOutcome::Hit] {
        let response = client.get(format!("{}/page", origin.url())).send().await.expect("a response");
        assert_eq!(response.outcome(), outcome);
        assert_eq!(response.text().await.expect("a body"), "hello");
    }
    for _ in 0..2 {
        let response = client.get(format!("{}/old", origin.url())).send().await.expect("a response");
        assert_eq!((response.url().path(), response.outcome()), ("/page", CacheOutcome::Miss));
        assert_eq!(response.text().await.expect("a body"), "hello");
    }
    assert_eq!((count(&origin, "/page"), count(&origin, "/old")), (3, 2));
    assert!(origin.heads().iter().all(|head| head.contains("user-agent: existing\r\n")));
}

#[cfg(feature = "multipart")]
#[tokio::test]
async fn a_form_with_files_is_sent_with_its_length() {
    use reqwest::multipart::{Form, Part};

    let origin = origin(&[("/upload", "204 No Content", "")]);
    let form =
        || Form::new().text("title", "Report").part("file", Part::bytes(vec![0; 1000]).file_name("a.bin"));
    let url = format!("{}/upload", origin.url());
    let response = client().post(url).multipart(form()).send().await.expect("a response");
    assert_eq!(response.status(), 204);
    let head = origin.heads().pop().expect("a request").to_ascii_lowercase();
    assert!(head.contains("content-type: multipart/form-data; boundary="), "{head}");
    assert!(head.contains("content-length: "), "{head}");
}

/// reqwest wants bodies that are `Sync`.
#[tokio::test]
async fn a_body_of_the_cache_can_be_sent_by_reqwest() {
    let servers = Recorder::start().await;
    let body = larder_core::Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("hello")]));
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = http.post(format!("http://{}/end", servers.same)).body(reqwest::Body::wrap(body));
    assert_eq!(request.send().await.expect("a response").status(), 200);
    assert!(servers.take()[0].ends_with("b\"hello\""));
}

#[cfg(feature = "blocking")]
#[test]
fn a_blocking_client() {
    use std::{io::Read as _, time::Duration};

    use larder_reqwest::BlockingClient;

    let origin = origin(&[("/", FRESH, "hello")]);
    let builder = CachedClient::builder().no_proxy().timeout(Duration::from_secs(60));
    let client = BlockingClient::from_builder(builder).expect("a client");
    let miss = client.get(origin.url()).header("accept", "text/plain").send().expect("a response");
    assert_eq!((miss.status().as_u16(), miss.outcome()), (200, CacheOutcome::Miss));
    assert_eq!(miss.text().expect("a body"), "hello");
    assert!(client.drain(Duration::from_secs(60)));
    let mut hit = client.get(origin.url()).send().expect("a response");
    assert_eq!(hit.outcome(), CacheOutcome::Hit);
    let mut text = String::new();
    hit.read_to_string(&mut text).expect("a body");
    assert_eq!((text.as_str(), count(&origin, "/")), ("hello", 1));
    let reload = client.get(origin.url()).with(|request| request.reload()).send().expect("a response");
    assert_eq!(reload.bytes().expect("a body"), "hello");
    assert_eq!(count(&origin, "/"), 2);
    client.purge_url(origin.url()).expect("a purge");
    assert_eq!(client.get(origin.url()).send().expect("a response").outcome(), CacheOutcome::Miss);
    // It may be dropped in async code.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async move { drop(client) });
}
