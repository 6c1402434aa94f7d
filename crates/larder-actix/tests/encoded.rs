//! Tests of compressed pages and static files behind the middleware, over real sockets.
#![cfg(feature = "compress")]

mod server;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpResponse, http::header, web};
use larder_actix::{CacheMiddleware, is_fingerprinted};
use larder_compress::Compression;
use larder_memory::MemoryStore;
use server::{content, get, send, send_for_bytes, serve};

fn middleware() -> CacheMiddleware {
    CacheMiddleware::new(larder_core::Cache::builder(Arc::new(MemoryStore::default())).build())
        .compress(Compression::default())
}

fn text() -> String {
    "as long as it is wide, ".repeat(500)
}

/// The handler runs once for all codings, and each coding has its length, its tag and `Vary`.
#[test]
fn a_page_is_encoded_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let address = serve(middleware(), move |app| {
        let calls = Arc::clone(&counter);
        app.route(
            "/",
            web::get().to(move || {
                calls.fetch_add(1, Ordering::SeqCst);
                async {
                    HttpResponse::Ok()
                        .insert_header((header::CACHE_CONTROL, "max-age=60"))
                        .content_type("text/css")
                        .body(text())
                }
            }),
        );
    });
    let mut lengths = Vec::new();
    for accepts in ["gzip, deflate, br, zstd", "gzip", "zstd;q=0.9", "identity"] {
        let rest = format!("Accept-Encoding: {accepts}\r\n\r\n");
        let (_, first) = send_for_bytes(address, "GET", "/", &rest);
        let (head, again) = send_for_bytes(address, "GET", "/", &rest);
        assert!(head.contains("larder; hit") && again == first, "{head}");
        assert!(head.contains(&format!("content-length: {}", again.len())), "{head}");
        assert!(head.contains("vary: accept-encoding"), "{head}");
        lengths.push(again.len());
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag");
        let revalidated =
            send(address, "GET", "/", &format!("Accept-Encoding: {accepts}\r\nIf-None-Match: {tag}\r\n\r\n"));
        assert!(revalidated.starts_with("HTTP/1.1 304"), "{accepts}: {revalidated}");
    }
    assert!(
        lengths[0] < 400 && lengths[1] < 400 && lengths[2] < 400 && lengths[3] == text().len(),
        "{lengths:?}"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let part = send(address, "GET", "/", "Range: bytes=3-6\r\n\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && content(&part) == "long", "{part}");
}

/// Files of `actix-files`: ranges, conditions, files that are compressed on disk, and fingerprints
/// in names.
#[test]
fn static_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().to_owned();
    let script = "console.log('larder');\n".repeat(100);
    fs::write(root.join("app.3f9ab1c2.js"), &script).expect("a file");
    fs::write(root.join("plain.txt"), &script).expect("a file");
    fs::write(root.join("style.css"), "body { color: #333 }\n".repeat(100)).expect("a file");
    fs::write(root.join("style.css.br"), b"compressed on disk").expect("a file");
    fs::write(root.join("photo.png"), vec![7; 300_000]).expect("a file");
    let files = root.clone();
    let settings = middleware().default_freshness(Duration::from_secs(60)).immutable(is_fingerprinted);
    let address = serve(settings, move |app| {
        app.service(actix_files::Files::new("/static", files.clone()).try_compressed());
    });
    let immutable = get(address, "/static/app.3f9ab1c2.js");
    assert!(immutable.contains("cache-control: public, max-age=31536000, immutable"), "{immutable}");
    assert_eq!(content(&immutable), script);
    let plain = get(address, "/static/plain.txt");
    assert!(!plain.contains("cache-control"), "{plain}");
    fs::remove_file(root.join("plain.txt")).expect("the file exists");
    let stored = get(address, "/static/plain.txt");
    assert!(stored.contains("larder; hit; ttl=") && content(&stored) == script, "{stored}");
    let part = send(address, "GET", "/static/plain.txt", "Range: bytes=-8\r\n\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && content(&part) == "rder');\n", "{part}");
    let (head, style) =
        send_for_bytes(address, "GET", "/static/style.css", "Accept-Encoding: br, gzip\r\n\r\n");
    assert!(head.contains("content-encoding: br") && style == b"compressed on disk", "{head}");
    let (head, _) = send_for_bytes(address, "GET", "/static/style.css", "Accept-Encoding: br, gzip\r\n\r\n");
    assert!(head.contains("larder; hit"), "{head}");
    let (head, photo) = send_for_bytes(address, "GET", "/static/photo.png", "Accept-Encoding: br\r\n\r\n");
    assert!(!head.contains("content-encoding") && photo.len() == 300_000, "{head}");
    let (head, part) = send_for_bytes(address, "GET", "/static/photo.png", "Range: bytes=299990-\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 206") && head.contains("larder; hit") && part == [7; 10], "{head}");
    let missing = get(address, "/static/missing.3f9ab1c2.js");
    assert!(missing.starts_with("HTTP/1.1 404") && !missing.contains("immutable"), "{missing}");
}
