//! Bodies on their way through a cassette: streams, broken and dropped ones, limits, trailers.

mod common;

use bytes::Bytes;
use common::{Counting, NoNetwork, files, open, options, request, send, texts};
use http::Response;
use http_body_util::BodyExt as _;
use larder_cassette::{Cassette, CassetteErrorKind, CassetteOptions, Mode};
use larder_core::{Body, Origin as _};
use larder_testkit::FnOrigin;
use tempfile::tempdir;

const USERS: &str = "https://api.example.com/users";

/// A server closed the connection in the middle of a download, and the half became the fixture.
#[tokio::test]
async fn a_broken_response_is_not_recorded() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let broken = FnOrigin::new(|_, _| {
        let chunks = [Ok(Bytes::from("half")), Err("the connection was reset")];
        Ok(Response::new(Body::from_stream(futures_util::stream::iter(chunks))))
    });
    let error = send(&cassette.origin(broken), request("GET", USERS, "")).await.unwrap_err();
    assert!(error.contains("reset"), "{error}");
    assert!(files(directory.path()).is_empty());
    let error = cassette.finish().await.unwrap_err();
    assert_eq!(error.kind(), CassetteErrorKind::NotRecorded);
    assert!(error.to_string().contains("GET https://api.example.com/users: the response broke"), "{error}");
}

/// A test looked only at the status and dropped the response. In the replay, its request had no
/// recording.
#[tokio::test]
async fn a_response_that_is_dropped_early_is_recorded_whole() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }));
    let body = std::sync::Mutex::new(Some(body));
    let server = FnOrigin::new(move |_, _| Ok(Response::new(body.lock().unwrap().take().unwrap())));
    let response = cassette.origin(server).fetch(request("GET", USERS, "")).await.unwrap();
    drop(response);
    sender.send(Ok(Bytes::from("the whole "))).await.unwrap();
    sender.send(Ok(Bytes::from("body"))).await.unwrap();
    drop(sender);
    cassette.finish().await.unwrap();
    assert!(texts(directory.path()).contains("=== response body\nthe whole body\n=== end"));
}

#[tokio::test(start_paused = true)]
async fn an_endless_response_that_is_dropped_is_reported() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let endless = FnOrigin::new(|_, _| {
        Ok(Response::new(Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>())))
    });
    drop(cassette.origin(endless).fetch(request("GET", USERS, "")).await.unwrap());
    let error = cassette.finish().await.unwrap_err();
    assert_eq!(error.kind(), CassetteErrorKind::NotRecorded, "{error}");
    assert!(files(directory.path()).is_empty());
}

/// A test without timers dropped a response, and the panic in its drop ended the whole process.
#[test]
fn a_response_may_be_dropped_without_a_timer_or_a_runtime() {
    let directory = tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let endless = || {
        FnOrigin::new(|_, _| {
            let body = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            Ok(Response::new(Body::from_stream(body)))
        })
    };
    for drops_outside in [false, true] {
        let cassette = open(directory.path(), Mode::Record);
        let response = runtime.block_on(cassette.origin(endless()).fetch(request("GET", USERS, ""))).unwrap();
        if drops_outside {
            drop(response);
        } else {
            runtime.block_on(async { drop(response) });
            // The task of the rest runs, and fails.
            runtime.block_on(tokio::task::yield_now());
        }
        assert_eq!(cassette.check().unwrap_err().kind(), CassetteErrorKind::NotRecorded);
        assert!(runtime.block_on(cassette.finish()).is_err());
    }
}

#[tokio::test]
async fn chunks_pass_while_they_are_recorded() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }));
    let body = std::sync::Mutex::new(Some(body));
    let server = FnOrigin::new(move |_, _| Ok(Response::new(body.lock().unwrap().take().unwrap())));
    let response = cassette.origin(server).fetch(request("GET", USERS, "")).await.unwrap();
    let mut body = response.into_body();
    for chunk in ["one", "two"] {
        // The next chunk is sent after this one has arrived.
        sender.send(Ok(Bytes::from(chunk))).await.unwrap();
        assert_eq!(body.chunk().await.unwrap().unwrap(), chunk);
    }
    assert!(files(directory.path()).is_empty(), "not before the end");
    drop(sender);
    assert!(body.chunk().await.is_none());
    assert_eq!(files(directory.path()).len(), 1, "written before the reader learns of the end");
}

#[tokio::test]
async fn long_bodies_are_refused_in_both_directions() {
    let directory = tempdir().unwrap();
    let options = options().with_max_body(8);
    let cassette = Cassette::with_options(directory.path(), Mode::Record, options).unwrap();
    let error = send(&cassette.origin(Counting::default()), request("GET", USERS, "")).await.unwrap_err();
    assert!(error.contains("longer than 8 bytes: see CassetteOptions::max_body"), "{error}");
    let error = send(&cassette.origin(NoNetwork), request("POST", USERS, "123456789")).await.unwrap_err();
    assert!(error.contains("longer than 8 bytes"), "{error}");
    assert!(files(directory.path()).is_empty());
}

#[tokio::test]
async fn trailers_versions_and_statuses_are_replayed() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let server = FnOrigin::new(|_, _| {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let body = http_body_util::Full::new(Bytes::from("x\n"));
        let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
        let response = Response::builder().status(418).version(http::Version::HTTP_2);
        let response = response.header("transfer-encoding", "chunked").header("x", "1").header("x", "2");
        Ok(response.body(Body::stream(body)).unwrap())
    });
    let response = cassette.origin(server).fetch(request("GET", USERS, "")).await.unwrap();
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned();
    let cassette = open(directory.path(), Mode::Replay);
    let replayed = cassette.origin(NoNetwork).fetch(request("GET", USERS, "")).await.unwrap();
    assert_eq!((replayed.status().as_u16(), replayed.version()), (418, http::Version::HTTP_2));
    assert_eq!(replayed.headers().get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(!replayed.headers().contains_key("transfer-encoding"));
    let body = replayed.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().cloned(), trailers);
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "x\n");
}

#[tokio::test]
async fn a_response_to_head_keeps_the_length_of_the_other_body() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let server = FnOrigin::new(|_, _| {
        Ok(Response::builder().header("content-length", "1234").body(Body::empty()).unwrap())
    });
    cassette.origin(server).fetch(request("HEAD", USERS, "")).await.unwrap();
    cassette.finish().await.unwrap();
    let cassette = open(directory.path(), Mode::Replay);
    let replayed = cassette.origin(NoNetwork).fetch(request("HEAD", USERS, "")).await.unwrap();
    assert_eq!(replayed.headers()["content-length"], "1234");
}

#[tokio::test]
async fn servers_are_requested_without_content_codings() {
    let directory = tempdir().unwrap();
    let echo = || {
        FnOrigin::new(|_, request| {
            let sent = request.headers()["accept-encoding"].to_str().unwrap().to_owned();
            Ok(Response::new(Body::from(sent)))
        })
    };
    let with_codings = || {
        let mut request = request("GET", USERS, "");
        request.headers_mut().insert("accept-encoding", "gzip, br".parse().unwrap());
        request
    };
    let cassette = open(directory.path(), Mode::Record);
    assert_eq!(send(&cassette.origin(echo()), with_codings()).await.unwrap().1, "identity");
    let options = CassetteOptions::default().with_content_codings(true);
    let cassette = Cassette::with_options(directory.path(), Mode::Record, options).unwrap();
    assert_eq!(send(&cassette.origin(echo()), with_codings()).await.unwrap().1, "gzip, br");
}
