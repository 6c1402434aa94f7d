//! URLs of Redis servers with passwords, valid and malformed, for the tests of error messages here
//! and in `larder-cli`.

/// URLs with the password `PW`, of which a test replaces `PORT` by that of a server or of none.
pub(crate) const URLS: [&str; 40] = [
    "redis://:PW@127.0.0.1:PORT/0",
    "redis://user:PW@127.0.0.1:PORT/0",
    "redis://PW@127.0.0.1:PORT/0",
    "redis://user:PW@127.0.0.1:PORT/0?timeout=x",
    "redis://:PW@127.0.0.1:PORT/PW",
    "redis://:PW@127.0.0.1:PORT/0?protocol=PW",
    "redis://:PW@127.0.0.1:port/0",
    "redis://:PW@127.0.0.1:99999/0",
    "redis://:PW@:PORT/0",
    "redis://:PW@",
    "redis://:PW",
    "redis://user:PW",
    "redis://user:PW:127.0.0.1:PORT",
    "redis://:PW@no such host/0",
    "redis://:PW@0.0.0.0:PORT/0",
    "redis://:PW@[::1/0",
    "redis://:PW%@127.0.0.1:PORT/0",
    "redis://:PW%ff@127.0.0.1:PORT/0",
    "redis://:PW/x@127.0.0.1:PORT/0",
    "redis://:PW#x@127.0.0.1:PORT/0",
    "redis://:PW?x@127.0.0.1:PORT/0",
    "redis://:PW@x@127.0.0.1:PORT/0",
    "redis:/:PW@127.0.0.1:PORT/0",
    "redis::PW@127.0.0.1:PORT/0",
    "rediss://:PW@127.0.0.1:PORT/0",
    "rediss://:PW@127.0.0.1:PORT/0#PW",
    "valkey://:PW@127.0.0.1:PORT/0",
    "http://:PW@127.0.0.1:PORT/0",
    "PW://127.0.0.1:PORT/0",
    ":PW@127.0.0.1:PORT",
    "redis+cluster://:PW@127.0.0.1:PORT,127.0.0.1:PORT",
    "redis+cluster://:PW@127.0.0.1:PORT,127.0.0.1:port",
    "redis+cluster://:PW@127.0.0.1:PORT,:PW@127.0.0.1:PORT",
    "redis+cluster://:PW@",
    "redis+sentinel://:PW@127.0.0.1:PORT/main",
    "redis+sentinel://PW@127.0.0.1:PORT,127.0.0.1:PORT/main/0",
    "redis+sentinel://user:PW@127.0.0.1:PORT",
    "redis+sentinel://user:PW@127.0.0.1:PORT/main/PW",
    "redis+sentinel://user:PW%ff@127.0.0.1:port/main/0",
    "redis+sentinel://user:PW@127.0.0.1:PORT/main/0?password=PW",
];

/// Passwords as text in a URL.
pub(crate) const PASSWORDS: [&str; 3] = ["hunter2", "hunter2%40%2F%3A", "hun%74er2"];

/// Returns whether a text contains a password, decoded or not.
pub(crate) fn has_password(text: &str) -> bool {
    text.contains("hunter2") || text.contains("hun%74er2")
}

/// Inserts a port and a password into one of the [`URLS`].
pub(crate) fn fill(url: &str, port: u16, password: &str) -> String {
    url.replace("PORT", &port.to_string()).replace("PW", password)
}
