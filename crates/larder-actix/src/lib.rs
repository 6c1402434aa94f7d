#![doc = include_str!("../README.md")]

mod body;
mod channel;
mod http02;
mod middleware;
mod proxy;
mod respond;

pub use body::AnswerBody;
pub use middleware::{Cache, CacheMiddleware};
pub use proxy::{ProxyOptions, ProxyServer, ReverseProxy, RunningProxy, ServerOptions, TlsError};
