//! What `get` and `watch` share: where they fetch from, and who they say they are.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::USER_AGENT};
use larder::{client::CachedClient, core::TargetUri};

use crate::store_url::{self, UsageError};

/// What stands in the keys of one user's responses, so that a proxy on the same store never finds them.
pub(crate) const PRIVATE: &str = "private";

/// Where responses are kept, and how they are asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Fetching {
    /// Where responses are kept: disk:PATH?max=10GiB, memory, redis://host. [default: disk, in your cache directory]
    #[arg(long, value_name = "SPEC")]
    store: Vec<String>,
    /// Send this field; may be given more than once.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Give up on a response that makes no progress for so long.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Fetching {
    /// Whether it can be meant, before anything is opened.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        parse_fields(&self.header)?;
        store_url::check(&self.store)
    }

    pub(crate) async fn client(&self) -> anyhow::Result<CachedClient> {
        let builder = CachedClient::builder()
            .store(store_url::store_or_disk(&self.store).await?)
            .partition(PRIVATE)
            .default_headers(parse_fields(&self.header)?)
            .connect_timeout(self.timeout.min(Duration::from_secs(10)))
            .read_timeout(self.timeout);
        Ok(builder.build()?)
    }
}

/// The fields that `--header` names, and who we are.
pub(crate) fn parse_fields(headers: &[String]) -> Result<HeaderMap, UsageError> {
    let mut fields = HeaderMap::new();
    fields.insert(USER_AGENT, HeaderValue::from_static(concat!("larder/", env!("CARGO_PKG_VERSION"))));
    for header in headers {
        let parsed = header.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = parsed.ok_or_else(|| {
            UsageError(format!("--header '{header}' is not a field; e.g. --header 'Accept-Language: de'"))
        })?;
        fields.insert(name, value);
    }
    Ok(fields)
}

pub(crate) fn parse_target(url: &str, command: &str) -> Result<TargetUri, UsageError> {
    TargetUri::parse(url)
        .map_err(|error| UsageError(format!("{url}: {error}; e.g. {command} https://example.com/")))
}

/// What goes on until it ends, or until somebody presses Ctrl-C: `None`.
pub(crate) async fn until_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = tokio::signal::ctrl_c() => None,
    }
}

/// Several threads: connections go on while a file is written.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
