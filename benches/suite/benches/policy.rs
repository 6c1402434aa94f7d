//! The cost of the rules: a decision on reuse, a decision on storing, and a key, beside
//! `http-cache-semantics`.

mod setting;

use std::{hint::black_box, time::SystemTime};

use criterion::{BatchSize, Criterion};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_cache_semantics::CachePolicy;
use larder_core::{CacheKey, RequestHead, Rules, TargetUri, Timestamp, policy::Exchange};
use larder_testkit::fixtures::{NOW, REQUEST, RESPONSE, fields, head};
use setting::criterion;

fn reuse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy/fresh hit");
    let (method, rules, stored) = (Method::GET, Rules::shared(), head());
    let mut asked = fields(&REQUEST);
    let decide = |asked: &HeaderMap| {
        let request = RequestHead::new(&method, asked);
        let _ = black_box(rules.reuse(&request, [black_box(&*stored)], Timestamp::from_secs(NOW)));
    };
    group.bench_function("larder", |bencher| bencher.iter(|| decide(&asked)));
    let theirs = Request::get("http://example.com/").body(()).map(|mut request| {
        *request.headers_mut() = fields(&REQUEST);
        request
    });
    let theirs = theirs.expect("a request");
    let mut response = Response::new(());
    *response.headers_mut() = fields(&RESPONSE);
    let policy = CachePolicy::new(&theirs, &response);
    group.bench_function("http-cache-semantics", |bencher| {
        bencher.iter(|| black_box(policy.before_request(black_box(&theirs), SystemTime::now())));
    });
    asked.insert("cache-control", "max-age=600, max-stale=10".parse().expect("a value"));
    group.bench_function("larder, with directives", |bencher| bencher.iter(|| decide(&asked)));
    group.finish();
}

fn storing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy/storing");
    let (method, rules, asked, response) =
        (Method::GET, Rules::shared(), fields(&REQUEST), fields(&RESPONSE));
    let target = TargetUri::parse("http://example.com/catalogue").expect("a target");
    let at = Timestamp::from_secs(NOW);
    let exchange = Exchange { request_time: at, response_time: at };
    group.bench_function("larder", |bencher| {
        bencher.iter(|| {
            let request = RequestHead::new(&method, &asked);
            black_box(rules.storable(&target, &request, StatusCode::OK, black_box(&response), exchange))
        });
    });
    group.bench_function("http-cache-semantics", |bencher| {
        let asked = || {
            let mut request = Request::get("http://example.com/catalogue").body(()).expect("a request");
            *request.headers_mut() = asked.clone();
            let mut answer = Response::new(());
            *answer.headers_mut() = response.clone();
            (request, answer)
        };
        bencher.iter_batched(
            asked,
            |(request, answer)| black_box(CachePolicy::new(&request, &answer).is_storable()),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy/key");
    for (name, path) in [
        ("plain", "/articles/2026/larder?page=2"),
        ("to be normalised", "/articles/./2026/../2026/%6carder?page=%3f2"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| CacheKey::from_parts("http", black_box("example.com"), black_box(path)));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = criterion();
    reuse(&mut criterion);
    storing(&mut criterion);
    keys(&mut criterion);
    criterion.final_summary();
}
