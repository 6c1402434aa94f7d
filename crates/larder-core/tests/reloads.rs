//! Tests how the reloads of clients are collapsed: a stored response is requested from the origin
//! at most once a second, whatever clients send, and whatever the origin responds.

mod setting;

use http::Method;
use larder_core::{OriginErrorKind, policy::ClientDirectives};
use setting::{Setting, read, request, response_of, setting, settle};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("etag", "\"1\"")];
const RELOAD: &[(&str, &str)] = &[("cache-control", "no-cache")];

/// Creates a setting in which the page was stored ten seconds ago.
async fn stored_page() -> Setting {
    let mut it = setting();
    it.fetch_and_store("/", FRESH, b"page").await;
    it.advance(10);
    it
}

/// Sends a reload from this many clients.
fn reloads(it: &Setting, count: usize) -> Vec<setting::FetchTask> {
    (0..count).map(|_| it.get_from_client("/", RELOAD, ClientDirectives::Collapse)).collect()
}

/// Fifty visitors pressed reload at the same time, and the origin of a fresh page got fifty
/// requests.
#[tokio::test]
async fn reloads_at_the_same_time_are_one_request() {
    for field in [("cache-control", "no-cache"), ("cache-control", "max-age=0"), ("pragma", "no-cache")] {
        let mut it = stored_page().await;
        let clients: Vec<_> =
            (0..50).map(|_| it.get_from_client("/", &[field], ClientDirectives::Collapse)).collect();
        let received = it.requests.next().await;
        settle().await;
        assert!(it.requests.is_empty(), "{field:?}: the origin got a second request");
        assert_eq!(received.request.headers()["if-none-match"], "\"1\"");
        received.respond(200, FRESH, b"new page");
        for client in clients {
            assert_eq!(read(client).await.1, b"new page", "{field:?}");
        }
        assert_eq!(it.get_stored("/").await.1, b"new page");
    }
}

#[tokio::test]
async fn a_reload_within_a_second_gets_the_result_of_the_last_one() {
    let mut it = stored_page().await;
    let first = reloads(&it, 1);
    it.requests.next().await.respond(304, &[("etag", "\"1\"")], b"");
    for client in first {
        read(client).await;
    }
    it.clock.advance(std::time::Duration::from_millis(999));
    for client in reloads(&it, 20) {
        assert_eq!(read(client).await.1, b"page");
    }
    assert!(it.requests.is_empty(), "within a second");
    it.clock.advance(std::time::Duration::from_millis(1));
    let second = reloads(&it, 20);
    it.requests.next().await.respond(304, &[("etag", "\"1\"")], b"");
    for client in second {
        assert_eq!(read(client).await.1, b"page");
    }
    assert!(it.requests.is_empty(), "after a second, one more");
}

/// An editor changed a page that a visitor had just opened, and reload showed the old page.
#[tokio::test]
async fn a_reload_after_an_ordinary_request_reaches_the_origin() {
    let mut it = setting();
    it.fetch_and_store("/", FRESH, b"old page").await;
    let editor = reloads(&it, 1);
    it.requests.next().await.respond(200, FRESH, b"new page");
    for client in editor {
        assert_eq!(read(client).await.1, b"new page");
    }
    assert_eq!(it.get_stored("/").await.1, b"new page");
}

/// An origin was overloaded and answered 503; each reload of a page that was stored came on top.
#[tokio::test]
async fn a_response_that_cannot_be_stored_is_fetched_once_a_second() {
    for status in [503, 200] {
        let mut it = stored_page().await;
        let clients = reloads(&it, 50);
        let received = it.requests.next().await;
        settle().await;
        received.respond(status, &[("cache-control", "no-store")], b"not for all");
        let mut got = Vec::new();
        for client in clients {
            got.push(read(client).await.1);
        }
        let own = got.iter().filter(|body| *body == b"not for all").count();
        let stored = got.iter().filter(|body| *body == b"page").count();
        assert_eq!((own, stored), (1, 49), "the others get what is stored, after a {status}");
        for client in reloads(&it, 20) {
            assert_eq!(read(client).await.1, b"page");
        }
        assert!(it.requests.is_empty(), "within a second");
        it.advance(1);
        let clients = reloads(&it, 20);
        let received = it.requests.next().await;
        settle().await;
        assert!(it.requests.is_empty(), "after a second, one more");
        received.respond(status, &[("cache-control", "no-store")], b"not for all");
        for client in clients {
            read(client).await;
        }
        assert!(it.requests.is_empty());
    }
}

/// A shop's server was down, and visitors who pressed reload got an error in place of the page.
#[tokio::test]
async fn reloads_get_what_is_stored_while_the_origin_is_down() {
    let mut it = stored_page().await;
    let clients = reloads(&it, 50);
    it.requests.next().await.fail(OriginErrorKind::Connect);
    for client in clients {
        assert_eq!(read(client).await.1, b"page");
    }
    assert!(it.requests.is_empty(), "one attempt");
}

/// The client of the reload that was sent closed its connection. The others must not wait for it,
/// and must not all go to the origin.
#[tokio::test]
async fn a_cancelled_reload_costs_the_origin_nothing_more() {
    let mut it = stored_page().await;
    let mut clients = reloads(&it, 50).into_iter();
    let leader = clients.next().expect("a client");
    let received = it.requests.next().await;
    settle().await;
    leader.abort();
    for client in clients {
        assert_eq!(read(client).await.1, b"page");
    }
    assert!(!received.is_awaited() && it.requests.is_empty());
}

/// The origin took longer than a second, and a new request came every second.
#[tokio::test]
async fn a_slow_origin_gets_no_second_reload() {
    let mut it = stored_page().await;
    let mut clients = reloads(&it, 10);
    let received = it.requests.next().await;
    for _ in 0..5 {
        it.advance(1);
        clients.extend(reloads(&it, 10));
        settle().await;
    }
    assert!(it.requests.is_empty(), "the origin is still at the first one");
    received.respond(200, FRESH, b"new page");
    for client in clients {
        assert_eq!(read(client).await.1, b"new page");
    }
}

/// HEAD and range requests lead no fetch that others share.
#[tokio::test]
async fn reloads_with_head_and_ranges_are_collapsed_as_well() {
    for (method, range) in [(Method::HEAD, None), (Method::GET, Some(("range", "bytes=0-0")))] {
        let mut it = stored_page().await;
        let fields: Vec<_> = RELOAD.iter().copied().chain(range).collect();
        let send = |it: &Setting| {
            it.send_from_client(request(method.as_str(), "/", &fields), ClientDirectives::Collapse)
        };
        let clients: Vec<_> = (0..20).map(|_| send(&it)).collect();
        let received = it.requests.next().await;
        settle().await;
        assert!(it.requests.is_empty(), "{method}: the origin got a second request");
        received.respond(304, &[("etag", "\"1\"")], b"");
        for client in clients {
            let status = response_of(client).await.status().as_u16();
            assert!(matches!(status, 200 | 206), "{method}: {status}");
        }
    }
}

/// The reload of the English page must not keep a reader from reloading the German one.
#[tokio::test]
async fn each_variant_is_reloaded() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=600"), ("vary", "accept-language")];
    for language in ["de", "en"] {
        let fetch = it.get("/", &[("accept-language", language)]);
        it.requests.next().await.respond(200, &fields, b"old");
        read(fetch).await;
    }
    it.advance(10);
    for language in ["de", "en"] {
        let reload = [("accept-language", language), ("cache-control", "no-cache")];
        let clients: Vec<_> =
            (0..10).map(|_| it.get_from_client("/", &reload, ClientDirectives::Collapse)).collect();
        let received = it.requests.next().await;
        assert_eq!(received.request.headers()["accept-language"], language);
        received.respond(200, &fields, b"new");
        for client in clients {
            assert_eq!(read(client).await.1, b"new");
        }
        assert!(it.requests.is_empty(), "one for each");
    }
}

/// Nothing is stored: a reload is an ordinary request, and those at the same time share its
/// response.
#[tokio::test]
async fn reloads_of_a_cold_page_are_one_request() {
    let mut it = setting();
    let clients = reloads(&it, 50);
    let received = it.requests.next().await;
    settle().await;
    received.respond(200, FRESH, b"page");
    for client in clients {
        assert_eq!(read(client).await.1, b"page");
    }
    assert!(it.requests.is_empty());
}

/// A response that has to be validated for each request stays one: RFC 9111 §5.2.2.4.
#[tokio::test]
async fn a_no_cache_response_is_still_validated() {
    let mut it = setting();
    let fields = [("cache-control", "no-cache"), ("etag", "\"1\"")];
    it.fetch_and_store("/", &fields, b"page").await;
    for _ in 0..2 {
        let client = reloads(&it, 1);
        it.requests.next().await.respond(304, &[("etag", "\"1\"")], b"");
        for client in client {
            assert_eq!(read(client).await.1, b"page");
        }
    }
}

#[tokio::test]
async fn ignored_directives_reach_no_origin_and_honored_ones_always() {
    let mut it = stored_page().await;
    for _ in 0..3 {
        assert_eq!(read(it.get_from_client("/", RELOAD, ClientDirectives::Ignore)).await.1, b"page");
    }
    assert!(it.requests.is_empty());
    for _ in 0..3 {
        let client = it.get_from_client("/", RELOAD, ClientDirectives::Honor);
        it.requests.next().await.respond(304, &[("etag", "\"1\"")], b"");
        assert_eq!(read(client).await.1, b"page");
    }
    // `no-store` of a request that is ignored: its response is stored.
    let no_store = [("cache-control", "no-store")];
    let client = it.get_from_client("/other", &no_store, ClientDirectives::Ignore);
    it.requests.next().await.respond(200, FRESH, b"other");
    assert_eq!(read(client).await.1, b"other");
    assert_eq!(it.get_stored("/other").await.1, b"other");
}

/// One client sent `no-store` with each request. Its responses cannot be shared, and the page was
/// not collapsed for anyone for a minute.
#[tokio::test]
async fn no_store_of_one_client_ends_no_collapsing() {
    let mut it = setting();
    let client = it.get("/", &[("cache-control", "no-store")]);
    it.requests.next().await.respond(200, FRESH, b"page");
    read(client).await;
    let others: Vec<_> = (0..20).map(|_| it.get("/", &[])).collect();
    let received = it.requests.next().await;
    settle().await;
    assert!(it.requests.is_empty(), "they are collapsed");
    received.respond(200, FRESH, b"page");
    for other in others {
        assert_eq!(read(other).await.1, b"page");
    }
}
