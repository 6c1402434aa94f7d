//! The client of a running proxy's admin listener, for `larder purge --admin` and `larder stats
//! --admin`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use larder::{
    client::{CachedClient, RequestBuilder, reqwest::Url},
    proxy::admin_token,
};

use crate::store_url::UsageError;

/// Longest time that a request to the admin listener may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the admin listener is, and the token for it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AdminArgs {
    /// Admin listener of a running proxy, e.g. http://127.0.0.1:9321.
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// File with the admin token; needed if the proxy was started with --admin-token-file.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
}

impl AdminArgs {
    /// Sends a GET request for `path` to the listener at `admin`, and returns the JSON of the
    /// response.
    pub(crate) async fn get(&self, admin: &str, path: &str) -> anyhow::Result<serde_json::Value> {
        self.send(CachedClient::get, admin, path, None).await
    }

    /// Sends a POST request with a JSON body to the listener at `admin`, and returns the JSON of
    /// the response.
    pub(crate) async fn post(
        &self,
        admin: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        self.send(CachedClient::post, admin, path, Some(body)).await
    }

    /// Sends a request with the token. A response with an `error` member is an error.
    async fn send(
        &self,
        method: fn(&CachedClient, Url) -> RequestBuilder,
        admin: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<serde_json::Value> {
        let url = Url::parse(admin).and_then(|url| url.join(path)).map_err(|error| {
            UsageError(format!("--admin {admin} is not a URL: {error}; e.g. --admin http://127.0.0.1:9321"))
        })?;
        let client = CachedClient::builder().no_proxy().build()?;
        let mut request = method(&client, url).timeout(TIMEOUT);
        if let Some(path) = &self.admin_token_file {
            let token = admin_token(path);
            let token = token.map_err(|error| UsageError(format!("--admin-token-file: {error}")))?;
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|error| {
            // The error's own text has the URL and the innermost cause; its sources would repeat
            // them.
            anyhow!(
                "can't reach the admin listener: {error}; is the proxy running, and was it started with --admin?"
            )
        })?;
        let status = response.status();
        let text = response.text().await?;
        let json: serde_json::Value = serde_json::from_str(&text).with_context(|| {
            format!(
                "{admin} is not the admin listener of a proxy (see its --admin): it answered {status} without JSON"
            )
        })?;
        if status == 401 {
            bail!("{admin}: the admin token is missing or wrong; pass it with --admin-token-file FILE");
        }
        match json.get("error").and_then(|error| error.as_str()) {
            Some(error) => bail!("{admin}: {error}"),
            None => Ok(json),
        }
    }
}
