//! The client as a tower service, for limits, tracing and other layers around it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use reqwest::Request;
use tower_service::Service;

use crate::{CachedClient, Error, Response};

/// The future of a request that is sent as a service.
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// Sends requests as [`execute`](CachedClient::execute) does, with the options of the client.
///
/// ```
/// use larder_reqwest::{CachedClient, reqwest};
/// use tower::{Service as _, ServiceBuilder, ServiceExt as _};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let mut client = ServiceBuilder::new().concurrency_limit(8).service(CachedClient::new()?);
/// let request = reqwest::Request::new(reqwest::Method::GET, "https://example.com/".parse()?);
/// let response = client.ready().await?.call(request).await?;
/// # Ok(())
/// # }
/// ```
impl Service<Request> for CachedClient {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        let client = self.clone();
        Box::pin(async move { client.execute(request).await })
    }
}

/// Sends requests as the client itself does.
impl Service<Request> for &'_ CachedClient {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        self.clone().call(request)
    }
}
