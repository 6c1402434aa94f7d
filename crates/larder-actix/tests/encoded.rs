//! Compressed pages and static files behind the middleware, over real sockets.
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
use larder_actix::{CacheMiddleware, fingerprinted};
use larder_compress::Compression;
use larder_memory::MemoryStore;
use server::{content, get, send, send_for_bytes, serve};

fn cache() -> CacheMiddleware {
    CacheMiddleware::new(larder_core::Cache::builder(Arc::new(MemoryStore::default())).build())
        .compress(Compression::default())
}

fn text() -> String {
    "as long as it is wide, ".repeat(500)
}

/// One run of the handler, whatever browsers ask for; with the length, the tag and the `Vary` of each coding.
#[test]
fn a_page_is_encoded_once() {
    let ran = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&ran);
    let address = serve(cache(), move |app| {
        let ran = Arc::clone(&counting);
        app.route(
            "/",
            web::get().to(move || {
                ran.fetch_add(1, Ordering::SeqCst);
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
        let known =
            send(address, "GET", "/", &format!("Accept-Encoding: {accepts}\r\nIf-None-Match: {tag}\r\n\r\n"));
        assert!(known.starts_with("HTTP/1.1 304"), "{accepts}: {known}");
    }
    assert!(
        lengths[0] < 400 && lengths[1] < 400 && lengths[2] < 400 && lengths[3] == text().len(),
        "{lengths:?}"
    );
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    let part = send(address, "GET", "/", "Range: bytes=3-6\r\n\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && content(&part) == "long", "{part}");
}

/// `actix-files`: ranges, conditions, files that were compressed beforehand, and names with a fingerprint.
#[test]
fn static_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().to_owned();
    let script = "console.log('larder');\n".repeat(100);
    fs::write(root.join("app.3f9ab1c2.js"), &script).expect("a file");
    fs::write(root.join("plain.txt"), &script).expect("a file");
    fs::write(root.join("made.css"), "body { color: #333 }\n".repeat(100)).expect("a file");
    fs::write(root.join("made.css.br"), b"made beforehand").expect("a file");
    fs::write(root.join("photo.png"), vec![7; 300_000]).expect("a file");
    let files = root.clone();
    let settings = cache().default_freshness(Duration::from_secs(60)).immutable(fingerprinted);
    let address = serve(settings, move |app| {
        app.service(actix_files::Files::new("/static", files.clone()).try_compressed());
    });
    let far = get(address, "/static/app.3f9ab1c2.js");
    assert!(far.contains("cache-control: public, max-age=31536000, immutable"), "{far}");
    assert_eq!(content(&far), script);
    let near = get(address, "/static/plain.txt");
    assert!(!near.contains("cache-control"), "{near}");
    fs::remove_file(root.join("plain.txt")).expect("it was there");
    let kept = get(address, "/static/plain.txt");
    assert!(kept.contains("larder; hit; ttl=") && content(&kept) == script, "{kept}");
    let part = send(address, "GET", "/static/plain.txt", "Range: bytes=-8\r\n\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && content(&part) == "rder');\n", "{part}");
    let (head, made) =
        send_for_bytes(address, "GET", "/static/made.css", "Accept-Encoding: br, gzip\r\n\r\n");
    assert!(head.contains("content-encoding: br") && made == b"made beforehand", "{head}");
    let (head, _) = send_for_bytes(address, "GET", "/static/made.css", "Accept-Encoding: br, gzip\r\n\r\n");
    assert!(head.contains("larder; hit"), "{head}");
    let (head, photo) = send_for_bytes(address, "GET", "/static/photo.png", "Accept-Encoding: br\r\n\r\n");
    assert!(!head.contains("content-encoding") && photo.len() == 300_000, "{head}");
    let (head, part) = send_for_bytes(address, "GET", "/static/photo.png", "Range: bytes=299990-\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 206") && head.contains("larder; hit") && part == [7; 10], "{head}");
    let missing = get(address, "/static/gone.3f9ab1c2.js");
    assert!(missing.starts_with("HTTP/1.1 404") && !missing.contains("immutable"), "{missing}");
}
