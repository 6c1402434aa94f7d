//! Requests, and origins that count them.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response};
use larder_cassette::{Cassette, CassetteOptions, Mode};
use larder_core::{Body, Origin, OriginError};
use larder_testkit::ManualClock;

/// An origin that returns the number of the request, its method and path, and counts requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counting(Arc<AtomicUsize>);

impl Counting {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Origin for Counting {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        let text = format!("{number} {} {}", request.method(), request.uri());
        let response = Response::builder()
            .status(if request.method() == http::Method::POST { 201 } else { 200 })
            .header("content-type", "text/plain")
            .header("content-length", text.len());
        Ok(response.body(Body::from(text)).expect("a valid response"))
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}

/// An origin for replays: the network is a failure of the test.
#[derive(Debug)]
pub(crate) struct NoNetwork;

#[async_trait::async_trait]
impl Origin for NoNetwork {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        panic!("{} {} reached the network", request.method(), request.uri());
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}

/// Options with a clock that stands at the beginning of 2026.
pub(crate) fn options() -> CassetteOptions {
    CassetteOptions::default().with_clock(Arc::new(ManualClock::at(1_767_225_600)))
}

pub(crate) fn open(directory: &Path, mode: Mode) -> Cassette {
    Cassette::with_options(directory, mode, options()).expect("a cassette")
}

pub(crate) fn request(method: &str, url: &str, body: &'static str) -> Request<Body> {
    Request::builder().method(method).uri(url).body(Body::from(body)).expect("a valid request")
}

/// Sends a request and returns the status and the text of the response.
pub(crate) async fn send(origin: &impl Origin, request: Request<Body>) -> Result<(u16, String), String> {
    let response = origin.fetch(request).await.map_err(|error| {
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    })?;
    let status = response.status().as_u16();
    let body = response.into_body().into_bytes(1 << 30).await.map_err(|error| error.to_string())?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Returns the names of the files in a directory, sorted.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// Returns the text of all recordings, in the order of their names.
pub(crate) fn texts(directory: &Path) -> String {
    let read = |name: &String| fs::read_to_string(directory.join(name)).expect("a text");
    files(directory).iter().map(read).collect()
}
