//! A real server that sends responses from a table.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    io::Write as _,
    sync::{Arc, Condvar, Mutex},
};

use larder_testkit::RawOrigin;

/// Starts a server that responds by path. Each row of the table has a path, the status line with
/// headers, and the body; `Content-Length` is added.
pub(crate) fn origin(table: &'static [(&'static str, &'static str, &'static str)]) -> RawOrigin {
    RawOrigin::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let row = table.iter().find(|(row_path, _, _)| path == *row_path);
        let (_, head, body) = row.unwrap_or(&("", "404 Not Found", "nothing here"));
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).is_ok()
    })
}

/// Returns the number of requests that arrived for a path.
pub(crate) fn count(origin: &RawOrigin, path: &str) -> usize {
    origin.heads().iter().filter(|head| head.split(' ').nth(1) == Some(path)).count()
}

/// A server that responds with `hello`, which is fresh for a minute. It sends the rest of the
/// response once the test has opened its gate.
pub(crate) struct GatedOrigin {
    pub(crate) server: RawOrigin,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl GatedOrigin {
    /// Starts the server. It sends the head and `before`, the beginning of the body, at once; or
    /// nothing if `before` is empty.
    pub(crate) fn start(before: &'static str) -> Self {
        let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let opened = Arc::clone(&gate);
        let server = RawOrigin::start(move |_, stream| {
            let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\n";
            let response = format!("{head}hello");
            let (before, after) =
                response.split_at(if before.is_empty() { 0 } else { head.len() + before.len() });
            let begun = stream.write_all(before.as_bytes());
            let open = opened.1.wait_while(opened.0.lock().expect("no panic"), |open| !*open);
            drop(open.expect("no panic"));
            begun.is_ok() && stream.write_all(after.as_bytes()).is_ok()
        });
        Self { server, gate }
    }

    /// Returns the URL of the response.
    pub(crate) fn url(&self) -> String {
        format!("{}/", self.server.url())
    }

    /// Opens the gate, for all responses from now on.
    pub(crate) fn open(&self) {
        *self.gate.0.lock().expect("no panic") = true;
        self.gate.1.notify_all();
    }
}
