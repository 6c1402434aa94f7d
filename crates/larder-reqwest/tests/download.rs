//! Bodies that break off while they are downloaded, in ways that look like their end.

use std::{
    io::Write as _,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use larder_reqwest::{CachedClient, Download, Error, ErrorKind, Part, Retry};
use larder_testkit::RawOrigin;

const TEN: &str = "0123456789";
const TAG: &str = "ETag: \"a\"\r\n";

/// Starts a server that answers request number n, from 0, with the text at that position, or the
/// last one, and then closes the connection.
fn server(responses: impl IntoIterator<Item = String>) -> RawOrigin {
    let (responses, requests) = (responses.into_iter().collect::<Vec<_>>(), AtomicUsize::new(0));
    RawOrigin::start(move |_, stream| {
        let number = requests.fetch_add(1, Ordering::SeqCst).min(responses.len() - 1);
        let _ = stream.write_all(responses[number].as_bytes());
        false
    })
}

/// Returns a response with ten bytes of which only these arrive.
fn whole(status: &str, fields: &str, content: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 10\r\n\r\n{content}")
}

/// Returns a response with the bytes from position 4 on, of which only these arrive.
fn rest(fields: &str, content: &str) -> String {
    let range = "Content-Range: bytes 4-9/10\r\nConnection: close\r\n";
    format!("HTTP/1.1 206 Partial Content\r\n{TAG}{fields}{range}\r\n{content}")
}

async fn start(origin: &RawOrigin, retry: Retry) -> Download {
    let client = CachedClient::builder().no_proxy().build().expect("a client");
    client.get(origin.url()).download(retry).await.expect("a response")
}

fn quick(retries: u32) -> Retry {
    Retry::new(retries).with_base_delay(Duration::from_millis(1))
}

/// Reads to the end, and returns the content since the last restart and the number of restarts.
async fn read(download: &mut Download) -> Result<(String, usize), Error> {
    let (mut content, mut restarts) = (Vec::new(), 0);
    while let Some(part) = download.next_part().await? {
        match part {
            Part::Chunk(chunk) => content.extend_from_slice(&chunk),
            Part::Restart => {
                content.clear();
                restarts += 1;
            }
        }
    }
    Ok((String::from_utf8(content).expect("text"), restarts))
}

/// A call that was dropped while it paused or sent a request left a body that ended without error.
#[tokio::test]
async fn a_call_that_was_dropped_goes_on_with_the_next_one() {
    let short = Duration::from_millis(100);
    let pause = Retry::new(2).with_base_delay(Duration::from_millis(400));
    let slow = RawOrigin::start(move |head, stream| {
        let is_rest = head.contains("bytes=4-");
        std::thread::sleep(if is_rest { short * 4 } else { Duration::ZERO });
        let response = if is_rest { rest("", &TEN[4..]) } else { whole("200 OK", TAG, &TEN[..4]) };
        let _ = stream.write_all(response.as_bytes());
        false
    });
    let quiet = server([whole("200 OK", TAG, &TEN[..4]), rest("", &TEN[4..])]);
    for (origin, retry) in [(quiet, pause), (slow, quick(3))] {
        let mut download = start(&origin, retry).await;
        let first = download.next_part().await.expect("a part");
        assert_eq!(first, Some(Part::Chunk(TEN[..4].into())));
        let dropped = tokio::time::timeout(short, download.next_part()).await;
        assert!(dropped.is_err(), "{dropped:?}");
        let last = read(&mut download).await.expect("the rest");
        assert_eq!(last, (TEN[4..].to_owned(), 0));
    }
}

#[tokio::test]
async fn an_error_that_is_final_is_returned_again() {
    for retry in [quick(0), quick(2)] {
        let origin = server([whole("200 OK", TAG, &TEN[..4]), whole("404 Not Found", "", TEN)]);
        let mut download = start(&origin, retry).await;
        let first = read(&mut download).await.expect_err("a body that breaks off");
        let requests = origin.heads().len();
        let second = read(&mut download).await.expect_err("the same error");
        assert_eq!(first.kind(), ErrorKind::Body);
        assert_eq!(first.to_string(), second.to_string());
        assert_eq!(origin.heads().len(), requests, "no further request");
    }
}

/// A rest without a length ended where the connection closed.
#[tokio::test]
async fn a_rest_that_is_too_short_is_no_end() {
    let last = "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 6-9/10\r\n\
                Content-Length: 4\r\n\r\n6789";
    for fields in ["", "Content-Length: 2\r\n"] {
        let begun = [whole("200 OK", TAG, &TEN[..4]), rest(fields, "45")];
        let origin = server(begun.clone().into_iter().chain([last.to_owned()]));
        assert_eq!(read(&mut start(&origin, quick(3)).await).await.expect("a body"), (TEN.to_owned(), 0));
        read(&mut start(&server(begun), quick(1)).await).await.expect_err("incomplete");
    }
}

/// An error page that broke off became the page that the next request led to, with status 200.
#[tokio::test]
async fn an_error_page_is_not_continued() {
    for status in ["503 Service Unavailable", "404 Not Found"] {
        let origin = server([whole(status, TAG, &TEN[..4]), whole("200 OK", TAG, TEN)]);
        let mut download = start(&origin, quick(3)).await;
        assert_eq!(read(&mut download).await.expect_err("an error").kind(), ErrorKind::Body);
        assert_eq!(origin.heads().len(), 1);
    }
}

#[tokio::test]
async fn a_rest_with_another_coding_is_refused() {
    let coded = rest("Content-Encoding: x-unknown\r\n", "??????");
    let origin = server([whole("200 OK", TAG, &TEN[..4]), coded, whole("200 OK", TAG, TEN)]);
    assert_eq!(read(&mut start(&origin, quick(3)).await).await.expect("a body"), (TEN.to_owned(), 1));
}

/// The caller kept the fields of the first response with the content of the second.
#[tokio::test]
async fn a_new_beginning_is_reported_before_the_first_byte() {
    let origin = server([whole("200 OK", TAG, ""), whole("200 OK", "ETag: \"b\"\r\n", TEN)]);
    let mut download = start(&origin, quick(3)).await;
    assert_eq!(read(&mut download).await.expect("a body"), (TEN.to_owned(), 1));
    assert_eq!(download.response().headers()["etag"], "\"b\"");
}
