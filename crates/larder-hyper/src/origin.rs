//! The origin.

use async_trait::async_trait;
use http::{
    HeaderValue, Request, Response, Uri,
    header::HOST,
    uri::{Parts, PathAndQuery},
};
use hyper_util::client::legacy::Client;
use larder_core::{Body, Origin, OriginError, OriginErrorKind};

use crate::{HyperOptions, OptionsError, body::Impatient, connect, error::origin_error};

/// Fetches over HTTP, with a pool of connections.
///
/// Cloning shares the pool.
#[derive(Debug, Clone)]
pub struct HyperOrigin {
    client: Client<connect::Connector, Body>,
    options: HyperOptions,
}

impl HyperOrigin {
    /// An origin that is reached like this. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the options.
    pub fn new(options: HyperOptions) -> Result<Self, OptionsError> {
        Ok(Self { client: connect::client(&options)?, options })
    }

    /// Sends the request to [`HyperOptions::to`], if there is one.
    fn address(&self, request: &mut Request<Body>) -> Result<(), OriginError> {
        let Some(to) = &self.options.to else { return Ok(()) };
        let protocol = |_| OriginError::new(OriginErrorKind::Protocol);
        let name = if self.options.origin_host { to.authority() } else { request.uri().authority() };
        if let Some(name) = name
            && (self.options.origin_host || !request.headers().contains_key(HOST))
        {
            let name = HeaderValue::from_str(name.as_str())
                .map_err(|_| OriginError::new(OriginErrorKind::Protocol))?;
            request.headers_mut().insert(HOST, name);
        }
        let prefix = to.path().trim_end_matches('/');
        let path = request.uri().path_and_query().cloned();
        let path = match path {
            Some(path) if prefix.is_empty() => path,
            path => {
                let path = path.as_ref().map_or("/", PathAndQuery::as_str);
                format!("{prefix}{path}")
                    .parse()
                    .map_err(|_: http::uri::InvalidUri| OriginError::new(OriginErrorKind::Protocol))?
            }
        };
        let mut parts = Parts::default();
        parts.scheme = to.scheme().cloned();
        parts.authority = to.authority().cloned();
        parts.path_and_query = Some(path);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| ()).map_err(protocol)?;
        Ok(())
    }
}

#[async_trait]
impl Origin for HyperOrigin {
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        self.address(&mut request)?;
        *request.version_mut() =
            if self.options.http2_only { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
        let limit = self.options.head_timeout;
        let response = match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(origin_error(error)),
            Err(_) => return Err(OriginError::new(OriginErrorKind::Timeout(limit))),
        };
        if response.status().is_informational() {
            // 101: a protocol that nobody here asked for.
            return Err(OriginError::new(OriginErrorKind::Protocol));
        }
        let limit = self.options.body_timeout;
        Ok(response.map(|body| Body::stream(Impatient::new(body, limit))))
    }

    fn outlives_request(&self) -> bool {
        true
    }
}
