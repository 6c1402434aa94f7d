//! A real server that sends responses from a table.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::Write as _;

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
