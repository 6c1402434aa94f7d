#![doc = include_str!("../README.md")]

// Where to change what:
//
// - the path of a request through the proxy: `handle`, then `forward` on a miss
// - which requests are rejected, and with what: `reject`; their route: `route`
// - limits on a request's content: `content`
// - sockets, connections and their timeouts, shutdown: `server`

mod access;
mod body;
mod content;
mod encoding;
mod forward;
mod handle;
mod keyed;
mod options;
mod readings;
mod reject;
mod route;
mod server;
mod trace;

pub use access::{Access, AccessLog};
pub use body::ProxyBody;
pub use handle::ReverseProxy;
pub use options::ProxyOptions;
pub use route::Route;
pub use server::{ProxyServer, Reloader, RunningProxy, ServerHandle, ServerOptions, TlsError};
