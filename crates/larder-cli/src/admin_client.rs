//! Talking to a running proxy's admin listener.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use larder::client::{CachedClient, RequestBuilder, reqwest::Url};

use crate::{proxy::read_token, store_url::UsageError};

/// Where it is, and what it wants to see.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Remote {
    /// A running proxy's admin listener, e.g. http://127.0.0.1:9321.
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// The token that it wants, in a file: the one of --admin-token-file.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
}

impl Remote {
    /// Asks for a page of it.
    pub(crate) async fn get(&self, admin: &str, path: &str) -> anyhow::Result<serde_json::Value> {
        self.send(CachedClient::get, admin, path, None).await
    }

    /// Has it do something.
    pub(crate) async fn post(
        &self,
        admin: &str,
        path: &str,
        what: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        self.send(CachedClient::post, admin, path, Some(what)).await
    }

    async fn send(
        &self,
        method: fn(&CachedClient, Url) -> RequestBuilder,
        admin: &str,
        path: &str,
        what: Option<&serde_json::Value>,
    ) -> anyhow::Result<serde_json::Value> {
        let url = Url::parse(admin).and_then(|url| url.join(path)).map_err(|error| {
            UsageError(format!("--admin {admin}: {error}; e.g. --admin http://127.0.0.1:9321"))
        })?;
        let client = CachedClient::builder().no_proxy().build()?;
        let mut request = method(&client, url).timeout(Duration::from_secs(60));
        if let Some(path) = &self.admin_token_file {
            request = request.bearer_auth(read_token(path)?);
        }
        if let Some(what) = what {
            request = request.header("content-type", "application/json").body(what.to_string());
        }
        let response = request.send().await.with_context(|| {
            format!("can't reach {admin}; was the proxy started with --admin, and does it run?")
        })?;
        let status = response.status();
        let text = response.text().await?;
        let answer: serde_json::Value = serde_json::from_str(&text).with_context(|| {
            format!("{admin} answered {status}, and not as a proxy's admin listener does")
        })?;
        if status == 401 {
            bail!("{admin} wants a token: --admin-token-file FILE");
        }
        match answer.get("error").and_then(|error| error.as_str()) {
            Some(error) => bail!("{admin}: {error}"),
            None => Ok(answer),
        }
    }
}
