//! An axum application: the tower layer around one handler, which the runner scripts.
//!
//! `/orders` and `/salaries` are nested routers with a layer each, on the same cache. `POST
//! /-/purge` removes the URL in its content, and bypasses the cache. With `balancer`, the
//! application trusts the forwarded fields of its clients, as behind a load balancer.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::Response,
    routing::post,
};
use larder::{
    core::{
        Cache, Rules,
        adapter::{KeyRules, PurgeError, TrustedProxies},
    },
    memory::MemoryStore,
    tower::CacheLayer,
};

use crate::script;

/// Runs the application; `script` is the address of the runner.
pub(crate) fn run(script: &str, is_behind_balancer: bool) -> anyhow::Result<()> {
    let script: Arc<str> = script.into();
    let trusted: TrustedProxies = if is_behind_balancer { "127.0.0.1" } else { "" }.parse()?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(async move {
        let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::shared()).build();
        // All connections come from this machine.
        let layer = CacheLayer::new(cache)
            .key_rules(KeyRules::default().with_ignored_query(["utm_*"]))
            .trusted_proxies(trusted, |_| Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let cached = || {
            let router = Router::new().fallback(scripted).with_state(Arc::clone(&script));
            router.layer(layer.clone())
        };
        let router = Router::new()
            .route("/-/purge", post(purge).with_state(layer.clone()))
            .nest("/orders", cached())
            .nest("/salaries", cached())
            .fallback_service(cached());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        Ok(axum::serve(listener, router).await?)
    })
}

/// Removes the stored responses of the URL in the content.
async fn purge(State(layer): State<CacheLayer>, url: String) -> (StatusCode, String) {
    match layer.purge_url(url.trim()).await {
        Ok(removed) => (StatusCode::OK, format!("purged {removed:?}")),
        Err(error @ PurgeError::Target(_)) => (StatusCode::BAD_REQUEST, error.to_string()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
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
