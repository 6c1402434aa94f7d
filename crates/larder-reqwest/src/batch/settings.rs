//! The settings of a batch.

use std::sync::Arc;

use http::Method;

use super::report::HostPause;
use crate::{RequestBuilder, Retry, rate::Rates};

type MapRequest = Arc<dyn Fn(RequestBuilder) -> RequestBuilder + Send + Sync>;
type OnPause = Arc<dyn Fn(&HostPause) + Send + Sync>;

/// The settings of a batch.
pub(super) struct Settings {
    pub(super) concurrency: usize,
    pub(super) method: Method,
    pub(super) retry: Retry,
    pub(super) rates: Option<Arc<Rates>>,
    pub(super) ordered: bool,
    pub(super) streaming: bool,
    pub(super) map_request: Option<MapRequest>,
    pub(super) on_pause: Option<OnPause>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 32,
            method: Method::GET,
            retry: Retry::new(0),
            rates: None,
            ordered: false,
            streaming: false,
            map_request: None,
            on_pause: None,
        }
    }
}
