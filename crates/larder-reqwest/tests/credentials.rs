//! Tests that credentials and a `Host` that the caller sets select among the stored responses.

use std::{io::Write as _, sync::Arc};

use larder_memory::MemoryStore;
use larder_reqwest::{CacheOutcome, CachedClient};
use larder_testkit::RawOrigin;

/// Starts a server that answers with the user and the host of each request.
fn whoami() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let field = |name: &str| {
            let value = |line: &str| Some(line.split_once(": ")?.1.trim().to_owned());
            head.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).and_then(value)
        };
        let user = field("authorization:").unwrap_or_else(|| "nobody".to_owned());
        let body = format!("{user} at {}", field("host:").unwrap_or_default());
        let head = format!(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).is_ok()
    })
}

fn client() -> CachedClient {
    CachedClient::builder().store(Arc::new(MemoryStore::default()) as _).build().expect("a client")
}

/// A private cache served the page of one account to the requests of another one.
#[tokio::test]
async fn one_accounts_page_is_not_served_to_another() {
    let (origin, client) = (whoami(), client());
    let url = format!("{}/", origin.url());
    for expected in [CacheOutcome::Miss, CacheOutcome::Hit] {
        for user in [Some("Bearer alice"), Some("Bearer bob"), None] {
            let mut request = client.get(&url);
            if let Some(user) = user {
                request = request.header("authorization", user);
            }
            let response = request.send().await.expect("a response");
            assert_eq!(response.outcome(), expected, "{user:?}");
            let text = response.text().await.expect("text");
            assert!(text.starts_with(user.unwrap_or("nobody")), "{user:?} got {text}");
        }
    }
    let removed = client.purge_url(&url).await.expect("purged");
    assert_eq!(removed, larder_core::Purged::from(3), "a purge reaches the pages of all accounts");
}

/// The user in a URL is no part of its key.
#[tokio::test]
async fn the_user_in_a_url_selects_the_page() {
    let (origin, client) = (whoami(), client());
    let address = origin.url().replace("http://", "");
    let page = async |user: &str| {
        let url = format!("http://{user}@{address}/").parse().expect("a URL");
        let response =
            client.execute(reqwest::Request::new(reqwest::Method::GET, url)).await.expect("a response");
        response.text().await.expect("text")
    };
    let (alice, bob) = (page("alice:x").await, page("bob:y").await);
    assert!(alice.starts_with("Basic YWxpY2U6eA==") && bob.starts_with("Basic Ym9iOnk="), "{alice}, {bob}");
}

/// One site's page was served for another one, when the caller sent their names in `Host`.
#[tokio::test]
async fn a_host_that_the_caller_sets_is_the_target() {
    let (origin, client) = (whoami(), client());
    let url = format!("{}/", origin.url());
    let page = async |host: &str| {
        let response = client.get(&url).header("host", host).send().await.expect("a response");
        response.text().await.expect("text")
    };
    for host in ["one.example", "two.example", "two.example:8080"] {
        assert_eq!(page(host).await, format!("nobody at {host}"));
    }
    assert_eq!(origin.heads().len(), 3);
    assert_eq!(page("ONE.example").await, "nobody at one.example", "the same host");
    assert_eq!(client.purge_url("http://one.example/").await.expect("purged"), larder_core::Purged::from(1));
}
