//! Checks that each event is counted once, in the Prometheus recorder and in the totals.

use std::{sync::Arc, time::Duration};

use http::Request;
use larder_core::{Body, Cache, Limits, Origin, OriginErrorKind};
use larder_memory::MemoryStore;
use larder_metrics::{CacheOutcome, Counters};
use larder_testkit::{Fault, FaultyStore, FnOrigin, ManualClock, ManualOrigin};
use metrics_exporter_prometheus::PrometheusBuilder;

#[tokio::test]
async fn each_event_is_counted_once() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let counters = Arc::new(metrics::with_local_recorder(&recorder, Counters::new));
    let (store, clock) = (FaultyStore::new(Arc::new(MemoryStore::default())), ManualClock::at(1_700_000_000));
    let cache = Cache::builder(Arc::new(store.clone()))
        .clock(Arc::new(clock.clone()))
        .observer(Arc::clone(&counters) as _)
        .build();
    let (origin, mut requests) = ManualOrigin::new();
    let fetch = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(format!("http://example.com{path}"));
        let request = request.body(Body::empty()).expect("a request");
        let (cache, origin) = (cache.clone(), Arc::clone(&origin) as Arc<dyn Origin>);
        tokio::spawn(
            async move { cache.fetch(request, origin).await.map(|response| cache.into_http(response)) },
        )
    };
    let headers = [("cache-control", "max-age=60, stale-while-revalidate=60"), ("etag", "\"a\"")];
    let miss = fetch("GET", "/");
    requests.next().await.respond(200, &headers, b"x");
    miss.await.expect("no panic").expect("a response");
    fetch("GET", "/").await.expect("no panic").expect("a hit");
    clock.advance(Duration::from_secs(70));
    fetch("GET", "/").await.expect("no panic").expect("a stale response");
    requests.next().await.respond(304, &[("etag", "\"a\"")], b"");
    assert!(cache.drain(Duration::from_secs(5)).await);
    clock.advance(Duration::from_secs(200));
    let revalidated = fetch("GET", "/");
    requests.next().await.respond(304, &[("etag", "\"a\"")], b"");
    revalidated.await.expect("no panic").expect("a revalidated response");
    let posted = fetch("POST", "/");
    requests.next().await.respond(200, &[("cache-control", "no-store")], b"");
    posted.await.expect("no panic").expect("a response");
    let failed = fetch("GET", "/gone");
    requests.next().await.fail(OriginErrorKind::Connect);
    drop(failed.await.expect("no panic").map_err(|error| cache.error_response(&error)));
    store.set(Fault::Down);
    let without_store = fetch("GET", "/");
    requests.next().await.respond(200, &[], b"x");
    without_store.await.expect("no panic").expect("a response");

    let counts = counters.counts();
    for (outcome, count) in [
        (CacheOutcome::Hit, 1),
        (CacheOutcome::Stale, 1),
        (CacheOutcome::Revalidated, 1),
        (CacheOutcome::Collapsed, 0),
        (CacheOutcome::Miss, 2),
        (CacheOutcome::Pass, 1),
        (CacheOutcome::Failed, 1),
    ] {
        assert_eq!(counts.of(outcome), count, "{outcome:?} of {counts:?}");
        let line = format!("larder_requests_total{{outcome=\"{}\"}} {count}", outcome.name());
        assert!(handle.render().contains(&line), "{line} in\n{}", handle.render());
    }
    assert_eq!((counts.total_requests(), counts.stored, counts.broken), (7, 1, 0));
    assert!(counts.not_stored >= 1 && counts.store_failures >= 2, "{counts:?}");
    let line = "larder_store_failures_total{step=\"lookup\",reason=\"unavailable\"} 1";
    assert!(handle.render().contains(line), "{}", handle.render());
}

/// A page that varies without end had few hits, and no figure showed why.
#[tokio::test]
async fn evicted_variants_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let counters = Arc::new(metrics::with_local_recorder(&recorder, Counters::new));
    let cache = Cache::builder(Arc::new(MemoryStore::default()))
        .limits(Limits::default().with_max_variants(2))
        .observer(Arc::clone(&counters) as _)
        .build();
    let origin = FnOrigin::fixed(&[("cache-control", "max-age=60"), ("vary", "user-agent")], b"x");
    for browser in ["a", "b", "c", "d", "e"] {
        let request = Request::get("http://example.com/").header("user-agent", browser);
        let request = request.body(Body::empty()).expect("a request");
        cache.fetch(request, Arc::clone(&origin) as Arc<dyn Origin>).await.expect("a response");
    }
    assert_eq!(counters.counts().variants_evicted, 3);
    assert!(handle.render().contains("larder_variants_evicted_total 3"), "{}", handle.render());
}
