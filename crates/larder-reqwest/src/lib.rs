#![doc = include_str!("../README.md")]

mod batch;
#[cfg(feature = "blocking")]
mod blocking;
mod builder;
mod client;
mod codings;
mod cookies;
mod deadline;
mod defaults;
mod download;
mod error;
mod hosts;
#[cfg(feature = "middleware")]
mod middleware;
mod origin;
mod parts;
mod rate;
mod redirect;
#[cfg(feature = "refresh")]
mod refresh;
mod replayable_body;
mod request;
mod request_options;
mod response;
mod retry;
mod sending;
mod service;
mod text;
mod unseen_redirects;

pub use batch::{Batch, Fetched, HostPause};
#[cfg(feature = "blocking")]
pub use blocking::{BlockingClient, BlockingRequest, BlockingResponse};
pub use builder::CachedClientBuilder;
pub use client::CachedClient;
pub use download::{Download, Part};
pub use error::{Error, ErrorKind};
pub use larder_core::{CacheMode, CacheOutcome, CacheStatus, Overrides, ResponseContext};
#[cfg(feature = "middleware")]
pub use middleware::CachingMiddleware;
pub use origin::{NetworkOrigin, ReqwestOrigin};
pub use rate::{InvalidRate, RateLimit};
pub use redirect::{Redirect, RedirectPolicy};
#[cfg(feature = "refresh")]
pub use refresh::{
    InvalidCron, RefreshEvent, RefreshEvents, RefreshOutcome, RefreshReason, Refresher, RefresherBuilder,
    Schedule, Validators,
};
pub use request::RequestBuilder;
pub use reqwest;
pub use response::Response;
pub use retry::Retry;
