#![doc = include_str!("../README.md")]

mod batch;
mod builder;
mod client;
mod content;
mod cookies;
mod error;
mod hosts;
#[cfg(feature = "middleware")]
mod middleware;
mod origin;
mod outcome;
mod parts;
mod redirect;
#[cfg(feature = "refresh")]
mod refresh;
mod request;
mod response;
mod retry;
mod text;
mod wishes;

pub use batch::{Batch, Fetched};
pub use builder::CachedClientBuilder;
pub use client::CachedClient;
pub use error::{Error, ErrorKind};
pub use larder_core::{Arrived, CacheMode, CacheStatus, Overrides};
#[cfg(feature = "middleware")]
pub use middleware::CacheMiddleware;
pub use origin::ReqwestOrigin;
pub use outcome::Outcome;
#[cfg(feature = "refresh")]
pub use refresh::{CronError, Event, Events, Refresh, Refresher, RefresherBuilder, Validators, When};
pub use request::RequestBuilder;
pub use reqwest;
pub use response::Response;
pub use retry::Retry;
