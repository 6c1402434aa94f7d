//! hyper servers: a fixed response, the origin, and a proxy without a cache.

use std::{
    cell::RefCell,
    convert::Infallible,
    net::SocketAddr,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1::SendRequest, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use larder_testkit::fixtures;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
};

use crate::Pages;

fn fields(storable: bool) -> HeaderMap {
    let mut fields = fixtures::fields(&fixtures::RESPONSE);
    if !storable {
        fields.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    fields
}

/// Serves prebuilt responses on one thread: the lower bound for hits.
pub(crate) fn fixed(address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let mut head = fields(true);
        head.insert(http::header::AGE, HeaderValue::from_static("12"));
        head.insert("cache-status", HeaderValue::from_static("larder; hit; ttl=3588"));
        let pages = Pages::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (head, pages) = (head.clone(), pages.clone());
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let mut response = Response::new(Full::new(pages.get(request.uri().path()).body));
                    *response.headers_mut() = head.clone();
                    async { Ok::<_, Infallible>(response) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

/// Serves as the origin of the proxies. `/count` returns the number of requests since the last
/// `/count`.
pub(crate) fn origin(address: SocketAddr) -> anyhow::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let (stored, passed) = (fields(true), fields(false));
        let pages = Pages::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (stored, passed, pages) = (stored.clone(), passed.clone(), pages.clone());
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let path = request.uri().path();
                    let page = pages.get(path);
                    let mut response = if path == "/count" {
                        Response::new(Full::new(Bytes::from(COUNT.swap(0, Ordering::Relaxed).to_string())))
                    } else {
                        COUNT.fetch_add(1, Ordering::Relaxed);
                        Response::new(Full::new(page.body))
                    };
                    *response.headers_mut() =
                        if page.storable && path != "/count" { stored.clone() } else { passed.clone() };
                    async move {
                        if page.delay_ms > 0 {
                            tokio::time::sleep(Duration::from_millis(page.delay_ms)).await;
                        }
                        Ok::<_, Infallible>(response)
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

/// Forwards every request through a pooled client: the lower bound for misses.
pub(crate) fn pass(address: SocketAddr, origin: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Incoming>();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (client, origin) = (client.clone(), origin.to_owned());
            tokio::spawn(async move {
                let service = service_fn(|mut request: Request<Incoming>| {
                    let client = client.clone();
                    let uri = format!("{origin}{}", request.uri().path()).parse();
                    async move {
                        *request.uri_mut() = uri.map_err(anyhow::Error::from)?;
                        anyhow::Ok(client.request(request).await?)
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

/// Forwards every request on a connection from a list of idle ones that belongs to the thread: the
/// lower bound for misses without a lock or a task between threads.
pub(crate) fn pass_on_own_pool(address: SocketAddr, origin: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let idle: Rc<RefCell<Vec<SendRequest<Incoming>>>> = Rc::default();
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let idle = Rc::clone(&idle);
            spawn_local(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let idle = Rc::clone(&idle);
                    async move {
                        let ready = idle.borrow().iter().position(SendRequest::is_ready);
                        let ready = ready.map(|at| idle.borrow_mut().swap_remove(at));
                        let mut connection = match ready {
                            Some(connection) => connection,
                            None => connect(origin).await?,
                        };
                        let response = connection.send_request(request).await?;
                        idle.borrow_mut().push(connection);
                        anyhow::Ok(response)
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn connect(origin: SocketAddr) -> anyhow::Result<SendRequest<Incoming>> {
    let stream = TcpStream::connect(origin).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    Ok(sender)
}
