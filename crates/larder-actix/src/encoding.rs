//! The coding that a request gets, where responses are kept encoded; nothing at all, where they are not.

use std::sync::Arc;

use http::{HeaderMap, Method};
#[cfg(feature = "compress")]
use larder_compress::{Coding, CompressingOrigin, Compression, Negotiated};
use larder_core::{Cache, CacheKey, Lookup, Origin, RequestHead};

use crate::convert::ActixFields;

/// Whether and how responses are encoded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Encoding {
    #[cfg(feature = "compress")]
    pub(crate) settings: Option<Arc<Compression>>,
}

/// What one request gets.
#[derive(Debug)]
pub(crate) struct NegotiatedEncoding {
    #[cfg(feature = "compress")]
    coding: Option<(Coding, Arc<Compression>)>,
}

impl Encoding {
    pub(crate) async fn lookup(
        &self,
        cache: &Cache,
        key: &CacheKey,
        method: &Method,
        fields: &ActixFields<'_>,
    ) -> (Lookup, NegotiatedEncoding) {
        #[cfg(feature = "compress")]
        if let Some(settings) = &self.settings {
            let coding = settings.negotiate(fields);
            let negotiated = Negotiated::new(fields, coding);
            let lookup = cache.lookup(key, &RequestHead::new(method, &negotiated)).await;
            return (lookup, NegotiatedEncoding { coding: Some((coding, Arc::clone(settings))) });
        }
        let chosen = NegotiatedEncoding {
            #[cfg(feature = "compress")]
            coding: None,
        };
        (cache.lookup(key, &RequestHead::new(method, fields)).await, chosen)
    }
}

impl NegotiatedEncoding {
    /// Whether responses are passed on as they come.
    pub(crate) fn is_none(&self) -> bool {
        #[cfg(feature = "compress")]
        return self.coding.is_none();
        #[cfg(not(feature = "compress"))]
        true
    }

    /// Makes a request that is forwarded ask for it, and `origin` answer in it.
    pub(crate) fn origin(
        self,
        origin: Arc<dyn Origin>,
        cache: &Cache,
        key: CacheKey,
        request: &mut HeaderMap,
    ) -> Arc<dyn Origin> {
        #[cfg(feature = "compress")]
        if let Some((coding, settings)) = self.coding {
            coding.ask(request);
            return Arc::new(CompressingOrigin::new(origin, cache.clone(), key, coding, settings));
        }
        let _ = (cache, key, request);
        origin
    }
}
