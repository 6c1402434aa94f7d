//! A server that sends every request to an origin through one `CachedClient` with a private cache:
//! `bridge ORIGIN`. It makes the client accessible to tests that measure a cache over HTTP;
//! `cargo xtask conformance` runs the public cache test suite against it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{CONNECTION, HOST, TE, TRANSFER_ENCODING},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use larder_core::Body;
use larder_reqwest::{CachedClient, Error, ErrorKind, RedirectPolicy, reqwest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let origin = std::env::args().nth(1).ok_or("usage: bridge ORIGIN, e.g. bridge http://127.0.0.1:8000")?;
    let origin = Arc::new(origin.trim_end_matches('/').to_owned());
    // The suite's server closes connections that are idle for 5 s. A request with a streamed body
    // cannot be repeated, so it must not be sent on a connection that is just being closed.
    let idle_timeout = Some(Duration::from_secs(2));
    let client = CachedClient::builder()
        .no_proxy()
        .redirect(RedirectPolicy::none())
        .pool_idle_timeout(idle_timeout)
        .build()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let (client, origin) = (client.clone(), Arc::clone(&origin));
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (client, origin) = (client.clone(), Arc::clone(&origin));
                async move {
                    let response =
                        fetch(&client, &origin, request).await.unwrap_or_else(|error| error_response(&error));
                    Ok::<_, Infallible>(response)
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Sends a request to the origin through the client.
async fn fetch(
    client: &CachedClient,
    origin: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers: HeaderMap = parts.headers;
    for name in [CONNECTION, HOST, TE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let mut outgoing = client.request(parts.method, format!("{origin}{path}")).headers(headers);
    if !hyper::body::Body::is_end_stream(&body) {
        outgoing = outgoing.body(reqwest::Body::wrap(body));
    }
    Ok(outgoing.send().await?.into_http())
}

/// Returns the 502 or 504 response of a failed request.
fn error_response(error: &Error) -> Response<Body> {
    let status = match error.kind() {
        ErrorKind::NotCached | ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut response = Response::new(Body::from(format!("{error}\n")));
    *response.status_mut() = status;
    response
}
