//! A real server whose answers are written as text.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::Write as _;

use larder_testkit::RawOrigin;

/// A server that answers by path: what stands in the table, as head (without its end) and content, whose length is added.
pub(crate) fn origin(table: &'static [(&'static str, &'static str, &'static str)]) -> RawOrigin {
    RawOrigin::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let found = table.iter().find(|(wanted, _, _)| path == *wanted);
        let (_, head, content) = found.unwrap_or(&("", "404 Not Found", "nothing here"));
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{content}", content.len());
        stream.write_all(text.as_bytes()).is_ok()
    })
}

/// How many requests for a path have come.
pub(crate) fn count(origin: &RawOrigin, path: &str) -> usize {
    origin.heads().iter().filter(|head| head.split(' ').nth(1) == Some(path)).count()
}
