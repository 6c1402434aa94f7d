//! Two servers that record their requests, and redirect as the path states.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Two servers, `same` and `other`.
///
/// A request for `/301/other/end` to the first one is redirected with 301 to `/end` on the other
/// one. Each response sets a cookie.
pub(crate) struct Recorder {
    pub(crate) same: SocketAddr,
    pub(crate) other: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Starts the servers.
    pub(crate) async fn start() -> Self {
        let listeners = [bind().await, bind().await];
        let [same, other] = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
        let requests = Arc::<Mutex<Vec<String>>>::default();
        for listener in listeners {
            let here = listener.local_addr().expect("an address");
            let there = if here == same { other } else { same };
            let received = Arc::clone(&requests);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let received = Arc::clone(&received);
                    let service = service_fn(move |request| respond(request, there, Arc::clone(&received)));
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
            });
        }
        Self { same, other, requests }
    }

    /// Returns the requests since the last call, each as text: the server, method and path, the
    /// fields in their alphabetical order, and the content.
    pub(crate) fn take(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.requests.lock().expect("no panic"));
        let (same, other) = (self.same.to_string(), self.other.to_string());
        requests.into_iter().map(|text| text.replace(&same, "SAME").replace(&other, "OTHER")).collect()
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

async fn respond(
    request: Request<Incoming>,
    other: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<&'static [u8]>>, Infallible> {
    let (parts, body) = request.into_parts();
    let content = body.collect().await.expect("a body").to_bytes();
    let mut fields: Vec<String> = parts
        .headers
        .iter()
        // The clients under test differ in it.
        .filter(|(name, _)| *name != "accept-encoding")
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    fields.sort();
    let text = format!("{} {} {fields:?} {content:?}", parts.method, parts.uri);
    received.lock().expect("no panic").push(text);
    let mut path = parts.uri.path().trim_start_matches('/').splitn(3, '/');
    let mut response = Response::new(Full::new(&b"content"[..]));
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response.headers_mut().insert("set-cookie", HeaderValue::from_static("from=jar; path=/"));
    if let (Some(Ok(status)), Some(place), Some(rest)) =
        (path.next().map(str::parse), path.next(), path.next())
    {
        let target = match place {
            "same" => format!("/{rest}"),
            "other" => format!("http://{other}/{rest}"),
            "user" => format!("http://user:secret@{other}/{rest}"),
            // Any value, percent-encoded.
            _ => String::new(),
        };
        let target = if place == "raw" { decoded(rest) } else { target.into_bytes() };
        *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        response.headers_mut().insert("location", HeaderValue::from_bytes(&target).expect("a value"));
    }
    Ok(response)
}

/// Decodes `%XX`, as bytes.
fn decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}
