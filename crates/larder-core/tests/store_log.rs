//! Tests what is logged about a store that fails.

mod setting;

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use larder_core::{Body, Cache, Limits, Origin, Scope};
use larder_memory::MemoryStore;
use larder_testkit::{Fault, FaultyStore, FnOrigin, ManualClock};
use setting::{content, request};
use tracing::{Event, Level, Metadata, Subscriber, field::Field, span};

/// Collects the warnings of the current thread, one line each.
#[derive(Debug, Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Returns the warnings since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The fields of an event as text.
struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).expect("a string");
    }
}

/// A cache of which the directory was full stored nothing more, for weeks. Nothing was logged.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_refuses_is_logged_with_the_reason() {
    let warnings = Warnings::default();
    let _logging = tracing::subscriber::set_default(warnings.clone());
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    let cache = Cache::builder(Arc::new(store.clone()))
        .clock(Arc::new(ManualClock::at(1_700_000_000)))
        .limits(Limits::default().with_store_timeout(Duration::from_secs(3)))
        .build();
    let origin: Arc<dyn Origin> = FnOrigin::new(|_, _| {
        let response = http::Response::builder().header("cache-control", "max-age=60");
        Ok(response.body(Body::from("x")).expect("a response"))
    });
    let fetch = async |path: &str| {
        let response = cache.fetch(request("GET", path, &[]), Arc::clone(&origin)).await;
        assert_eq!(content(response.expect("a response")).await.as_deref(), Ok(&b"x"[..]));
    };
    store.set(Fault::FullAfter(0));
    for n in 0..5 {
        fetch(&format!("/{n}")).await;
    }
    let logged = warnings.take();
    let [line] = &*logged else { panic!("one line for all: {logged:?}") };
    assert!(
        line.contains("step=write") && line.contains("reason=\"full\"") && line.contains("failures=1"),
        "{line}"
    );

    // The removal of an entry is another matter than the writes.
    store.set(Fault::Down);
    cache.purge(Scope::All).await.expect_err("the store is down");
    assert!(warnings.take().iter().any(|line| line.contains("step=remove") && line.contains("unavailable")));

    tokio::time::advance(Duration::from_secs(11)).await;
    store.set(Fault::FailsAtCommit);
    fetch("/later").await;
    let logged = warnings.take();
    assert!(
        logged.iter().any(|line| line.contains("step=write") && line.contains("failures=5")),
        "{logged:?}"
    );

    // A purge during a fetch is normal, and the response is rightly refused.
    tokio::time::advance(Duration::from_secs(11)).await;
    store.set(Fault::None);
    let purging: Arc<dyn Origin> = {
        let cache = cache.clone();
        larder_testkit::FnOrigin::new(move |_, _| {
            let cache = cache.clone();
            futures_util::future::FutureExt::now_or_never(async move { cache.purge(Scope::All).await })
                .expect("a store in memory does not wait")
                .expect("the purge succeeds");
            let response = http::Response::builder().header("cache-control", "max-age=60");
            Ok(response.body(Body::from("x")).expect("a response"))
        })
    };
    let response = cache.fetch(request("GET", "/purged", &[]), purging).await.expect("a response");
    assert_eq!(content(response).await.as_deref(), Ok(&b"x"[..]));
    assert_eq!(warnings.take(), Vec::<String>::new());
}
