//! One origin fails, another answers; and what may not be asked twice is not.

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

fn named(name: &'static str) -> Arc<FnOrigin> {
    FnOrigin::new(move |_, _| Ok(Response::new(Body::from(name))))
}

fn failing(kind: OriginErrorKind) -> Arc<FnOrigin> {
    FnOrigin::new(move |_, _| Err(OriginError::new(kind)))
}

fn answering(status: u16) -> Arc<FnOrigin> {
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

async fn ask(origin: &dyn Origin, method: &str, body: Body) -> Result<(u16, String), OriginErrorKind> {
    let request = Request::builder().method(method).uri("http://example.com/").body(body).expect("a request");
    let response = origin.fetch(request).await.map_err(|error| error.kind())?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut text = String::new();
    while let Some(chunk) = body.chunk().await {
        text.push_str(&String::from_utf8_lossy(&chunk.expect("a chunk")));
    }
    Ok((status, text))
}

#[tokio::test]
async fn what_may_be_repeated_is() {
    let good = || named("good");
    let ok = Ok((200, "good".to_owned()));
    for (first, method, expected) in [
        (failing(OriginErrorKind::Connect), "GET", ok.clone()),
        (failing(OriginErrorKind::Protocol), "GET", ok.clone()),
        (failing(OriginErrorKind::Timeout(Duration::ZERO)), "PUT", ok.clone()),
        (answering(502), "GET", ok.clone()),
        (answering(503), "DELETE", ok.clone()),
        (answering(504), "HEAD", ok.clone()),
        // Never heard of, so that it can't have done anything.
        (failing(OriginErrorKind::Connect), "POST", ok),
        (failing(OriginErrorKind::Protocol), "POST", Err(OriginErrorKind::Protocol)),
        (answering(503), "POST", Ok((503, "down".to_owned()))),
        (answering(500), "GET", Ok((500, "down".to_owned()))),
        (answering(404), "GET", Ok((404, "down".to_owned()))),
        (failing(OriginErrorKind::RequestBody), "PUT", Err(OriginErrorKind::RequestBody)),
    ] {
        let pool = pool(&[first, good()], |_| {});
        let body = if method == "GET" { Body::empty() } else { Body::from("content") };
        assert_eq!(ask(&pool, method, body).await, expected, "{method} {pool:?}");
    }
}

/// What streams is gone once it was sent.
#[tokio::test]
async fn an_upload_that_streams_is_sent_once() {
    let (first, second) = (failing(OriginErrorKind::Connect), named("good"));
    let pool = pool(&[Arc::clone(&first), Arc::clone(&second)], |_| {});
    let content = futures_util::stream::once(std::future::ready(Ok::<_, std::io::Error>("content".into())));
    let streaming =
        Body::stream(http_body_util::StreamBody::new(content.map_ok(http_body::Frame::<bytes::Bytes>::data)));
    assert_eq!(ask(&pool, "PUT", streaming).await, Err(OriginErrorKind::Connect));
    assert_eq!((first.count(), second.count()), (1, 0));
}

#[tokio::test]
async fn tries_are_bounded_and_go_around() {
    let (one, other) = (failing(OriginErrorKind::Connect), failing(OriginErrorKind::Protocol));
    let pool_of =
        |retries| pool(&[Arc::clone(&one), Arc::clone(&other)], |options| options.retries = retries);
    assert_eq!(ask(&pool_of(0), "GET", Body::empty()).await, Err(OriginErrorKind::Connect));
    assert_eq!((one.count(), other.count()), (1, 0));
    assert_eq!(ask(&pool_of(3), "GET", Body::empty()).await, Err(OriginErrorKind::Protocol));
    assert_eq!((one.count(), other.count()), (3, 2));
}

#[tokio::test]
async fn an_origin_that_is_too_busy_is_asked_once() {
    let busy = answering(503);
    assert_eq!(
        ask(&pool(&[Arc::clone(&busy)], |_| {}), "GET", Body::empty()).await,
        Ok((503, "down".to_owned()))
    );
    assert_eq!(busy.count(), 1);
    let other = answering(502);
    let both = pool(&[Arc::clone(&busy), Arc::clone(&other)], |options| options.retries = 5);
    assert_eq!(ask(&both, "GET", Body::empty()).await, Ok((502, "down".to_owned())));
    assert_eq!((busy.count(), other.count()), (2, 1));
}

/// An origin that fails again and again is not asked first, until it has rested.
#[tokio::test(start_paused = true)]
async fn who_fails_rests() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let first = FnOrigin::new(move |_, _| match is_down.load(Ordering::SeqCst) {
        true => Err(OriginError::new(OriginErrorKind::Connect)),
        false => Ok(Response::new(Body::from("first"))),
    });
    let pool = pool(&[Arc::clone(&first), named("second")], |_| {});
    for _ in 0..10 {
        assert_eq!(ask(&pool, "GET", Body::empty()).await, Ok((200, "second".to_owned())));
    }
    assert_eq!(first.count(), 3, "left alone after three");
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(ask(&pool, "GET", Body::empty()).await, Ok((200, "second".to_owned())));
    assert_eq!(first.count(), 4, "tried once, and left alone again");
    ask(&pool, "GET", Body::empty()).await.expect("an answer");
    assert_eq!(first.count(), 4);
    down.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(ask(&pool, "GET", Body::empty()).await, Ok((200, "first".to_owned())));
}

#[tokio::test]
async fn each_in_its_turn() {
    let pool = pool(&[named("a"), named("b"), named("c")], |options| options.balance = Balance::RoundRobin);
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(ask(&pool, "GET", Body::empty()).await.expect("an answer").1);
    }
    assert_eq!(answers.concat(), "abcabc");
}

#[tokio::test]
async fn with_none_well_all_are_asked() {
    let origins = [failing(OriginErrorKind::Connect), failing(OriginErrorKind::Connect), named("last")];
    let pool = pool(&origins, |options| options.failure_threshold = 1);
    for _ in 0..3 {
        assert_eq!(ask(&pool, "GET", Body::empty()).await, Ok((200, "last".to_owned())));
    }
    assert_eq!((origins[0].count(), origins[1].count(), origins[2].count()), (1, 1, 3));
}

/// Checks see what requests have not met yet, and speak for an origin that is back.
#[tokio::test(start_paused = true)]
async fn checks_find_out_first() {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = Arc::clone(&well);
    let checked = FnOrigin::new(move |_, request| {
        if request.uri().path() != "/healthz" {
            return Ok(Response::new(Body::from("first")));
        }
        let status = if is_well.load(Ordering::SeqCst) { 204 } else { 500 };
        Ok(Response::builder().status(status).body(Body::empty()).expect("a status"))
    });
    let health = Health::new(["first", "second"]);
    let mut check = HealthCheck::default();
    check.uri = "http://first/healthz".parse().expect("a URI");
    check.every = Duration::from_secs(5);
    tokio::spawn(Arc::clone(&health).watch(0, Arc::clone(&checked) as Arc<dyn Origin>, check));
    let origins = vec![checked as Arc<dyn Origin>, named("second")];
    let pool = Failover::new(origins, Arc::clone(&health), FailoverOptions::default());
    let seconds = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    seconds(6).await;
    assert_eq!(ask(&pool, "GET", Body::empty()).await, Ok((200, "first".to_owned())));
    well.store(false, Ordering::SeqCst);
    seconds(5).await;
    assert!(health.report()[0].healthy, "once is an accident");
    seconds(5).await;
    assert!(!health.report()[0].healthy && health.report()[1].healthy);
    assert_eq!(ask(&pool, "GET", Body::empty()).await, Ok((200, "second".to_owned())));
    well.store(true, Ordering::SeqCst);
    seconds(5).await;
    assert_eq!(ask(&pool, "GET", Body::empty()).await, Ok((200, "first".to_owned())));
}

/// One that accepts and never answers is as unwell as one that refuses.
#[tokio::test(start_paused = true)]
async fn a_check_does_not_wait_for_ever() {
    let (silent, requests) = larder_testkit::ManualOrigin::new();
    let health = Health::new(["silent"]);
    tokio::spawn(Arc::clone(&health).watch(0, silent as Arc<dyn Origin>, HealthCheck::default()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!health.report()[0].healthy);
    drop(requests);
}

#[tokio::test]
async fn fields_both_ways() {
    let origin = FnOrigin::new(|_, request| {
        assert!(!request.headers().contains_key("cookie"));
        assert_eq!(request.headers()["x-from"], "larder");
        Ok(Response::builder()
            .header(SERVER, "secret/1.0")
            .header("x-kept", "1")
            .body(Body::empty())
            .expect("fields"))
    });
    let request = HeaderRules {
        remove: vec![http::header::COOKIE],
        set: vec![(http::HeaderName::from_static("x-from"), HeaderValue::from_static("larder"))],
    };
    let response = HeaderRules { remove: vec![SERVER], set: vec![] };
    let rewriting = HeaderRewrite::new(origin, request, response);
    let asking = Request::get("http://example.com/").header("cookie", "a=b").header("x-from", "me");
    let answer = rewriting.fetch(asking.body(Body::empty()).expect("a request")).await.expect("an answer");
    assert!(answer.status() == StatusCode::OK && !answer.headers().contains_key(SERVER));
    assert_eq!(answer.headers()["x-kept"], "1");
}
