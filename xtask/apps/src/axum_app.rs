//! An axum application: the tower layer around one handler, which the runner scripts.
//!
//! `/orders` and `/salaries` are nested routers with a layer each, on the same cache.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use larder::{
    core::{Cache, Rules},
    memory::MemoryStore,
    tower::CacheLayer,
};

use crate::script;

/// Runs the application; `script` is the address of the runner.
pub(crate) fn run(script: &str) -> anyhow::Result<()> {
    let script: Arc<str> = script.into();
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(async move {
        let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::shared()).build();
        let cached = || {
            let router = Router::new().fallback(scripted).with_state(Arc::clone(&script));
            router.layer(CacheLayer::new(cache.clone()))
        };
        let router =
            Router::new().nest("/orders", cached()).nest("/salaries", cached()).fallback_service(cached());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        Ok(axum::serve(listener, router).await?)
    })
}

/// Returns the response of the script.
async fn scripted(State(script): State<Arc<str>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // Without nesting, this is the original target.
    let original = parts.extensions.get::<axum::extract::OriginalUri>().map_or(&parts.uri, |uri| &uri.0);
    let target = original.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = parts.uri.authority().map_or(host, |authority| authority.as_str());
    let url = format!("http://{host}{target}");
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let seen = script::Request { method: parts.method.as_str(), target, url, headers, body: &body };
    let (status, headers, body) = match script::respond(&script, &seen).await {
        Ok(response) => (response.status, response.headers, response.body),
        Err(error) => (502, Vec::new(), error.to_string().into_bytes()),
    };
    let mut built = Response::builder().status(status);
    for (name, value) in headers {
        built = built.header(name, value);
    }
    built.body(Body::from(body)).unwrap_or_else(|error| Response::new(Body::from(error.to_string())))
}
