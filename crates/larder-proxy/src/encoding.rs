//! Content coding of the responses, if the feature `compress` is on and compression is configured.
//!
//! Without either, every function here passes its arguments on. The codings themselves are in
//! `larder-compress`.

use std::sync::Arc;

use http::{HeaderMap, Method};
#[cfg(feature = "compress")]
use larder_compress::{Coding, CompressingOrigin, Compression, Negotiated};
use larder_core::{Cache, CacheKey, Lookup, Origin, RequestHead, policy::ClientDirectives};

/// The configured compression.
#[derive(Debug, Clone, Default)]
pub(crate) struct Encoding {
    #[cfg(feature = "compress")]
    /// `None`: responses are stored and served as the origin sends them.
    pub(crate) settings: Option<Arc<Compression>>,
}

/// The coding chosen for one request.
#[derive(Debug)]
pub(crate) struct NegotiatedEncoding {
    #[cfg(feature = "compress")]
    /// `None` if no compression is configured.
    coding: Option<(Coding, Arc<Compression>)>,
}

impl Encoding {
    /// Looks up the response in the coding chosen for the request. Returns the result and the
    /// coding.
    pub(crate) async fn lookup(
        &self,
        cache: &Cache,
        key: &CacheKey,
        method: &Method,
        headers: &HeaderMap,
        clients: ClientDirectives,
    ) -> (Lookup, NegotiatedEncoding) {
        #[cfg(feature = "compress")]
        if let Some(settings) = &self.settings {
            let coding = settings.negotiate(headers);
            let negotiated = Negotiated::new(headers, coding);
            let head = RequestHead::new(method, &negotiated).with_client_directives(clients);
            let lookup = cache.lookup(key, &head).await;
            return (lookup, NegotiatedEncoding { coding: Some((coding, Arc::clone(settings))) });
        }
        let head = RequestHead::new(method, headers).with_client_directives(clients);
        (cache.lookup(key, &head).await, NegotiatedEncoding::none())
    }
}

impl NegotiatedEncoding {
    /// Returns the absence of a coding, for a request of which the response stays as it is.
    pub(crate) fn none() -> Self {
        Self {
            #[cfg(feature = "compress")]
            coding: None,
        }
    }

    /// Sets `Accept-Encoding` of a request to the chosen coding. Without compression it stays as it
    /// is.
    pub(crate) fn set_accepted(&self, request: &mut HeaderMap) {
        #[cfg(feature = "compress")]
        if let Some((coding, _)) = &self.coding {
            coding.set_accept_encoding(request);
        }
        let _ = request;
    }

    /// Sets `Accept-Encoding` of a forwarded request to the chosen coding, and wraps `origin` so
    /// that it encodes its response. Without compression both stay as they are.
    pub(crate) fn origin(
        self,
        origin: Arc<dyn Origin>,
        cache: &Cache,
        key: CacheKey,
        request: &mut HeaderMap,
    ) -> Arc<dyn Origin> {
        #[cfg(feature = "compress")]
        if let Some((coding, settings)) = self.coding {
            coding.set_accept_encoding(request);
            return Arc::new(CompressingOrigin::new(origin, cache.clone(), key, coding, settings));
        }
        let _ = (cache, key, request);
        origin
    }
}
