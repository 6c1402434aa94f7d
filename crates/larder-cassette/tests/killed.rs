//! A process that records is killed again and again: each file that it has left is whole.

mod common;

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use common::{files, open, request, send};
use http::Response;
use larder_cassette::Mode;
use larder_core::Body;
use larder_testkit::FnOrigin;
use tempfile::tempdir;

/// The variable with the directory, in the process that is killed.
const VICTIM: &str = "LARDER_CASSETTE_VICTIM";

/// Records responses of 1 MiB until the process is killed.
fn record_forever(directory: &Path) -> ! {
    let body = (0..1 << 16).fold(String::new(), |mut body, number| {
        let _ = writeln!(body, "line {number:010}");
        body
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        loop {
            let cassette = open(directory, Mode::Record);
            let body = body.clone();
            let origin =
                cassette.origin(FnOrigin::new(move |_, _| Ok(Response::new(Body::from(body.clone())))));
            for page in 0..4 {
                let url = format!("https://example.com/{page}");
                send(&origin, request("GET", &url, "")).await.expect("a response");
            }
        }
    })
}

#[test]
fn a_killed_process_leaves_no_half_file() {
    if let Some(directory) = std::env::var_os(VICTIM) {
        record_forever(Path::new(&directory));
    }
    let directory = tempdir().unwrap();
    for round in 0..8 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_no_half_file"])
            .env(VICTIM, directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // It is killed while it writes: a temporary file is there, most often.
        let prefix = format!(".{}-", victim.id());
        let is_writing = || {
            let names = files(directory.path());
            // Later rounds replace recordings.
            let has_recorded = round < 4 || names.iter().any(|name| name.ends_with(".exchange"));
            has_recorded && names.iter().any(|name| name.starts_with(&prefix))
        };
        while !is_writing() && victim.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        for _ in 0..round * 50 {
            std::thread::yield_now();
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        // Opening reads all recordings.
        let cassette = open(directory.path(), Mode::Replay);
        assert!(cassette.exchanges().iter().all(|exchange| exchange.response.body.len() == 16 << 16));
    }
    let names = files(directory.path());
    let recordings = names.iter().filter(|name| name.ends_with(".exchange")).count();
    assert!((1..=4).contains(&recordings), "{names:?}");
}
