//! Trailers in both directions: gRPC over HTTP/2, and chunked messages of HTTP/1.1.
#![cfg(feature = "tls")]

mod setting;

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::TcpStream as StdStream,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use larder_origin::HyperOptions;
use larder_testkit::RawOrigin;
use setting::{Protocol, Proxy, Setup, header, read_to_end, status};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::mpsc, time::timeout};

/// Content of which a test sends the frames.
struct Frames(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// Returns content and the sender of its frames.
fn frames() -> (mpsc::UnboundedSender<Frame<Bytes>>, BoxBody<Bytes, std::io::Error>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Frames(receiver).boxed())
}

/// Returns trailers with these fields.
fn trailers(fields: &[(&'static str, &'static str)]) -> Frame<Bytes> {
    let fields =
        fields.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
    Frame::trailers(fields.collect::<HeaderMap>())
}

/// A server of gRPC: it answers each message with the same one, at once, and repeats the trailers
/// of the request.
async fn grpc(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, std::io::Error>>, Infallible> {
    let (head, mut content) = request.into_parts();
    let te: Vec<_> = head.headers.get_all("te").iter().map(|te| te.to_str().expect("text")).collect();
    assert_eq!(
        (te, head.headers["content-type"].to_str().expect("text")),
        (vec!["trailers"], "application/grpc")
    );
    let mut response = Response::builder().header("content-type", "application/grpc+proto");
    if head.uri.path() == "/unknown" {
        response = response.header("grpc-status", "12");
        return Ok(response
            .body(Full::default().map_err(|never| match never {}).boxed())
            .expect("a response"));
    }
    let (sender, body) = frames();
    tokio::spawn(async move {
        let mut last = trailers(&[("grpc-status", "0"), ("grpc-message", "fine"), ("content-length", "7")]);
        while let Some(Ok(frame)) = content.frame().await {
            match frame.into_data() {
                Ok(data) => drop(sender.send(Frame::data(data))),
                Err(frame) => {
                    let received = frame.into_trailers().expect("trailers");
                    last.trailers_mut().expect("trailers").extend(received);
                }
            }
        }
        let _ = sender.send(last);
    });
    Ok(response.body(body).expect("a response"))
}

/// Starts a proxy in front of a server of gRPC.
async fn in_front_of_grpc(setup: Setup) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        loop {
            let io = TokioIo::new(listener.accept().await.expect("a connection").0);
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(io, service_fn(grpc)));
        }
    });
    let options = HyperOptions::to(&url).expect("a URL").with_http2_only(true);
    setup.to(options)
}

/// Creates a request of gRPC.
fn call<B>(client: &setting::client::Client, path: &str, content: B) -> Request<B> {
    let request = client.request("POST", path).header("content-type", "application/grpc");
    request.header("te", "trailers").body(content).expect("a request")
}

/// gRPC did not work through the proxy: the status of a call is in the trailers.
#[tokio::test]
async fn grpc_works_over_http_2() {
    for protocol in [Protocol::H2c, Protocol::Http2Tls] {
        let proxy = in_front_of_grpc(Setup::new(protocol)).await;
        let mut client = proxy.client().await;
        let unary = Full::from("one message").map_err(|never| match never {}).boxed();
        let response = client.stream(call(&client, "/unary", unary)).await.expect("a response");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-status"], "larder; fwd=method; fwd-status=200; detail=method");
        let whole = response.into_body().collect().await.expect("whole");
        let fields = whole.trailers().expect("trailers").clone();
        assert_eq!(fields["grpc-status"], "0");
        assert_eq!(fields["grpc-message"], "fine");
        assert!(!fields.contains_key("content-length"), "{fields:?}");
        assert_eq!(whole.to_bytes(), "one message");

        let none = Full::default().map_err(|never| match never {}).boxed();
        let response = client.stream(call(&client, "/unknown", none)).await.expect("a response");
        assert_eq!(response.headers()["grpc-status"], "12", "a response of trailers only");
        let whole = response.into_body().collect().await.expect("whole");
        assert!(whole.trailers().is_none() && whole.to_bytes().is_empty());
    }
}

/// Both sides stream: each message is answered before the next one is sent.
#[tokio::test]
async fn streams_of_grpc_work_in_both_directions() {
    for protocol in [Protocol::H2c, Protocol::Http2Tls] {
        let proxy = in_front_of_grpc(Setup::new(protocol)).await;
        let mut client = proxy.client().await;
        let (sender, content) = frames();
        sender.send(Frame::data("first".into())).expect("it is read");
        let asking = client.stream(call(&client, "/stream", content));
        let response = timeout(setting::PATIENCE, asking).await.expect("an answer").expect("a response");
        let mut body = response.into_body();
        for message in ["first", "second", "third"] {
            if message != "first" {
                sender.send(Frame::data(message.into())).expect("it is read");
            }
            let frame = timeout(setting::PATIENCE, body.frame()).await.expect("an answer");
            assert_eq!(frame.expect("a frame").expect("no error").into_data().expect("data"), message);
        }
        // The server sends back the client's trailers as it has received them.
        let sent =
            [("x-sum", "3"), ("x-forwarded-for", "1.2.3.4"), ("x_real_ip", "1.2.3.4"), ("host", "evil")];
        sender.send(trailers(&sent)).expect("it is read");
        drop(sender);
        let frame = timeout(setting::PATIENCE, body.frame()).await.expect("an end").expect("a frame");
        let fields = frame.expect("no error").into_trailers().expect("trailers");
        assert_eq!((fields["grpc-status"].as_bytes(), fields["x-sum"].as_bytes()), (&b"0"[..], &b"3"[..]));
        assert_eq!(fields.len(), 3, "{fields:?}");
        assert!(body.frame().await.is_none());
    }
}

/// A client that watches something sends one message and is then silent, also for longer than a
/// client may leave between two parts of an upload.
#[tokio::test]
async fn a_client_may_be_silent_once_the_response_has_begun() {
    let short = Duration::from_millis(100);
    let setup = Setup::new(Protocol::H2c).proxy(|options| options.with_content_timeout(short));
    let proxy = in_front_of_grpc(setup).await;
    let mut client = proxy.client().await;
    let (sender, content) = frames();
    sender.send(Frame::data("watch".into())).expect("it is read");
    let mut body = client.stream(call(&client, "/watch", content)).await.expect("a response").into_body();
    for message in ["watch", "again"] {
        let frame = timeout(setting::PATIENCE, body.frame()).await.expect("an answer").expect("a frame");
        assert_eq!(frame.expect("no error").into_data().expect("data"), message);
        tokio::time::sleep(4 * short).await;
        if message == "watch" {
            sender.send(Frame::data("again".into())).expect("it is read");
        }
    }
    drop(sender);
    let frame = timeout(setting::PATIENCE, body.frame()).await.expect("an end").expect("a frame");
    assert_eq!(frame.expect("no error").into_trailers().expect("trailers")["grpc-status"], "0");
}

/// Sends a request over HTTP/1.1, and returns the whole response as text.
async fn ask(proxy: &Proxy, path: &str, fields: &str) -> String {
    proxy
        .raw(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close, te\r\n{fields}\r\n"))
        .await
}

/// A chunked response with trailers; `head` has further fields.
fn chunked(head: &str, trailers: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{head}\r\n4\r\npage\r\n0\r\n{trailers}\r\n")
}

/// A client of HTTP/1.1 gets trailers if it accepts them, and never one that would change the
/// message. What is stored has none.
#[tokio::test]
async fn chunked_trailers_reach_a_client_that_accepts_them() {
    let announced = "Trailer: X-Sum, Content-Length, Set-Cookie\r\n";
    let sent = "X-Sum: 1\r\nContent-Length: 99\r\nSet-Cookie: a=b\r\nX-Other: 1\r\nConnection: x\r\n";
    for (caching, is_stored) in
        [("Cache-Control: no-store\r\n", false), ("Cache-Control: max-age=60\r\n", true)]
    {
        let origin = RawOrigin::start(move |_, stream| {
            stream.write_all(chunked(&format!("{caching}{announced}"), sent).as_bytes()).is_ok()
        });
        let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
        let with = ask(&proxy, "/with", "TE: trailers\r\n").await;
        assert_eq!(header(&with, "transfer-encoding"), Some("chunked"), "{with}");
        assert!(header(&with, "trailer").is_some_and(|names| names.starts_with("X-Sum")), "{with}");
        assert!(with.ends_with("\r\n4\r\npage\r\n0\r\nx-sum: 1\r\n\r\n"), "{with}");
        for te in ["", "TE: gzip\r\n", "TE: trailers-x\r\n"] {
            let without = ask(&proxy, &format!("/without{}", te.len()), te).await;
            assert_eq!((status(&without), header(&without, "trailer")), (200, None), "{without}");
            assert!(!without.to_lowercase().contains("x-sum"), "{without}");
        }
        let requests = origin.heads().len();
        let again = ask(&proxy, "/with", "TE: trailers\r\n").await;
        assert_eq!(origin.heads().len() == requests, is_stored, "{again}");
        assert_eq!(again.contains("x-sum: 1"), !is_stored, "trailers are not stored: {again}");
        assert!(!again.contains("99") && !again.contains("a=b"), "{again}");
        // A client of HTTP/1.0 gets neither chunks nor trailers.
        let old = proxy.raw("GET /old HTTP/1.0\r\nHost: site.test\r\nTE: trailers\r\n\r\n").await;
        assert!(old.ends_with("\r\n\r\npage") && header(&old, "trailer").is_none(), "{old}");
        for head in origin.heads() {
            let te = header(&head, "te");
            assert!(
                te.is_none() || te == Some("trailers") && header(&head, "connection") == Some("te"),
                "{head}"
            );
        }
    }
}

/// A response that is stored while it arrives: the client of the fetch gets the trailers at its
/// end.
#[tokio::test]
async fn trailers_follow_a_body_that_is_stored_while_it_arrives() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = RawOrigin::start(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\nTrailer: x-sum\r\n\r\n";
        stream.write_all(format!("{head}4\r\nhalf\r\n").as_bytes()).expect("it reads");
        let _ = wait.lock().expect("no panic").recv();
        stream.write_all(b"4\r\nrest\r\n0\r\nX-Sum: 8\r\n\r\n").is_ok()
    });
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let proxy = Setup::new(protocol).in_front_of(&origin);
        let mut client = proxy.client().await;
        let request = client.request("GET", "/").header("te", "trailers").body(Full::default());
        let mut body = client.head_of(request.expect("a request")).await.expect("a response").into_body();
        let first = body.frame().await.expect("a chunk").expect("no error");
        assert_eq!(first.into_data().expect("data"), "half");
        go.send(()).expect("the origin waits");
        let whole = timeout(setting::PATIENCE, body.collect()).await.expect("an end").expect("whole");
        assert_eq!(whole.trailers().expect("trailers")["x-sum"], "8", "{protocol:?}");
        assert_eq!(whole.to_bytes(), "rest");
        let hit = client.get("/").await;
        assert!(hit.how().starts_with("larder; hit") && hit.text() == "halfrest", "{hit:?}");
    }
}

/// Reads chunks up to the end of the trailer section.
fn read_chunked(stream: &mut StdStream) -> String {
    let mut content = Vec::new();
    let mut byte = [0];
    while !(content.windows(3).any(|end| end == b"0\r\n") && content.ends_with(b"\r\n\r\n")) {
        stream.read_exact(&mut byte).expect("the rest");
        content.push(byte[0]);
    }
    String::from_utf8(content).expect("text")
}

/// The trailers of a chunked request reach the origin, but for those with which a client could
/// steer it: an origin may merge them into the head.
#[tokio::test]
async fn chunked_trailers_reach_the_origin() {
    let received = Arc::<Mutex<Vec<String>>>::default();
    let shared = Arc::clone(&received);
    let origin = RawOrigin::start(move |_, stream| {
        shared.lock().expect("no panic").push(read_chunked(stream));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
    let names = "X-Sum, X-Forwarded-For, X_Real_Ip, Host, Content-Length, Authorization, Cookie, Via";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Trailer: {names}\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\nX-Forwarded-For: 1.2.3.4\r\nX_Real_Ip: 1.2.3.4\r\n\
         Host: evil\r\nContent-Length: 5\r\nAuthorization: x\r\nCookie: a=b\r\nVia: x\r\nX-Unannounced: 1\r\n\r\n"
    );
    assert_eq!(status(&proxy.raw(request).await), 200);
    let received = received.lock().expect("no panic");
    assert!(received[0].ends_with("hello\r\n0\r\nx-sum: 5\r\n\r\n"), "{received:?}");
}

/// Trailers have limits, and a message with more is broken, not shorter.
#[tokio::test]
async fn long_trailers_break_the_message() {
    let long = "a".repeat(3000);
    let many: String = (0..40).map(|number| format!("X-{number}: {long}\r\n")).collect();
    let answer = chunked("Cache-Control: max-age=60\r\nTrailer: X-1\r\n", &many);
    let origin = RawOrigin::start(move |head, stream| {
        if head.starts_with("POST") {
            // The request ends early, without the end of its content.
            let _ = stream.read_to_end(&mut Vec::new());
            return false;
        }
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
    let cut = ask(&proxy, "/", "TE: trailers\r\n").await;
    assert!(!cut.contains("\r\n0\r\n"), "a broken response looked complete");
    let requests = origin.heads().len();
    ask(&proxy, "/", "").await;
    assert_eq!(origin.heads().len(), requests + 1, "a broken response was stored");
    let request =
        "POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    let mut stream = proxy.tcp().await;
    let _ = stream.write_all(format!("{request}{many}\r\n").as_bytes()).await;
    let response = read_to_end(&mut stream).await;
    assert!(status(&response) == 400 || response.is_empty(), "{response}");
}

/// A body that ends with trailers leaves its connection to the pool.
#[tokio::test]
async fn a_connection_is_used_again_after_trailers() {
    let connections = Arc::new(Mutex::new(Vec::new()));
    let ports = Arc::clone(&connections);
    let origin = RawOrigin::start(move |_, stream| {
        ports.lock().expect("no panic").push(stream.peer_addr().expect("an address").port());
        let answer = chunked("Cache-Control: no-store\r\nTrailer: x-sum\r\n", "X-Sum: 1\r\n");
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
    for number in 0..5 {
        let response = ask(&proxy, &format!("/{number}"), "TE: trailers\r\n").await;
        assert!(response.ends_with("x-sum: 1\r\n\r\n"), "{response}");
    }
    let ports = connections.lock().expect("no panic");
    assert!(ports.len() == 5 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}
