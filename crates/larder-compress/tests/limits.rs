//! What encoders and decoders may use: how many there are at once, and how far back they look.

use std::{io::Write as _, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use larder_compress::{Coding, CompressingOrigin, Compression, Negotiated};
use larder_core::{
    Body, Cache, CacheKey, CacheResponse, FetchOptions, Lookup, Origin, RequestHead, TargetUri,
};
use larder_memory::MemoryStore;
use larder_testkit::FnOrigin;

/// Sends a GET through the cache, as an adapter does.
async fn get(
    cache: &Cache,
    settings: &Arc<Compression>,
    origin: &Arc<FnOrigin>,
    accepts: &str,
) -> CacheResponse {
    let request = Request::get("http://example.com/page").header("accept-encoding", accepts);
    let mut request = request.body(Body::empty()).expect("a request");
    let key = CacheKey::new(&TargetUri::from_uri(request.uri()).expect("a target"));
    let coding = settings.negotiate(request.headers());
    let headers = Negotiated::new(request.headers(), coding);
    match cache.lookup(&key, &RequestHead::new(request.method(), &headers)).await {
        Lookup::Hit(response) => response,
        Lookup::Miss(miss) => {
            coding.set_accept_encoding(request.headers_mut());
            let origin = Arc::clone(origin) as Arc<dyn Origin>;
            let origin = CompressingOrigin::new(origin, cache.clone(), key, coding, Arc::clone(settings));
            miss.fetch(request, Arc::new(origin), &FetchOptions::default()).await.expect("a response")
        }
    }
}

fn cache() -> Cache {
    Cache::builder(Arc::new(MemoryStore::default())).build()
}

fn coding(headers: &HeaderMap) -> &str {
    headers.get("content-encoding").map_or("", |coding| coding.to_str().expect("text"))
}

async fn content(mut response: CacheResponse) -> Bytes {
    std::mem::take(response.body_mut()).into_bytes(usize::MAX).await.expect("a whole body")
}

/// Clients that read slowly had an encoder each, and the process 1.6 GiB of memory.
#[tokio::test]
async fn encoders_of_streams_are_limited() {
    let page: Bytes = "The same words again, and again. ".repeat(3000).into();
    let sent = page.clone();
    let origin = FnOrigin::new(move |_, _| {
        let chunks: Vec<_> =
            sent.chunks(8192).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect();
        let response =
            Response::builder().header("cache-control", "no-store").header("content-type", "text/html");
        Ok(response.body(Body::from_stream(futures_util::stream::iter(chunks))).expect("a response"))
    });
    let (cache, settings) = (cache(), Arc::new(Compression::default().with_max_encoders(3)));
    for name in ["br", "zstd", "gzip"] {
        let mut responses = Vec::new();
        for _ in 0..5 {
            responses.push(get(&cache, &settings, &origin, name).await);
        }
        let codings: Vec<&str> = responses.iter().map(|response| coding(response.headers())).collect();
        assert_eq!(codings, [name, name, name, "", ""]);
        let last = responses.pop().expect("a response");
        assert_eq!(last.headers()["vary"], "accept-encoding");
        assert_eq!(content(last).await, page);
        // At the end, the encoder is gone, although the response is still here.
        let mut body = std::mem::take(responses[0].body_mut());
        while body.chunk().await.is_some() {}
        let next = get(&cache, &settings, &origin, name).await;
        assert_eq!(coding(next.headers()), name);
        let more = get(&cache, &settings, &origin, name).await;
        assert_eq!(coding(more.headers()), "");
        drop(next);
        let next = get(&cache, &settings, &origin, name).await;
        assert_eq!(coding(next.headers()), name);
        drop(body);
    }
}

/// A frame with a window of 128 MiB made each conversion of the stored page need as much memory.
#[tokio::test]
async fn a_frame_with_a_large_window_is_not_converted() {
    let page = "The same words again, and again. ".repeat(3000);
    for (window, requests) in [(23, 1), (24, 2), (27, 2)] {
        let plain = page.clone();
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(window).expect("a window");
        encoder.write_all(page.as_bytes()).expect("memory");
        let frame = Bytes::from(encoder.finish().expect("a frame"));
        let origin = FnOrigin::new(move |_, request| {
            let response = Response::builder()
                .header("cache-control", "max-age=60")
                .header("vary", "accept-encoding")
                .header("content-type", "text/html");
            let response = if request.headers().get("accept-encoding").is_some_and(|value| value == "zstd") {
                response.header("content-encoding", "zstd").body(Body::from(frame.clone()))
            } else {
                response.body(Body::from(plain.clone()))
            };
            Ok(response.expect("a response"))
        });
        let (cache, settings) = (cache(), Arc::new(Compression::default()));
        assert_eq!(coding(get(&cache, &settings, &origin, "zstd").await.headers()), "zstd");
        let plain = get(&cache, &settings, &origin, "").await;
        assert_eq!(coding(plain.headers()), "");
        assert_eq!(content(plain).await, page);
        assert_eq!(origin.count(), requests, "a window of 2^{window} bytes");
        let response = get(&cache, &settings, &origin, "br").await;
        assert_eq!(coding(response.headers()), "br");
        assert_eq!(origin.count(), requests, "converted from the one without a coding");
    }
}

/// RFC 9659: clients refuse windows of more than 8 MiB, which levels above 19 have.
#[tokio::test]
async fn no_level_of_zstandard_has_a_larger_window_than_clients_accept() {
    let page: Bytes = "The same words again, and again. ".repeat(3000).into();
    let mut settings = Compression::default();
    settings.zstd = 22;
    let settings = Arc::new(settings.with_codings([Coding::Zstd]));
    for is_stream in [false, true] {
        let sent = page.clone();
        let origin = FnOrigin::new(move |_, _| {
            let body = match is_stream {
                true => {
                    Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(sent.clone())]))
                }
                false => Body::from(sent.clone()),
            };
            Ok(Response::builder().header("content-type", "text/html").body(body).expect("a response"))
        });
        let frame = content(get(&cache(), &settings, &origin, "zstd").await).await;
        let mut decoder = zstd::stream::Decoder::new(&*frame).expect("a decoder");
        decoder.window_log_max(23).expect("a limit");
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut decoder, &mut plain).expect("a window of at most 8 MiB");
        assert_eq!(plain, page);
    }
}
