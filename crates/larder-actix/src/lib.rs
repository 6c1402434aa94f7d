#![doc = include_str!("../README.md")]

mod body;
mod bridge;
mod content;
mod convert;
mod encoding;
mod etag;
mod fingerprint;
mod middleware;
mod respond;
mod settings;
mod target;

pub use body::ResponseBody;
pub use fingerprint::is_fingerprinted;
pub use middleware::CacheMiddlewareService;
pub use settings::CacheMiddleware;
