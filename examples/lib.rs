//! A local server for the examples: pages that take a moment to make, are fresh for a while, and have an entity tag.

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

/// A server on a free port of this machine, with a page under each name.
#[derive(Debug)]
pub struct LocalServer {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    made: Arc<AtomicUsize>,
}

impl LocalServer {
    /// Starts one. Its pages are fresh for `lifetime`, and each takes 100 ms to make.
    ///
    /// # Errors
    ///
    /// If there is no port.
    pub async fn start(lifetime: Duration) -> std::io::Result<Self> {
        let made = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&made);
        let page = move |Path(name): Path<String>, request: HeaderMap| async move {
            let fields = [
                (header::CACHE_CONTROL, format!("max-age={}", lifetime.as_secs())),
                (header::ETAG, format!("\"{name}-1\"")),
            ];
            let known = request.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == fields[1].1.as_str());
            if known {
                return (StatusCode::NOT_MODIFIED, fields).into_response();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            counting.fetch_add(1, Ordering::SeqCst);
            (fields, format!("this is {name}\n")).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/{name}", get(page));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, made })
    }

    /// How many pages it has made.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}
