//! A client that sends requests over a connection of each protocol.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::client::conn::{http1, http2};
use larder_proxy::Certificates;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::client::TlsStream;

use super::PATIENCE;

/// Certificates for names, and a client that trusts them.
pub(crate) struct Trust {
    /// Certificate and key in PEM.
    pub(crate) pem: (String, String),
    certificate: Vec<u8>,
}

impl Trust {
    /// Creates a certificate for these names.
    pub(crate) fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let generated = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let pem = (generated.cert.pem(), generated.signing_key.serialize_pem());
        Self { pem, certificate: generated.cert.der().to_vec() }
    }

    /// Returns the certificate for a listener.
    pub(crate) fn certificates(&self) -> Certificates {
        Certificates::from_pem(self.pem.0.as_bytes(), self.pem.1.as_bytes()).expect("they match")
    }

    /// Writes certificate and key to files, each by renaming a new one.
    pub(crate) fn write(&self, files: [&std::path::Path; 2]) {
        for (path, content) in files.into_iter().zip([&self.pem.0, &self.pem.1]) {
            let new = path.with_extension("new");
            std::fs::write(&new, content).expect("a file");
            std::fs::rename(new, path).expect("it is replaced");
        }
    }

    /// Connects over TLS for a server of this name, with HTTP/1.1.
    pub(crate) async fn connect(&self, tcp: TcpStream, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        connect(&[self], tcp, name).await
    }
}

/// Connects over TLS with several certificates trusted.
pub(crate) async fn connect(
    trusted: &[&Trust],
    tcp: TcpStream,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for trust in trusted {
        roots.add(trust.certificate.clone().into()).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// A connection that sends requests.
pub(crate) struct Client {
    pub(super) sender: Sender,
    pub(super) scheme: &'static str,
}

pub(super) enum Sender {
    Http1(http1::SendRequest<Content>),
    Http2(http2::SendRequest<Content>),
}

/// The content of a request.
pub(crate) type Content = BoxBody<Bytes, std::io::Error>;

/// Returns content of which only the first `length` bytes arrive, as long as the sender is kept.
pub(crate) fn unfinished(length: usize) -> (Content, tokio::sync::oneshot::Sender<()>) {
    let (sender, end) = tokio::sync::oneshot::channel();
    (Unfinished { rest: Some(vec![b'x'; length].into()), end }.boxed(), sender)
}

struct Unfinished {
    rest: Option<Bytes>,
    end: tokio::sync::oneshot::Receiver<()>,
}

impl http_body::Body for Unfinished {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        if let Some(rest) = self.rest.take() {
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(rest))));
        }
        std::pin::Pin::new(&mut self.end).poll(cx).map(|_| Some(Err(std::io::ErrorKind::BrokenPipe.into())))
    }
}

/// A response with its whole content.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) content: Bytes,
}

impl Reply {
    /// Returns the value of a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Returns the content as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.content).expect("text")
    }

    /// Returns what the cache did.
    pub(crate) fn how(&self) -> &str {
        self.header("cache-status")
    }
}

impl Client {
    /// Creates a request for the host `site.test`.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        match self.sender {
            Sender::Http1(_) => Request::builder().method(method).uri(path).header("host", "site.test"),
            Sender::Http2(_) => Request::builder()
                .method(method)
                .version(Version::HTTP_2)
                .uri(format!("{}://site.test{path}", self.scheme)),
        }
    }

    /// Sends a request, and returns the response with its head only.
    pub(crate) async fn head_of(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<hyper::body::Incoming>> {
        self.stream(request.map(|content| content.map_err(|never| match never {}).boxed())).await
    }

    /// Sends a request with any content, and returns the response with its head only.
    pub(crate) async fn stream(
        &mut self,
        request: Request<Content>,
    ) -> hyper::Result<Response<hyper::body::Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request, and returns the whole response.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Reply {
        let exchange = async {
            let (head, content) = self.head_of(request).await.expect("a response").into_parts();
            let content = content.collect().await.expect("the whole content").to_bytes();
            Reply { status: head.status.as_u16(), headers: head.headers, content }
        };
        timeout(PATIENCE, exchange).await.expect("an answer")
    }

    /// Sends a GET.
    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(self.request("GET", path).body(Full::default()).expect("a request")).await
    }

    /// Sends a request with this content.
    pub(crate) async fn post(&mut self, path: &str, content: impl Into<Bytes>) -> Reply {
        let request = self.request("POST", path).body(Full::new(content.into()));
        self.send(request.expect("a request")).await
    }
}
