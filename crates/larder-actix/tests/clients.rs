//! What clients can do to a cache in front of an application: reloads, and values of headers that
//! select a response.

mod server;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use larder_actix::CacheMiddleware;
use larder_core::{Cache, Rules, adapter::FieldNormalization, policy::ClientDirectives};
use larder_memory::MemoryStore;
use larder_testkit::ManualClock;
use server::{content, send};

/// An application of which every page has the number of the handler's calls and two headers of the
/// request.
struct App {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    clock: ManualClock,
}

/// Starts the application behind this middleware.
fn serve(rules: Rules, middleware: impl FnOnce(Cache) -> CacheMiddleware) -> App {
    let (calls, clock) = (Arc::new(AtomicUsize::new(0)), ManualClock::at(1_700_000_000));
    let cache =
        Cache::builder(Arc::new(MemoryStore::default())).clock(Arc::new(clock.clone())).rules(rules).build();
    let of_handler = Arc::clone(&calls);
    let routes = move |app: &mut web::ServiceConfig| {
        let calls = Arc::clone(&of_handler);
        app.default_service(web::to(move |request: HttpRequest| {
            calls.fetch_add(1, Ordering::SeqCst);
            let text = |name: &str| {
                let value = request.headers().get(name).and_then(|value| value.to_str().ok());
                value.unwrap_or("none").to_owned()
            };
            let page = format!("{} {}", text("accept-language"), text("x-device"));
            async move {
                HttpResponse::Ok()
                    .insert_header((header::CACHE_CONTROL, "max-age=600"))
                    .insert_header((header::VARY, "accept-language, x-device"))
                    .body(page)
            }
        }));
    };
    App { address: server::serve(middleware(cache), routes), calls, clock }
}

impl App {
    /// Sends a GET request with these header lines, and returns the content of the response.
    fn get(&self, lines: &str) -> String {
        content(&send(self.address, "GET", "/", &format!("{lines}\r\n"))).to_owned()
    }

    /// Returns the number of calls of the handler.
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Fifty visitors pressed reload, and the handler of a stored page ran fifty times.
#[test]
fn reloads_do_not_reach_the_handler_one_by_one() {
    let app = serve(Rules::shared(), CacheMiddleware::new);
    app.get("");
    app.clock.advance(Duration::from_secs(10));
    thread::scope(|scope| {
        for line in ["Cache-Control: no-cache\r\n", "Cache-Control: max-age=0\r\n", "Pragma: no-cache\r\n"] {
            for _ in 0..10 {
                scope.spawn(|| assert_eq!(app.get(line), "none none"));
            }
        }
    });
    assert_eq!(app.calls(), 2, "one for the page, one for all reloads");
    app.clock.advance(Duration::from_secs(1));
    app.get("Cache-Control: no-cache\r\n");
    assert_eq!(app.calls(), 3, "a second later");
}

#[test]
fn a_private_cache_and_the_option_decide_about_reloads() {
    for (rules, directives, expected) in [
        (Rules::private(), None, 4),
        (Rules::shared(), Some(ClientDirectives::Honor), 4),
        (Rules::shared(), Some(ClientDirectives::Ignore), 1),
        (Rules::private(), Some(ClientDirectives::Collapse), 2),
    ] {
        let app = serve(rules, |cache| match directives {
            Some(directives) => CacheMiddleware::new(cache).client_directives(directives),
            None => CacheMiddleware::new(cache),
        });
        app.get("");
        for _ in 0..3 {
            app.get("Cache-Control: no-cache\r\n");
        }
        assert_eq!(app.calls(), expected, "{directives:?}");
    }
}

/// Each visitor's browser had its own list of languages, and each got a page of its own.
#[test]
fn spellings_of_a_language_are_one_page() {
    let app = serve(Rules::shared(), |cache| {
        let normalization = FieldNormalization::default().with_languages(["en", "de"]);
        let normalization = normalization.and_then(|it| it.with_values("X-Device", ["desktop", "mobile"]));
        CacheMiddleware::new(cache).normalize(normalization.expect("valid fields"))
    });
    for n in 0..50 {
        let line = format!("Accept-Language: fr-{n:02},de-CH;q=0.8,en;q=0.{n}\r\nX-Device: {n}\r\n");
        assert_eq!(app.get(&line), if n == 9 { "en desktop" } else { "de desktop" }, "{line}");
    }
    assert_eq!(app.get("Accept-Language: en-US\r\nX-Device: MOBILE\r\n"), "en mobile");
    assert_eq!(app.get("X-Device: mobile\r\nX-Device: mobile\r\n"), "en desktop", "two lines are no value");
    assert_eq!(app.get(""), "en desktop", "no preference");
    assert_eq!(app.calls(), 3, "three combinations were requested");
}
