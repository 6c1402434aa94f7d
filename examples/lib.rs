//! A local HTTP server for the examples. Its pages take 100 ms to render, are fresh for a given
//! time, and have an entity tag.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};

/// A server on a free port of 127.0.0.1, with a page at every path of one segment.
#[derive(Debug)]
pub struct LocalServer {
    /// URL of the server: `http://127.0.0.1:PORT`.
    pub url: String,
    rendered: Arc<AtomicUsize>,
}

impl LocalServer {
    /// Starts a server with pages that are fresh for `lifetime`.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if no port is free.
    pub async fn start(lifetime: Duration) -> std::io::Result<Self> {
        let rendered = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&rendered);
        let page = move |Path(name): Path<String>, request: HeaderMap| async move {
            let fields = [
                (header::CACHE_CONTROL, format!("max-age={}", lifetime.as_secs())),
                (header::ETAG, format!("\"{name}-1\"")),
            ];
            let unchanged = request.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == fields[1].1.as_str());
            if unchanged {
                return (StatusCode::NOT_MODIFIED, fields).into_response();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            counter.fetch_add(1, Ordering::SeqCst);
            (fields, format!("this is {name}\n")).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/{name}", get(page));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, rendered })
    }

    /// Returns the number of pages rendered so far. A 304 response renders none.
    pub fn rendered(&self) -> usize {
        self.rendered.load(Ordering::SeqCst)
    }
}

/// The programs of the guide for users of aiohttp, which compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-aiohttp.md")]
pub struct FromAiohttp;
