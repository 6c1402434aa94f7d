//! Failover between origins, health checks and header rules.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::TryStreamExt as _;
use http::{HeaderValue, Request, Response, StatusCode, header::SERVER};
use larder_core::{Body, Origin, OriginError, OriginErrorKind};
use larder_origin::{Balance, Failover, FailoverOptions, HeaderRewrite, HeaderRules, Health, HealthCheck};
use larder_testkit::FnOrigin;

fn responding_with(name: &'static str) -> Arc<FnOrigin> {
    FnOrigin::new(move |_, _| Ok(Response::new(Body::from(name))))
}

fn failing(kind: OriginErrorKind) -> Arc<FnOrigin> {
    FnOrigin::new(move |_, _| Err(OriginError::new(kind)))
}

fn with_status(status: u16) -> Arc<FnOrigin> {
    FnOrigin::new(move |_, _| {
        Ok(Response::builder().status(status).body(Body::from("down")).expect("a status"))
    })
}

fn pool(origins: &[Arc<FnOrigin>], change: impl FnOnce(&mut FailoverOptions)) -> Failover {
    let mut options = FailoverOptions::default();
    change(&mut options);
    let health = Health::new((0..origins.len()).map(|index| index.to_string()));
    let origins = origins.iter().map(|origin| Arc::clone(origin) as Arc<dyn Origin>).collect();
    Failover::new(origins, health, options)
}

async fn send(origin: &dyn Origin, method: &str, body: Body) -> Result<(u16, String), OriginErrorKind> {
    let request = Request::builder().method(method).uri("http://example.com/").body(body).expect("a request");
    let response = origin.fetch(request).await.map_err(|error| error.kind())?;
    let status = response.status().as_u16();
    let content = response.into_body().into_bytes(usize::MAX).await.expect("a whole body");
    Ok((status, String::from_utf8_lossy(&content).into_owned()))
}

#[tokio::test]
async fn requests_that_may_be_retried_are() {
    let good = || responding_with("good");
    let ok = Ok((200, "good".to_owned()));
    for (first, method, expected) in [
        (failing(OriginErrorKind::Connect), "GET", ok.clone()),
        (failing(OriginErrorKind::Protocol), "GET", ok.clone()),
        (failing(OriginErrorKind::Timeout(Duration::ZERO)), "PUT", ok.clone()),
        (with_status(502), "GET", ok.clone()),
        (with_status(503), "DELETE", ok.clone()),
        (with_status(504), "HEAD", ok.clone()),
        // The origin has not received the request, so any method may be retried.
        (failing(OriginErrorKind::Connect), "POST", ok),
        (failing(OriginErrorKind::Protocol), "POST", Err(OriginErrorKind::Protocol)),
        (with_status(503), "POST", Ok((503, "down".to_owned()))),
        (with_status(500), "GET", Ok((500, "down".to_owned()))),
        (with_status(404), "GET", Ok((404, "down".to_owned()))),
        (failing(OriginErrorKind::RequestBody), "PUT", Err(OriginErrorKind::RequestBody)),
    ] {
        let pool = pool(&[first, good()], |_| {});
        let body = if method == "GET" { Body::empty() } else { Body::from("content") };
        assert_eq!(send(&pool, method, body).await, expected, "{method} {pool:?}");
    }
}

/// A body that streams can be sent only once.
#[tokio::test]
async fn a_streaming_upload_is_sent_once() {
    let (first, second) = (failing(OriginErrorKind::Connect), responding_with("good"));
    let pool = pool(&[Arc::clone(&first), Arc::clone(&second)], |_| {});
    let content = futures_util::stream::once(std::future::ready(Ok::<_, std::io::Error>("content".into())));
    let streaming =
        Body::stream(http_body_util::StreamBody::new(content.map_ok(http_body::Frame::<bytes::Bytes>::data)));
    assert_eq!(send(&pool, "PUT", streaming).await, Err(OriginErrorKind::Connect));
    assert_eq!((first.count(), second.count()), (1, 0));
}

#[tokio::test]
async fn retries_are_limited_and_may_exceed_the_number_of_origins() {
    let (one, other) = (failing(OriginErrorKind::Connect), failing(OriginErrorKind::Protocol));
    let pool_of =
        |retries| pool(&[Arc::clone(&one), Arc::clone(&other)], |options| options.retries = retries);
    assert_eq!(send(&pool_of(0), "GET", Body::empty()).await, Err(OriginErrorKind::Connect));
    assert_eq!((one.count(), other.count()), (1, 0));
    assert_eq!(send(&pool_of(3), "GET", Body::empty()).await, Err(OriginErrorKind::Connect));
    assert_eq!((one.count(), other.count()), (4, 1), "only the first never received the request");
}

/// A single origin that is slow got each GET and DELETE three times.
#[tokio::test]
async fn an_origin_that_may_have_received_a_request_does_not_get_it_again() {
    for kind in [OriginErrorKind::Timeout(Duration::ZERO), OriginErrorKind::Protocol] {
        for method in ["GET", "DELETE"] {
            let slow = failing(kind);
            let pool = pool(&[Arc::clone(&slow)], |_| {});
            assert_eq!(send(&pool, method, Body::empty()).await, Err(kind));
            assert_eq!(slow.count(), 1, "{method} {kind:?}");
        }
    }
}

/// When all requests fail, retries would multiply the load on the origins.
#[tokio::test(start_paused = true)]
async fn retries_are_a_share_of_the_requests() {
    let (one, other) = (failing(OriginErrorKind::Protocol), failing(OriginErrorKind::Protocol));
    let pool = pool(&[Arc::clone(&one), Arc::clone(&other)], |options| options.retry_percent = 10);
    for _ in 0..500 {
        assert_eq!(send(&pool, "GET", Body::empty()).await, Err(OriginErrorKind::Protocol));
    }
    let retries = one.count() + other.count() - 500;
    assert!((55..=65).contains(&retries), "{retries}: 10 at the start, and a tenth of 500");
}

/// The limit of this process is not a fault of the origin.
#[tokio::test]
async fn a_busy_origin_stays_healthy() {
    let (busy, other) = (failing(OriginErrorKind::Busy), responding_with("other"));
    let pool = pool(&[Arc::clone(&busy), other], |options| options.failure_threshold = 1);
    for _ in 0..3 {
        assert_eq!(send(&pool, "POST", Body::from("x")).await, Ok((200, "other".to_owned())));
    }
    assert_eq!(busy.count(), 3);
}

#[tokio::test]
async fn the_origin_with_the_fewest_responses_in_progress_is_chosen() {
    let pool = pool(&[responding_with("a"), responding_with("b")], |options| {
        (options.balance, options.weights) = (Balance::LeastConnections, vec![1, 2]);
    });
    let get = || Request::get("http://example.com/").body(Body::empty()).expect("a request");
    let mut unread = Vec::new();
    for _ in 0..6 {
        unread.push(pool.fetch(get()).await.expect("a response"));
    }
    let mut names = Vec::new();
    for response in unread {
        names.push(response.into_body().into_bytes(10).await.expect("whole"));
    }
    assert_eq!(names.iter().filter(|name| ***name == *b"b").count(), 4, "{names:?}");
}

#[tokio::test]
async fn an_unavailable_origin_gets_one_attempt() {
    let busy = with_status(503);
    assert_eq!(
        send(&pool(&[Arc::clone(&busy)], |_| {}), "GET", Body::empty()).await,
        Ok((503, "down".to_owned()))
    );
    assert_eq!(busy.count(), 1);
    let other = with_status(502);
    let both = pool(&[Arc::clone(&busy), Arc::clone(&other)], |options| options.retries = 5);
    assert_eq!(send(&both, "GET", Body::empty()).await, Ok((502, "down".to_owned())));
    assert_eq!((busy.count(), other.count()), (2, 1));
}

/// The first origin became unhealthy by failing during the request, and was tried again before the
/// second one, which a check had found unhealthy. The client got the first origin's error.
#[tokio::test(start_paused = true)]
async fn each_origin_is_tried_before_one_is_tried_twice() {
    let health = Health::new(["first", "second"]);
    let check = HealthCheck::default().with_unhealthy_after(1);
    let watch = tokio::spawn(Arc::clone(&health).watch(1, with_status(500), check));
    while health.report()[1].healthy {
        tokio::task::yield_now().await;
    }
    let (first, second) = (failing(OriginErrorKind::Connect), responding_with("second"));
    let origins: Vec<Arc<dyn Origin>> = vec![Arc::clone(&first) as _, Arc::clone(&second) as _];
    let options = FailoverOptions::default().with_failure_threshold(1).with_retries(1);
    let failover = Failover::new(origins, health, options);
    assert_eq!(send(&failover, "GET", Body::empty()).await, Ok((200, "second".to_owned())));
    assert_eq!((first.count(), second.count()), (1, 1));
    watch.abort();
}

/// An origin that fails repeatedly receives no requests during its cooldown.
#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_repeatedly_is_in_cooldown() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let first = FnOrigin::new(move |_, _| match is_down.load(Ordering::SeqCst) {
        true => Err(OriginError::new(OriginErrorKind::Connect)),
        false => Ok(Response::new(Body::from("first"))),
    });
    let pool = pool(&[Arc::clone(&first), responding_with("second")], |_| {});
    for _ in 0..10 {
        assert_eq!(send(&pool, "GET", Body::empty()).await, Ok((200, "second".to_owned())));
    }
    assert_eq!(first.count(), 3, "its cooldown starts after three failures");
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(send(&pool, "GET", Body::empty()).await, Ok((200, "second".to_owned())));
    assert_eq!(first.count(), 4, "one attempt fails, and the cooldown starts again");
    send(&pool, "GET", Body::empty()).await.expect("a response");
    assert_eq!(first.count(), 4);
    down.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(send(&pool, "GET", Body::empty()).await, Ok((200, "first".to_owned())));
}

#[tokio::test]
async fn round_robin_follows_the_weights_and_skips_unhealthy_origins() {
    let down = failing(OriginErrorKind::Connect);
    let origins = [down, responding_with("b"), responding_with("c")];
    let pool = pool(&origins, |options| {
        (options.balance, options.weights) = (Balance::RoundRobin, vec![1, 3, 1]);
        options.failure_threshold = 1;
    });
    let mut responses = String::new();
    for _ in 0..40 {
        responses += &send(&pool, "GET", Body::empty()).await.expect("a response").1;
    }
    let count = |name| responses.matches(name).count();
    assert!(count("b") >= 24 && count("c") >= 8, "{responses}");
}

#[tokio::test]
async fn round_robin_uses_each_origin_in_turn() {
    let pool = pool(&[responding_with("a"), responding_with("b"), responding_with("c")], |options| {
        options.balance = Balance::RoundRobin;
    });
    let mut responses = Vec::new();
    for _ in 0..6 {
        responses.push(send(&pool, "GET", Body::empty()).await.expect("a response").1);
    }
    assert_eq!(responses.concat(), "abcabc");
}

#[tokio::test]
async fn unhealthy_origins_get_an_attempt_after_healthy_ones() {
    let origins =
        [failing(OriginErrorKind::Connect), failing(OriginErrorKind::Connect), responding_with("last")];
    let pool = pool(&origins, |options| options.failure_threshold = 1);
    for _ in 0..3 {
        assert_eq!(send(&pool, "GET", Body::empty()).await, Ok((200, "last".to_owned())));
    }
    assert_eq!((origins[0].count(), origins[1].count(), origins[2].count()), (1, 1, 3));
}

/// Checks detect a failed origin before a request does, and its recovery.
#[tokio::test(start_paused = true)]
async fn health_checks_detect_failure_and_recovery() {
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let checked = FnOrigin::new(move |_, request| {
        if request.uri().path() != "/healthz" {
            return Ok(Response::new(Body::from("first")));
        }
        let status = if is_up.load(Ordering::SeqCst) { 204 } else { 500 };
        Ok(Response::builder().status(status).body(Body::empty()).expect("a status"))
    });
    let health = Health::new(["first", "second"]);
    let check = HealthCheck::default()
        .with_uri("http://first/healthz".parse().expect("a URI"))
        .with_interval(Duration::from_secs(5));
    tokio::spawn(Arc::clone(&health).watch(0, Arc::clone(&checked) as Arc<dyn Origin>, check));
    let origins = vec![checked as Arc<dyn Origin>, responding_with("second")];
    let pool = Failover::new(origins, Arc::clone(&health), FailoverOptions::default());
    let seconds = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    seconds(6).await;
    assert_eq!(send(&pool, "GET", Body::empty()).await, Ok((200, "first".to_owned())));
    up.store(false, Ordering::SeqCst);
    seconds(5).await;
    assert!(health.report()[0].healthy, "one failed check is below the threshold");
    seconds(5).await;
    assert!(!health.report()[0].healthy && health.report()[1].healthy);
    assert_eq!(send(&pool, "GET", Body::empty()).await, Ok((200, "second".to_owned())));
    up.store(true, Ordering::SeqCst);
    seconds(5).await;
    assert_eq!(send(&pool, "GET", Body::empty()).await, Ok((200, "first".to_owned())));
}

/// An origin that never responds is as unhealthy as one that refuses connections.
#[tokio::test(start_paused = true)]
async fn a_health_check_times_out() {
    let (silent, requests) = larder_testkit::ManualOrigin::new();
    let health = Health::new(["silent"]);
    tokio::spawn(Arc::clone(&health).watch(0, silent as Arc<dyn Origin>, HealthCheck::default()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!health.report()[0].healthy);
    drop(requests);
}

#[tokio::test]
async fn header_rules_apply_to_requests_and_responses() {
    let origin = FnOrigin::new(|_, request| {
        assert!(!request.headers().contains_key("cookie"));
        assert_eq!(request.headers()["x-from"], "larder");
        Ok(Response::builder()
            .header(SERVER, "secret/1.0")
            .header("x-kept", "1")
            .body(Body::empty())
            .expect("fields"))
    });
    let request = HeaderRules::default()
        .with_remove([http::header::COOKIE])
        .with_set([(http::HeaderName::from_static("x-from"), HeaderValue::from_static("larder"))]);
    let response = HeaderRules::default().with_remove([SERVER]);
    let rewrite = HeaderRewrite::new(origin, request, response);
    let incoming = Request::get("http://example.com/").header("cookie", "a=b").header("x-from", "me");
    let response = rewrite.fetch(incoming.body(Body::empty()).expect("a request")).await.expect("a response");
    assert!(response.status() == StatusCode::OK && !response.headers().contains_key(SERVER));
    assert_eq!(response.headers()["x-kept"], "1");
}
