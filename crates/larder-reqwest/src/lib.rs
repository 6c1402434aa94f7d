#![doc = include_str!("../README.md")]

mod batch;
mod builder;
mod client;
mod codings;
mod cookies;
mod deadline;
mod defaults;
mod error;
mod hosts;
#[cfg(feature = "middleware")]
mod middleware;
mod origin;
mod parts;
mod redirect;
#[cfg(feature = "refresh")]
mod refresh;
mod replayable_body;
mod request;
mod request_options;
mod response;
mod retry;
mod sending;
mod text;

pub use batch::{Batch, Fetched};
pub use builder::CachedClientBuilder;
pub use client::CachedClient;
pub use error::{Error, ErrorKind};
pub use larder_core::{CacheMode, CacheOutcome, CacheStatus, Overrides, ResponseContext};
#[cfg(feature = "middleware")]
pub use middleware::CachingMiddleware;
pub use origin::{NetworkOrigin, ReqwestOrigin};
pub use redirect::{Redirect, RedirectPolicy};
#[cfg(feature = "refresh")]
pub use refresh::{
    InvalidCron, RefreshEvent, RefreshEvents, RefreshOutcome, Refresher, RefresherBuilder, Schedule,
    Validators,
};
pub use request::RequestBuilder;
pub use reqwest;
pub use response::Response;
pub use retry::Retry;
