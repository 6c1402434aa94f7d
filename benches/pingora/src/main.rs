//! pingora with its memory cache in front of an origin, on one thread: `larder-pingora ADDR
//! ORIGIN`, both host:port.

use std::sync::LazyLock;

use async_trait::async_trait;
use pingora::{
    cache::{
        CacheKey, CacheMetaDefaults, MemCache, RespCacheable, cache_control::CacheControl, filters::resp_cacheable,
    },
    http::ResponseHeader,
    prelude::*,
};

static MEMORY: LazyLock<MemCache> = LazyLock::new(MemCache::new);
/// Caches only responses with an explicit lifetime.
const DEFAULTS: CacheMetaDefaults = CacheMetaDefaults::new(|_| None, 0, 0);

struct Cached {
    origin: String,
}

#[async_trait]
impl ProxyHttp for Cached {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.origin, false, String::new())))
    }

    fn request_cache_filter(&self, session: &mut Session, (): &mut ()) -> Result<()> {
        session.cache.enable(&*MEMORY, None, None, None, None);
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, (): &mut ()) -> Result<CacheKey> {
        let head = session.req_header();
        Ok(CacheKey::new(head.uri.to_string(), ""))
    }

    fn response_cache_filter(&self, _: &Session, head: &ResponseHeader, (): &mut ()) -> Result<RespCacheable> {
        let says = CacheControl::from_resp_headers(head);
        Ok(resp_cacheable(says.as_ref(), head.clone(), false, &DEFAULTS))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, origin] = arguments.as_slice() else { panic!("larder-pingora ADDR ORIGIN") };
    let mut server = Server::new(None).expect("a server");
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Cached { origin: origin.clone() });
    service.threads = Some(1);
    service.add_tcp(address);
    server.add_service(service);
    server.run_forever();
}
