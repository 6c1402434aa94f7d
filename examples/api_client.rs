//! Shows a test of an API client without a network: a cassette replays the responses of the server,
//! which are files in `examples/cassettes`.
//!
//! ```text
//! cargo run -p larder-examples --example api_client
//! ```
//!
//! Change a request, and the error shows what was recorded. `CASSETTE=record` would send the
//! requests and record them again, if `api.example.com` were a server.

use larder::{
    cassette::{Cassette, Mode},
    client::{CachedClient, CachedClientBuilder, Error},
};
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize)]
struct User {
    id: u64,
    name: String,
}

/// The client under test.
struct Api {
    http: CachedClient,
}

impl Api {
    fn new(http: CachedClientBuilder) -> Result<Self, Error> {
        Ok(Self { http: http.build()? })
    }

    async fn add_user(&self, name: &str) -> Result<User, Error> {
        let request = self.http.post("https://api.example.com/users").bearer_auth("a secret");
        request.json(&json!({ "name": name })).send().await?.error_for_status()?.json().await
    }

    async fn user(&self, id: u64) -> Result<User, Error> {
        let url = format!("https://api.example.com/users/{id}");
        self.http.get(url).send().await?.error_for_status()?.json().await
    }
}

/// Replays, unless the variable `CASSETTE` is `record` or `record-missing`.
fn mode() -> Mode {
    match std::env::var("CASSETTE") {
        Ok(mode) => mode.parse().expect("CASSETTE is replay, record or record-missing"),
        Err(_) => Mode::Replay,
    }
}

/// In a project of its own, this would be a `#[tokio::test]`.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cassette = Cassette::open(concat!(env!("CARGO_MANIFEST_DIR"), "/cassettes/api_client"), mode())?;
    let api = Api::new(CachedClient::builder().map_origin(cassette.wrap()))?;
    let added = api.add_user("Anna").await?;
    println!("added {} as {}", added.name, added.id);
    println!("found {}", api.user(added.id).await?.name);
    // The page is fresh for a minute, as when it was recorded: the cache above has it.
    println!("found {}", api.user(added.id).await?.name);
    println!("unknown: {}", api.user(7).await.expect_err("the server has no such user"));
    cassette.finish().await?;
    Ok(())
}
