//! Decoding of responses: each coding in any split, what follows the end, broken content, and the
//! head of a decoded response.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode};
use larder_compress::{Decoding, DecodingOrigin};
use larder_core::{Body, Origin};
use larder_testkit::FnOrigin;

type Encoder = fn(&[u8]) -> Vec<u8>;

/// The codings, by the name in `Content-Encoding`; `deflate` in both of its forms.
const CODINGS: [(&str, Encoder); 5] =
    [("gzip", gzip), ("deflate", zlib), ("deflate", raw_deflate), ("br", brotli), ("zstd", zstd)];

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn raw_deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn brotli(content: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut encoded, 4096, 5, 20);
    encoder.write_all(content).expect("memory");
    drop(encoder);
    encoded
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).expect("memory")
}

/// Text that compresses, and does not repeat.
fn text(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let word = std::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(b'a' + (state >> 28) as u8)
    });
    word.take(length).collect()
}

/// Creates a response with a body that arrives in chunks of this length.
fn response(coding: &str, coded: &[u8], chunk: usize) -> Response<Body> {
    let chunks: Vec<_> = coded.chunks(chunk).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let response = Response::builder().header("content-encoding", coding);
    response.body(Body::from_stream(stream::iter(chunks))).expect("a response")
}

async fn decoded(coding: &str, coded: &[u8], chunk: usize) -> Result<Bytes, String> {
    let response = Decoding::default().decode(response(coding, coded, chunk));
    assert!(!response.headers().contains_key("content-encoding"), "{coding}");
    response.into_body().into_bytes(usize::MAX).await.map_err(|error| error.to_string())
}

const SPLITS: [usize; 5] = [1, 2, 7, 4096, usize::MAX];

#[tokio::test]
async fn each_coding_in_any_split() {
    for (coding, encode) in CODINGS {
        for length in [0, 1, 1000, 100_000] {
            let content = text(length);
            let coded = encode(&content);
            for split in SPLITS {
                let result = decoded(coding, &coded, split).await;
                assert!(
                    result.as_deref() == Ok(&content),
                    "{coding}, {length} bytes, in {split}: {result:?}"
                );
            }
        }
    }
}

/// A page of 40 members, as of a log that is compressed hourly, ended after the first one, and was
/// stored like that.
#[tokio::test]
async fn all_members_and_frames_are_read() {
    for (coding, encode) in [("gzip", gzip as Encoder), ("zstd", zstd)] {
        let (mut content, mut coded) = (Vec::new(), Vec::new());
        for member in 0..40 {
            let part = if member % 7 == 3 { Vec::new() } else { text(2000 + member) };
            content.extend_from_slice(&part);
            coded.extend_from_slice(&encode(&part));
        }
        for split in SPLITS {
            let result = decoded(coding, &coded, split).await;
            assert!(result.as_deref() == Ok(&content), "{coding} in {split}");
        }
    }
    let skipped = [&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(b"hello")].concat();
    assert_eq!(decoded("zstd", &skipped, 1).await.as_deref(), Ok(&b"hello"[..]));
}

#[tokio::test]
async fn lists_and_other_spellings() {
    for (coding, coded) in [
        ("GZip", gzip(b"hello")),
        ("x-gzip", gzip(b"hello")),
        ("identity", b"hello".to_vec()),
        ("identity, gzip,", gzip(b"hello")),
        ("gzip, gzip", gzip(&gzip(b"hello"))),
        ("gzip,br", brotli(&gzip(b"hello"))),
        ("deflate, zstd, BR", brotli(&zstd(&zlib(b"hello")))),
    ] {
        for split in SPLITS {
            let result = decoded(coding, &coded, split).await;
            assert_eq!(result.as_deref(), Ok(&b"hello"[..]), "{coding} in {split}");
        }
    }
    let mut lines = response("gzip", &brotli(&gzip(b"hello")), 3);
    lines.headers_mut().append("content-encoding", "br".parse().expect("a value"));
    let body = Decoding::default().decode(lines).into_body();
    assert_eq!(body.into_bytes(usize::MAX).await.expect("a body"), "hello");
}

/// The same bytes were accepted or not, depending on where the network had split them.
#[tokio::test]
async fn what_follows_the_end_is_an_error_in_any_split() {
    for (coding, encode) in CODINGS {
        for junk in [&[0][..], &[0; 512], b"x", &[0x1f], &[0x1f, 0x8b, 8], b"<!-- cached -->", &[0x28, 0xb5]]
        {
            let coded = [&encode(b"hello, hello"), junk].concat();
            for split in SPLITS {
                let result = decoded(coding, &coded, split).await;
                assert!(result.is_err(), "{coding}, then {junk:?}, in {split}");
            }
        }
    }
    let inner = decoded("gzip, br", &brotli(&[gzip(b"hello"), vec![0]].concat()), 1).await;
    assert!(inner.as_ref().is_err_and(|error| error.contains("gzip")), "{inner:?}");
}

#[tokio::test]
async fn content_that_ends_early_is_an_error() {
    for (coding, encode) in CODINGS {
        let coded = encode(&text(300));
        for end in 1..coded.len() {
            for split in [1, usize::MAX] {
                let result = decoded(coding, &coded[..end], split).await;
                assert!(result.is_err(), "{coding}: {end} of {} bytes, in {split}", coded.len());
            }
        }
    }
    let outer = decoded("gzip, br", &brotli(&gzip(b"hello")[..9]), 1).await;
    assert_eq!(outer, Err("the gzip content ends early".to_owned()));
}

#[tokio::test]
async fn broken_content_is_an_error() {
    let content = text(200);
    for (coding, encode) in [("gzip", gzip as Encoder), ("deflate", zlib)] {
        let coded = encode(&content);
        let mut broken_bits = 0;
        for bit in 0..coded.len() * 8 {
            let mut broken = coded.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            let result = decoded(coding, &broken, usize::MAX).await;
            // Some bits have no effect on the content, such as those of the time in the header.
            let harmless = result.as_deref() == Ok(&content);
            assert!(harmless || result.is_err(), "{coding}, bit {bit}: {result:?}");
            broken_bits += usize::from(result.is_err());
        }
        assert!(broken_bits > coded.len() * 7, "{coding}: {broken_bits} bits of {} bytes", coded.len());
    }
    for (coding, _) in CODINGS {
        let result = decoded(coding, b"<html>not compressed at all</html>", 5).await;
        assert!(result.as_ref().is_err_and(|error| error.contains(coding)), "{coding}: {result:?}");
    }
    let mut wide = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    wide.window_log(27).expect("a window");
    wide.write_all(b"hello").expect("memory");
    assert!(decoded("zstd", &wide.finish().expect("a frame"), 9).await.is_err(), "a window of 128 MiB");
}

/// The error of a connection that broke keeps its type: it decides whether the fetch is repeated.
#[tokio::test]
async fn an_error_of_the_body_is_returned_unchanged() {
    let chunks = [Ok(gzip(b"hello")[..9].to_vec()), Err(std::io::Error::from(std::io::ErrorKind::TimedOut))];
    let coded = Response::builder().header("content-encoding", "gzip, gzip");
    let coded = coded.body(Body::from_stream(stream::iter(chunks))).expect("a response");
    let error = Decoding::default().decode(coded).into_body().chunk().await.expect("an end");
    let error = error.expect_err("a timeout");
    let error = error.downcast_ref::<std::io::Error>().expect("the error of the stream");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

/// A response of 1 MB that decodes to 1 GB is read as fast as its reader takes it.
#[tokio::test]
async fn a_bomb_is_decoded_as_it_is_read() {
    let coded = gzip(&vec![0; 32 << 20]);
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let members = (0..32).map(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok::<_, std::io::Error>(coded.clone())
    });
    let response = Response::builder().header("content-encoding", "gzip");
    let response = response.body(Body::from_stream(stream::iter(members))).expect("a response");
    let mut body = Decoding::default().decode(response).into_body();
    let mut read = 0;
    while read < 1 << 20 {
        let chunk = body.chunk().await.expect("not the end").expect("no error");
        assert!(chunk.len() <= 64 << 10, "a chunk of {} bytes", chunk.len());
        read += chunk.len();
    }
    assert_eq!(sent.load(Ordering::SeqCst), 1, "members taken for the first MiB");
}

#[tokio::test]
async fn unknown_codings_and_parts_remain_as_they_are() {
    let coded = gzip(b"hello");
    let some = Decoding::default().with_brotli(false);
    for (coding, status) in [
        ("compress", 200),
        ("gzip, x-unknown", 200),
        ("x-unknown, gzip", 200),
        ("br, gzip", 200),
        ("gzip, gzip, gzip, gzip, gzip", 200),
        ("gzip", 206),
    ] {
        let mut response = response(coding, &coded, 3);
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response.headers_mut().insert("etag", "\"a\"".parse().expect("a value"));
        let response = some.decode(response);
        assert_eq!(response.headers()["content-encoding"], coding);
        assert_eq!(response.headers()["etag"], "\"a\"");
        assert_eq!(response.into_body().into_bytes(usize::MAX).await.expect("a body"), coded, "{coding}");
    }
}

#[tokio::test]
async fn the_head_is_that_of_the_decoded_content() {
    let origin = FnOrigin::new(|_, request| {
        let response = Response::builder()
            .header("content-encoding", "gzip")
            .header("content-length", "25")
            .header("content-digest", "sha-256=:AAAA:")
            .header("etag", "\"a\"")
            .header("vary", "accept-encoding");
        let content = if request.method() == http::Method::HEAD { Vec::new() } else { gzip(b"hello") };
        Ok(response.body(Body::from(content)).expect("a response"))
    });
    let origin = DecodingOrigin::new(origin, Decoding::default());
    let fetch = async |request: http::request::Builder| {
        let request = request.uri("http://example.com/").body(Body::empty()).expect("a request");
        origin.fetch(request).await.expect("a response")
    };
    for method in ["GET", "HEAD"] {
        let response = fetch(Request::builder().method(method)).await;
        let expected: HeaderMap = [("etag", "W/\"a\""), ("vary", "accept-encoding")]
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .into_iter()
            .collect();
        assert_eq!(*response.headers(), expected, "{method}");
    }
}

/// An API wants the tag of the page in `If-Match`, and refuses a weak one.
#[tokio::test]
async fn conditions_have_the_tags_of_the_origin() {
    let origin = FnOrigin::new(|_, request| {
        let sent = |name| {
            request
                .headers()
                .get(name)
                .map_or(String::new(), |value| value.to_str().expect("text").to_owned())
        };
        let response =
            Response::builder().status(304).header("etag", "\"a\"").header("content-encoding", "gzip");
        let response = response.header("x-if-none-match", sent("if-none-match"));
        let response = response.header("x-if-match", sent("if-match"));
        let response = response.header("x-accept-encoding", sent("accept-encoding"));
        Ok(response.body(Body::empty()).expect("a response"))
    });
    let origin = DecodingOrigin::new(origin, Decoding::default().with_deflate(false));
    for (name, value, sent, tag) in [
        ("if-none-match", "W/\"a\"", "\"a\", W/\"a\"", "W/\"a\""),
        ("if-none-match", "\"a\"", "\"a\"", "\"a\""),
        ("if-none-match", "\"a\", W/\"a\"", "\"a\", W/\"a\"", "\"a\""),
        ("if-none-match", "W/\"b,c\", \"d\"", "\"b,c\", W/\"b,c\", \"d\"", "\"a\""),
        ("if-match", "W/\"a\"", "\"a\", W/\"a\"", "\"a\""),
        ("range", "bytes=0-1", "", "\"a\""),
    ] {
        let request = Request::get("http://example.com/").header(name, value);
        let response = origin.fetch(request.body(Body::empty()).expect("a request")).await.expect("a 304");
        let headers = response.headers();
        if name != "range" {
            assert_eq!(headers[&*format!("x-{name}")], sent);
        }
        assert_eq!(headers["etag"], tag, "{value}");
        assert!(!headers.contains_key("content-encoding"), "it would become that of what is stored");
        let accepted = if name == "range" { "identity" } else { "gzip, br, zstd" };
        assert_eq!(headers["x-accept-encoding"], accepted);
    }
}
