//! HTTP/2 frame by frame: floods, compressed heads that grow, resets, lengths, and idle
//! connections.
#![cfg(feature = "tls")]

mod setting;

use std::{sync::Arc, time::Duration};

use larder_testkit::FnOrigin;
use setting::{
    Protocol, Proxy, Setup,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, LAST_INDEXED, PING, RST_STREAM,
        RawClient, block, get, indexed, status,
    },
    storable,
};

/// GOAWAY with this code: the client makes too much work (RFC 9113 §7).
const ENHANCE_YOUR_CALM: u32 = 11;

/// Returns a setup for HTTP/2 without TLS.
fn setup() -> Setup {
    Setup::new(Protocol::H2c)
}

fn origin() -> Arc<FnOrigin> {
    FnOrigin::new(|_, _| Ok(storable("a page")))
}

async fn start(proxy: &Proxy) -> RawClient {
    RawClient::start(proxy.tcp().await, &[]).await
}

/// Returns what the server made of a request that is too large: a 431, a reset stream, or the end
/// of the connection.
async fn outcome(client: &mut RawClient) -> String {
    match client.next().await {
        Some(frame) if frame.kind == HEADERS => status(&frame).to_string(),
        Some(frame) if frame.kind == RST_STREAM => "reset".to_owned(),
        Some(frame) if frame.kind == GOAWAY => "goaway".to_owned(),
        None => "closed".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A request of 4,000 references to one field of 3,900 bytes took 15 MB. On the wire it has 8 KB.
#[tokio::test]
async fn references_to_a_long_field_do_not_grow() {
    let origin = origin();
    let proxy = setup().with(Arc::clone(&origin) as _);
    let mut client = start(&proxy).await;
    let mut head = get("/");
    head.extend(indexed("x", &"a".repeat(3900)));
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &head).await;
    assert_eq!(outcome(&mut client).await, "200");
    let content = client.next().await.expect("the content");
    assert_eq!((content.kind, &*content.payload), (DATA, &b"a page"[..]));
    let mut head = get("/");
    head.extend(vec![LAST_INDEXED; 4000]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 3, &head).await;
    let outcome = outcome(&mut client).await;
    assert!(["431", "goaway", "closed"].contains(&&*outcome), "{outcome}");
    assert_eq!(proxy.get("/").await.status, 200);
    assert_eq!(origin.count(), 1);
}

/// 24,700 field names, or 200,000 references, ended the worker's thread.
#[tokio::test]
async fn any_number_of_fields_never_panics() {
    let proxy = setup().server(|options| options.with_max_header_bytes(16 << 20)).with(origin());
    let names: Vec<_> = (0..30_000).map(|number| format!("x-{number}")).collect();
    let names = block(&names.iter().map(|name| (&**name, "")).collect::<Vec<_>>());
    let mut references = indexed("x", "y");
    references.extend(vec![LAST_INDEXED; 200_000]);
    for fields in [names, references] {
        let mut client = start(&proxy).await;
        let head = [get("/"), fields].concat();
        let mut parts = head.chunks(16_000).peekable();
        client.send(HEADERS, END_STREAM, 1, parts.next().expect("a part")).await;
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
            client.send(CONTINUATION, flags, 1, part).await;
        }
        let outcome = outcome(&mut client).await;
        assert!(["431", "reset", "goaway", "closed"].contains(&&*outcome), "{outcome}");
        assert_eq!(proxy.get("/").await.status, 200);
    }
}

/// A head that never ends (CONTINUATION flood).
#[tokio::test]
async fn a_head_without_an_end_is_cut() {
    let proxy = setup().with(origin());
    let mut client = start(&proxy).await;
    client.send(HEADERS, END_STREAM, 1, &get("/")).await;
    let part = block(&[("x", &"a".repeat(1000))]);
    for _ in 0..10_000 {
        client.send(CONTINUATION, 0, 1, &part).await;
    }
    let frames = client.rest().await;
    assert!(frames.iter().all(|frame| frame.kind != HEADERS || status(frame) == 431), "{frames:?}");
    assert_eq!(proxy.get("/").await.status, 200);
}

/// Requests that are reset at once, as fast as they can be sent.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let proxy = setup().with(origin());
    let mut client = start(&proxy).await;
    let mut burst = Vec::new();
    for stream in (1..4001).step_by(2) {
        burst.extend(setting::frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/")));
        burst.extend(setting::frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, &burst).await;
    let frames = client.rest().await;
    let goaway = frames.iter().find(|frame| frame.kind == GOAWAY).map(Frame::code);
    assert_eq!(goaway, Some(ENHANCE_YOUR_CALM), "{frames:?}");
    assert_eq!(proxy.get("/").await.status, 200);
}

/// More streams than the server has announced are refused.
#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let (origin, mut requests) = larder_testkit::ManualOrigin::new();
    let proxy = setup().server(|options| options.with_max_concurrent_streams(4)).with(origin);
    let mut client = start(&proxy).await;
    // The limit holds once the client has acknowledged the settings.
    let settings = client.any().await.expect("the settings");
    client.send(settings.kind, setting::frames::ACK, 0, &[]).await;
    let mut bodies = Vec::new();
    for stream in [1, 3, 5, 7] {
        client.get(stream, &format!("/{stream}")).await;
        let body = requests.next().await.respond_streaming(200, &[("cache-control", "no-store")], None);
        bodies.push(body);
    }
    client.get(9, "/9").await;
    loop {
        let frame = client.next().await.expect("an answer");
        if frame.kind == RST_STREAM && frame.stream == 9 {
            assert_eq!(frame.code(), 7, "refused");
            break;
        }
    }
    assert!(requests.is_empty());
}

/// Two lengths, of which an origin over HTTP/1.1 may take either.
#[tokio::test]
async fn two_lengths_are_rejected() {
    let origin = origin();
    let proxy = setup().with(Arc::clone(&origin) as _);
    for lengths in [["5", "0"], ["0", "5"], ["5", "5"], ["5, 5", ""], ["+5", ""]] {
        let mut client = start(&proxy).await;
        let mut fields =
            vec![(":method", "POST"), (":scheme", "http"), (":authority", "site.test"), (":path", "/")];
        fields.extend(
            lengths.iter().filter(|length| !length.is_empty()).map(|length| ("content-length", *length)),
        );
        client.send(HEADERS, END_HEADERS, 1, &block(&fields)).await;
        client.send(DATA, END_STREAM, 1, b"hello").await;
        let outcome = outcome(&mut client).await;
        assert!(["400", "reset", "goaway"].contains(&&*outcome), "{lengths:?}: {outcome}");
    }
    assert_eq!(origin.count(), 0);
}

/// An idle connection gets a GOAWAY and is closed, also if the client sends a PING now and then.
#[tokio::test]
async fn an_idle_connection_gets_a_goaway() {
    let keep_alive = Duration::from_millis(400);
    let proxy = setup().server(|options| options.with_keep_alive(keep_alive)).with(origin());
    let mut client = start(&proxy).await;
    client.get(1, "/").await;
    let mut frames = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_millis(50), client.next()).await;
        match next {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => break,
            Err(_) => client.send(PING, 0, 0, &[0; 8]).await,
        }
    }
    let goaway = frames.iter().find(|frame| frame.kind == GOAWAY).expect("a GOAWAY");
    assert_eq!(goaway.code(), 0, "no error");
}

/// A client that announces a window of 0 keeps no stream, and no memory, for ever.
#[tokio::test]
async fn a_stream_without_a_window_is_reset() {
    let proxy = setup()
        .server(|options| options.with_send_timeout(Duration::from_millis(300)))
        .with(FnOrigin::new(|_, _| Ok(storable(vec![7; 100_000]))));
    let mut client = RawClient::start(proxy.tcp().await, &[(4, 0)]).await;
    client.get(1, "/").await;
    let head = client.next().await.expect("a head");
    assert_eq!(status(&head), 200);
    let end = client.next().await.expect("a reset");
    assert_eq!((end.kind, end.stream), (RST_STREAM, 1), "{end:?}");
}

/// A client that sends the beginning of a preface only.
#[tokio::test]
async fn a_preface_that_never_ends_is_cut() {
    let proxy =
        setup().server(|options| options.with_request_timeout(Duration::from_millis(300))).with(origin());
    assert_eq!(proxy.raw("PRI * HTTP/2.0\r\n").await, "");
    assert_eq!(proxy.get("/").await.status, 200);
}
