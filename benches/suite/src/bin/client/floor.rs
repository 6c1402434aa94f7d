//! The lower bound of a reqwest-middleware cache for a hit: a look-up, and a clone of head and
//! body.

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, HeaderMap};
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next, Result};

type Kept = Arc<(HeaderMap, Bytes)>;

pub(crate) struct Floor(pub(crate) moka::sync::Cache<String, Kept>);

#[async_trait::async_trait]
impl Middleware for Floor {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let key = request.url().as_str();
        if let Some(kept) = self.0.get(key) {
            let mut response = http::Response::new(reqwest::Body::from(kept.1.clone()));
            *response.headers_mut() = kept.0.clone();
            return Ok(Response::from(response));
        }
        let key = key.to_owned();
        let response = next.run(request, extensions).await?;
        let fields = response.headers().clone();
        let body = response.bytes().await?;
        self.0.insert(key, Arc::new((fields.clone(), body.clone())));
        let mut answer = http::Response::new(reqwest::Body::from(body));
        *answer.headers_mut() = fields;
        Ok(Response::from(answer))
    }
}
