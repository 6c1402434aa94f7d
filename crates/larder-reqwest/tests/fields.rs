//! Response fields as real servers send them: many, and not in ASCII.

use std::io::Write as _;

use larder_reqwest::{CacheOutcome, CachedClient};
use larder_testkit::RawOrigin;

/// A site sent more than 100 fields, and the client reported a broken connection.
#[tokio::test]
async fn many_fields_are_received_and_stored() {
    let origin = RawOrigin::start(|head, stream| {
        let count: usize = head.split(['/', ' ']).nth(2).and_then(|count| count.parse().ok()).unwrap_or(0);
        let fields: String = (0..count).map(|number| format!("x-{number}: {number}\r\n")).collect();
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n";
        write!(stream, "{head}{fields}\r\nhello").is_ok()
    });
    let client = CachedClient::builder().no_proxy().build().expect("a client");
    for count in [99, 101, 900] {
        for outcome in [CacheOutcome::Miss, CacheOutcome::Hit] {
            let response = client.get(format!("{}/{count}", origin.url())).send().await.expect("a response");
            assert_eq!(response.outcome(), outcome, "{count} fields");
            let last = format!("x-{}", count - 1);
            assert_eq!(response.headers()[&*last], (count - 1).to_string());
            assert_eq!(response.text().await.expect("a body"), "hello");
        }
    }
}

#[tokio::test]
async fn fields_in_latin1_are_kept() {
    let origin = RawOrigin::start(|_, stream| {
        let head = b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n";
        let fields =
            b"content-type: text/plain; name=\"\xE9\"\r\netag: \"\xE9\"\r\nx-name: M\xFCller\r\n\r\nhello";
        stream.write_all(&[&head[..], fields].concat()).is_ok()
    });
    let client = CachedClient::builder().no_proxy().build().expect("a client");
    for outcome in [CacheOutcome::Miss, CacheOutcome::Hit] {
        let response = client.get(origin.url()).send().await.expect("a response");
        assert_eq!(response.outcome(), outcome);
        assert_eq!(response.headers()["x-name"].as_bytes(), b"M\xFCller");
        assert_eq!(response.headers()["etag"].as_bytes(), b"\"\xE9\"");
        assert_eq!(response.text().await.expect("a body"), "hello");
    }
}
