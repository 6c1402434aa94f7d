//! A caller's time limit ends that caller's wait, and no fetch that others share.

mod origin;

use std::time::Duration;

use larder_reqwest::{CacheOutcome, CachedClient, Error, ErrorKind};
use origin::{GatedOrigin, count};

/// A limit that passes while the origin's gate is closed.
const SHORT: Duration = Duration::from_millis(50);
/// A limit that is long enough for the head of a response, but passes in a test.
const MEDIUM: Duration = Duration::from_secs(2);

fn client() -> CachedClient {
    CachedClient::builder().no_proxy().build().expect("a client")
}

/// Checks that the response is stored and complete.
async fn assert_stored(client: &CachedClient, url: &str) {
    assert!(client.cache().drain(Duration::from_secs(20)).await, "a fill is still running");
    let stored = client.get(url).only_if_cached().send().await.expect("a stored response");
    assert_eq!(stored.outcome(), CacheOutcome::Hit);
    assert_eq!(stored.text().await.expect("a complete body"), "hello");
}

/// Two callers shared a fetch, and the first had a limit of 50 ms. It travelled with the request to
/// the origin: the second caller, which had no limit, also got a timeout error.
#[tokio::test]
async fn a_limit_before_the_head_ends_only_its_callers_wait() {
    let origin = GatedOrigin::start("");
    let (client, url) = (client(), origin.url());
    let limited = async {
        let result = client.get(&url).timeout(SHORT).send().await;
        origin.open();
        result
    };
    let unlimited = async { client.get(&url).send().await?.text().await };
    let (limited, unlimited) = tokio::join!(limited, unlimited);
    let error = limited.expect_err("a timeout");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.to_string(), format!("{url}: timed out: the request's limit of 50ms has passed"));
    assert_eq!(unlimited.expect("a response"), "hello");
    assert!(count(&origin.server, "/") <= 2);
    assert_stored(&client, &url).await;
}

/// The limit of the first caller passed within the body. The transfer failed for the second caller
/// as well, and nothing was stored.
#[tokio::test]
async fn a_limit_within_the_body_ends_only_its_callers_wait() {
    let origin = GatedOrigin::start("hel");
    let (client, url) = (client(), origin.url());
    let mut limited = client.get(&url).timeout(MEDIUM).send().await.expect("a head");
    assert_eq!(limited.chunk().await.expect("no error").expect("a chunk"), "hel");
    let mut unlimited = client.get(&url).send().await.expect("a head");
    assert_eq!(unlimited.chunk().await.expect("no error").expect("a chunk"), "hel");
    let error: Error = limited.chunk().await.expect_err("a timeout");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    origin.open();
    assert_eq!(unlimited.text().await.expect("the rest of the body"), "lo");
    assert_eq!(count(&origin.server, "/"), 1);
    assert_stored(&client, &url).await;
}

/// A limit also applies to callers that wait for the fetch of another.
#[tokio::test]
async fn a_follower_has_its_own_limit() {
    let origin = GatedOrigin::start("");
    let (client, url) = (client(), origin.url());
    let unlimited = async { client.get(&url).send().await?.text().await };
    let limited = async {
        let result = client.get(&url).timeout(SHORT).send().await;
        origin.open();
        result.map(|response| response.outcome()).map_err(|error| error.kind())
    };
    let (unlimited, limited) = tokio::join!(unlimited, limited);
    assert_eq!(limited, Err(ErrorKind::Timeout));
    assert_eq!(unlimited.expect("a response"), "hello");
    assert_eq!(count(&origin.server, "/"), 1);
}

/// A caller that allowed more time than the client usually does waited for the fetch of another
/// one, and failed with it.
#[tokio::test]
async fn a_longer_limit_outlasts_the_fetch_of_another_caller() {
    let origin = GatedOrigin::start("");
    let client =
        CachedClient::builder().no_proxy().timeout(Duration::from_millis(500)).build().expect("a client");
    let url = origin.url();
    let impatient = async {
        let result = client.get(&url).send().await;
        origin.open();
        result.map(|response| response.outcome()).map_err(|error| error.kind())
    };
    let patient = async {
        while count(&origin.server, "/") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client.get(&url).timeout(Duration::from_secs(60)).send().await?.text().await
    };
    let (impatient, patient) = tokio::join!(impatient, patient);
    assert_eq!(impatient, Err(ErrorKind::Timeout), "the limit of the client");
    assert_eq!(patient.expect("a response"), "hello");
    assert!(count(&origin.server, "/") <= 2);
}

/// As with reqwest, the limit of a request replaces that of the client, also if it is longer.
#[tokio::test]
async fn a_limit_may_be_longer_than_that_of_the_client() {
    let origin = GatedOrigin::start("");
    let client = CachedClient::builder().no_proxy().timeout(SHORT).build().expect("a client");
    let url = origin.url();
    let patient = async { client.get(&url).timeout(Duration::from_secs(30)).send().await?.text().await };
    let impatient = async {
        let result = client.get(format!("{url}other")).send().await;
        origin.open();
        result.map(|response| response.outcome()).map_err(|error| error.kind())
    };
    let (patient, impatient) = tokio::join!(patient, impatient);
    assert_eq!(impatient, Err(ErrorKind::Timeout), "the limit of the client");
    assert_eq!(patient.expect("a response"), "hello");
}
