//! Redirects, side by side with reqwest: what arrives at the servers, and the final response.

mod recorder;

use http::{HeaderMap, Method};
use larder_reqwest::{CachedClient, CachedClientBuilder, ErrorKind, RedirectPolicy, reqwest};
use recorder::Recorder;

/// The content of a request.
#[derive(Debug, Clone, Copy)]
enum Content {
    None,
    InMemory,
    Stream,
}

impl Content {
    fn body(self) -> Option<reqwest::Body> {
        let chunks = ["con", "tent"].map(|chunk| Ok::<_, std::io::Error>(bytes::Bytes::from(chunk)));
        match self {
            Self::None => None,
            Self::InMemory => Some("content".into()),
            Self::Stream => {
                Some(reqwest::Body::wrap(larder_core::Body::from_stream(futures_util::stream::iter(chunks))))
            }
        }
    }
}

/// Both clients, with the same settings.
struct Clients {
    cached: CachedClient,
    bare: reqwest::Client,
}

impl Clients {
    fn new(cached: CachedClientBuilder, bare: reqwest::ClientBuilder) -> Self {
        let bare = bare.no_proxy().build().expect("a client");
        Self { cached: cached.no_proxy().build().expect("a client"), bare }
    }

    fn request(method: &Method, url: &str, fields: &HeaderMap, content: Content) -> reqwest::Request {
        let mut request = reqwest::Request::new(method.clone(), url.parse().expect("a URL"));
        request.headers_mut().extend(fields.clone());
        *request.body_mut() = content.body();
        request
    }

    /// Sends the request with both clients, and checks that the servers and the caller see the
    /// same. Returns what they see.
    async fn compare(
        &self,
        servers: &Recorder,
        method: &Method,
        path: &str,
        fields: &HeaderMap,
        content: Content,
    ) -> (Vec<String>, Option<u16>) {
        let case = format!("{method} {path} {content:?}");
        let url = format!("http://{}{path}", servers.same);
        let bare = self.bare.execute(Self::request(method, &url, fields, content)).await;
        let mut bare = bare.map(|response| (response.status().as_u16(), response.url().clone()));
        // The user of a `Location`, which is not sent.
        if let Ok((_, url)) = &mut bare {
            url.set_username("").and_then(|()| url.set_password(None)).expect("a URL with a host");
        }
        let expected = servers.take();
        let cached = self.cached.execute(Self::request(method, &url, fields, content)).await;
        let mut cached = cached.map(|response| (response.status().as_u16(), response.url().clone()));
        // reqwest loses the fragment.
        if let Ok((_, url)) = &mut cached {
            url.set_fragment(None);
        }
        let received = servers.take();
        assert_eq!(received, expected, "{case}: the requests that arrived");
        match (&cached, &bare) {
            (Ok(cached), Ok(bare)) => assert_eq!(cached, bare, "{case}: the response"),
            (Err(_), Err(_)) => {}
            _ => panic!("{case}: {cached:?}, but with reqwest {bare:?}"),
        }
        (received, cached.ok().map(|(status, _)| status))
    }
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect()
}

/// A PUT to a moved URL became a GET, and its caller got 200 although nothing had been written.
#[tokio::test]
async fn each_method_status_and_content() {
    let servers = Recorder::start().await;
    let clients = Clients::new(CachedClient::builder(), reqwest::Client::builder());
    let all = fields(&[
        ("authorization", "Bearer secret"),
        ("content-encoding", "identity"),
        ("content-language", "en"),
        ("content-type", "text/plain"),
        ("cookie", "own=cookie"),
        ("cookie2", "$Version=1"),
        ("referer", "http://example.com/"),
        ("www-authenticate", "Basic"),
        ("x-own", "kept"),
    ]);
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"];
    for method in methods.map(|method| method.parse::<Method>().expect("a method")) {
        for status in [300, 301, 302, 303, 305, 307, 308] {
            for way in ["same/end", "other/end", "same/307/same/end", "other/301/other/end", "user/end"] {
                for content in [Content::None, Content::InMemory, Content::Stream] {
                    let path = format!("/{status}/{way}");
                    clients.compare(&servers, &method, &path, &all, content).await;
                }
            }
        }
    }
    let put = clients.compare(&servers, &Method::PUT, "/302/same/end", &all, Content::InMemory).await;
    assert!(put.0[1].starts_with("PUT /end") && put.0[1].ends_with("b\"content\""), "{:?}", put.0);
}

#[tokio::test]
async fn targets_and_limits() {
    let servers = Recorder::start().await;
    let none = HeaderMap::new();
    let clients = Clients::new(CachedClient::builder(), reqwest::Client::builder());
    for path in [
        "/302/raw/",
        "/302/raw/%2Fend%23part",
        "/302/raw/end",
        "/302/raw/..%2F..%2Fend",
        "/302/raw/%2F%2F",
        "/302/raw/http:%2F%2F%5B",
        "/302/raw/ftp:%2F%2Fexample.com%2F",
        "/302/raw/mailto:me@example.com",
        "/302/raw/data:text%2Fplain,x",
        "/302/raw/about:blank",
        "/302/raw/%2Fm%C3%BC",
        "/302/same/302/same/302/same/end",
        "/end",
    ] {
        clients.compare(&servers, &Method::GET, path, &none, Content::None).await;
    }
    for max in [0, 1, 2, 3] {
        let cached = CachedClient::builder().redirect(RedirectPolicy::limited(max));
        let bare = reqwest::Client::builder().redirect(reqwest::redirect::Policy::limited(max));
        let path = "/302/same/302/other/end";
        Clients::new(cached, bare).compare(&servers, &Method::GET, path, &none, Content::None).await;
    }
    let cached = CachedClient::builder().redirect(RedirectPolicy::none());
    let bare = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    Clients::new(cached, bare).compare(&servers, &Method::GET, "/301/same/end", &none, Content::None).await;
    let clients =
        Clients::new(CachedClient::builder().referer(false), reqwest::Client::builder().referer(false));
    clients.compare(&servers, &Method::GET, "/302/same/end", &none, Content::None).await;
    let with_secret = format!("http://user:secret@{}/302/same/end#part", servers.same);
    clients.cached.get(&with_secret).send().await.expect("a response");
    let cached = servers.take();
    clients.bare.get(&with_secret).send().await.expect("a response");
    assert_eq!(cached, servers.take());
}

#[cfg(feature = "cookies")]
#[tokio::test]
async fn cookies_of_the_jar_and_of_the_caller() {
    let servers = Recorder::start().await;
    let own = fields(&[("cookie", "own=cookie")]);
    for fields in [&HeaderMap::new(), &own] {
        let bare = reqwest::Client::builder().cookie_store(true);
        let clients = Clients::new(CachedClient::builder().cookie_store(true), bare);
        for path in ["/302/same/end", "/302/other/302/other/end", "/end", "/303/other/end"] {
            clients.compare(&servers, &Method::POST, path, fields, Content::InMemory).await;
        }
    }
}

/// reqwest sends the credentials for one server to another one if that redirects to itself.
#[tokio::test]
async fn credentials_do_not_come_back() {
    let servers = Recorder::start().await;
    let client = CachedClient::builder().no_proxy().build().expect("a client");
    let fields =
        fields(&[("authorization", "Bearer secret"), ("cookie", "own=cookie"), ("host", "one.example")]);
    let url = format!("http://{}/302/other/302/same/302/other/end", servers.same);
    client.get(url).headers(fields).send().await.expect("a response");
    let requests = servers.take();
    assert_eq!(requests.len(), 4);
    assert!(requests[0].contains("secret") && requests[0].contains("host: one.example"), "{requests:?}");
    for request in &requests[1..] {
        assert!(!request.contains("secret") && !request.contains("own=cookie"), "{request}");
        assert!(!request.contains("one.example"), "{request}");
    }
}

/// An old site redirected to a path in Latin-1. The client refused it, and browsers did not.
#[tokio::test]
async fn a_location_that_is_not_utf8_is_followed() {
    let servers = Recorder::start().await;
    let client = CachedClient::builder().no_proxy().build().expect("a client");
    let url = format!("http://{}/302/raw/%2Fm%FCnchen", servers.same);
    let response = client.get(&url).send().await.expect("a response");
    assert_eq!(response.url().path(), "/m%FCnchen");
    assert!(servers.take()[1].starts_with("GET /m%FCnchen "));
}

#[tokio::test]
async fn permanent_moves_are_reported() {
    let servers = Recorder::start().await;
    let client = CachedClient::builder().no_proxy().build().expect("a client");
    for (path, moved, statuses) in [
        ("/end", None, &[][..]),
        ("/302/same/301/same/end", None, &[302, 301]),
        ("/301/same/end", Some("/end"), &[301]),
        ("/308/same/301/same/302/same/end", Some("/302/same/end"), &[308, 301, 302]),
    ] {
        let response = client.get(format!("http://{}{path}", servers.same)).send().await.expect("a response");
        assert_eq!(response.moved_to().map(|url| url.path()), moved, "{path}");
        let followed: Vec<u16> = response.redirects().iter().map(|hop| hop.status().as_u16()).collect();
        assert_eq!(followed, statuses, "{path}");
        assert_eq!(response.url().path(), "/end");
        if let [first, ..] = response.redirects() {
            assert_eq!(first.url().path(), path);
        }
    }
}

#[tokio::test]
async fn https_only_holds_for_redirects() {
    let servers = Recorder::start().await;
    let client = CachedClient::builder().no_proxy().https_only(true).build().expect("a client");
    let error = client.get(format!("http://{}/end", servers.same)).send().await.expect_err("not https");
    assert_eq!((error.kind(), servers.take().len()), (ErrorKind::Request, 0), "{error}");
}
