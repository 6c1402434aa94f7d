//! The cassette as a middleware of `reqwest-middleware`.

use async_trait::async_trait;
use http::Extensions;
use larder_core::Body;
use reqwest::{Request, Response, ResponseBuilderExt as _, Url};
use reqwest_middleware::{Error, Middleware, Next};

use crate::{Cassette, Played};

/// A [`Cassette`] as a middleware of `reqwest-middleware` (feature `reqwest-middleware`).
///
/// The rest of the stack behind it is its network. Add it last, so that a retry or a cache in front
/// of it sends what it would send to a server.
///
/// reqwest follows redirects below each middleware: a recorded response is then the last one of a
/// chain, and its URL in a replay is that of the request. To record each response of a chain, build
/// the client with `redirect(Policy::none())`, as `larder_reqwest::CachedClient` does. Headers
/// that the client adds, such as its `default_headers`, are not seen and not recorded.
///
/// ```
/// use larder_cassette::{Cassette, CassetteMiddleware, Mode};
/// use reqwest_middleware::ClientBuilder;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cassette = Cassette::open("tests/cassettes/users", Mode::Replay)?;
/// let client = ClientBuilder::new(reqwest::Client::new())
///     .with(CassetteMiddleware::new(cassette.clone()))
///     .build();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CassetteMiddleware {
    cassette: Cassette,
}

impl CassetteMiddleware {
    /// Creates the middleware.
    pub fn new(cassette: Cassette) -> Self {
        Self { cassette }
    }
}

#[async_trait]
impl Middleware for CassetteMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let url = request.url().clone();
        let timeout = request.timeout_mut().take();
        let request = http::Request::<reqwest::Body>::try_from(request)?.map(Body::stream);
        match self.cassette.play(request).await.map_err(Error::middleware)? {
            Played::Response(response) => to_response(response, url),
            Played::Network(request, recorder) => {
                let mut request = Request::try_from(request.map(to_reqwest))?;
                *request.timeout_mut() = timeout;
                let response = next.run(request, extensions).await?;
                let url = response.url().clone();
                let response = http::Response::<reqwest::Body>::from(response).map(Body::stream);
                to_response(recorder.record(response).map_err(Error::middleware)?, url)
            }
        }
    }
}

/// Converts a body. One in memory stays in memory, so that reqwest can send it again.
fn to_reqwest(body: Body) -> reqwest::Body {
    match body.try_into_bytes() {
        Ok(bytes) => reqwest::Body::from(bytes),
        Err(body) => reqwest::Body::wrap(body),
    }
}

/// Converts a response to reqwest's type, with its URL.
fn to_response(response: http::Response<Body>, url: Url) -> Result<Response, Error> {
    let (parts, body) = response.into_parts();
    let builder = http::Response::builder().url(url).body(to_reqwest(body)).map_err(Error::middleware)?;
    let (with_url, body) = builder.into_parts();
    let mut response = http::Response::from_parts(parts, body);
    response.extensions_mut().extend(with_url.extensions);
    Ok(Response::from(response))
}
