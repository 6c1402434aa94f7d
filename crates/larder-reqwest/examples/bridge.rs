//! A server whose every request goes through a `CachedClient`, so that what tests caches from outside can test it:
//! `bridge ORIGIN`, with one private cache for all. `cargo xtask conformance` runs the public suite against it.

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
    let origin = std::env::args().nth(1).ok_or("give the origin's URL, e.g. http://127.0.0.1:8000")?;
    let origin = Arc::new(origin.trim_end_matches('/').to_owned());
    // The suite's server closes what is idle for 5 s: a request with a streamed body, which cannot be repeated, must not meet that.
    let idle = Some(Duration::from_secs(2));
    let client = CachedClient::builder()
        .no_proxy()
        .redirect(RedirectPolicy::none())
        .pool_idle_timeout(idle)
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
                    let answer =
                        fetch(&client, &origin, request).await.unwrap_or_else(|error| failed(&error));
                    Ok::<_, Infallible>(answer)
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn fetch(
    client: &CachedClient,
    origin: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut fields: HeaderMap = parts.headers;
    for name in [CONNECTION, HOST, TE, TRANSFER_ENCODING] {
        fields.remove(name);
    }
    let mut asking = client.request(parts.method, format!("{origin}{path}")).headers(fields);
    if !hyper::body::Body::is_end_stream(&body) {
        asking = asking.body(reqwest::Body::wrap(body));
    }
    Ok(asking.send().await?.into_http())
}

fn failed(error: &Error) -> Response<Body> {
    let status = match error.kind() {
        ErrorKind::NotCached | ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut response = Response::new(Body::from(format!("{error}\n")));
    *response.status_mut() = status;
    response
}
