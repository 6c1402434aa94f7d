//! Tests that an `Arc` or a `Box` of a store or of an origin is one itself: each method reaches the
//! inner value.

use std::sync::Arc;

use larder_core::{Body, CacheStore, Origin};
use larder_memory::MemoryStore;
use larder_testkit::{ManualOrigin, store_suite};

store_suite!(in_an_arc, async { Arc::new(MemoryStore::default()) });
store_suite!(in_a_box, async { Box::new(MemoryStore::default()) });
store_suite!(shared_without_its_type, async {
    let store: Arc<dyn CacheStore> = Arc::new(MemoryStore::default());
    store
});
store_suite!(boxed_without_its_type, async {
    let store: Box<dyn CacheStore> = Box::new(MemoryStore::default());
    store
});

/// An origin that is shared by two boxes receives the requests of both.
#[tokio::test]
async fn a_pointer_to_an_origin_is_an_origin() {
    async fn fetch(origin: impl Origin) -> Vec<u8> {
        let request = http::Request::get("http://example.com/").body(Body::empty()).expect("a request");
        let mut response = origin.fetch(request).await.expect("a response");
        response.body_mut().chunk().await.expect("a chunk").expect("it reads").to_vec()
    }
    let (origin, mut requests) = ManualOrigin::new();
    let shared: Arc<dyn Origin> = origin;
    let boxed: Box<dyn Origin> = Box::new(Arc::clone(&shared));
    assert!(Origin::supports_background_revalidation(&shared), "it is that of the inner origin");
    assert!(Origin::supports_background_revalidation(&boxed), "it is that of the inner origin");
    for origin in [boxed, Box::new(shared)] {
        let response = tokio::spawn(fetch(origin));
        requests.next().await.respond(200, &[], b"one");
        assert_eq!(response.await.expect("it does not panic"), b"one");
    }
    let (origin, _requests) = ManualOrigin::single_request();
    assert!(!Origin::supports_background_revalidation(&origin));
}
