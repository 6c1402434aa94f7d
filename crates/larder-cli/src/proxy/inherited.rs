//! Takes the sockets that a service manager has opened for this process (socket activation).
//!
//! They follow the protocol of systemd: `LISTEN_PID` is this process, `LISTEN_FDS` the number of
//! sockets from descriptor 3 on, and `LISTEN_FDNAMES` their names, separated by colons.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use listenfd::ListenFd;

/// Returns the names and sockets in the order of their descriptors, and removes the variables. A
/// socket without a name has its position.
pub(super) fn sockets() -> anyhow::Result<Vec<(String, OwnedFd)>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut inherited = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(inherited.len());
    for position in 0..inherited.len() {
        let name = names.next().filter(|name| !name.is_empty());
        let name = name.map_or_else(|| position.to_string(), str::to_owned);
        let tcp = inherited.take_tcp_listener(position).ok().flatten().map(OwnedFd::from);
        let socket = match tcp {
            Some(socket) => Some(socket),
            None => inherited.take_unix_listener(position).map(|socket| socket.map(OwnedFd::from)).with_context(
                || format!("the inherited socket {position} ({name}, LISTEN_FDS) is neither for TCP nor a Unix socket"),
            )?,
        };
        sockets.extend(socket.map(|socket| (name, socket)));
    }
    Ok(sockets)
}
