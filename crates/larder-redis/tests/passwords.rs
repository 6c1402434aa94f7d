//! Tests that no error, no `Debug` output and no log of this crate contains a password.

mod setting;

use std::time::Duration;

use larder_redis::{RedisOptions, RedisStore};
use setting::{
    Server,
    urls::{PASSWORDS, URLS, fill, has_password},
};

#[tokio::test]
async fn no_error_and_no_debug_output_contains_a_password() {
    let server = Server::start(&["--requirepass", "another"]);
    let (open, closed) = (server.port, setting::free_port());
    for port in [open, closed] {
        for (url, password) in URLS.iter().flat_map(|url| PASSWORDS.map(|password| (url, password))) {
            let url = fill(url, port, password);
            for lazy in [false, true] {
                let options = RedisOptions::default()
                    .with_lazy_connect(lazy)
                    .with_connect_timeout(Duration::from_millis(20));
                let text = match RedisStore::connect(&url, options).await {
                    Ok(store) => {
                        format!("{store:?} {:?}", store.stats().await.map_err(|error| error.to_string()))
                    }
                    Err(error) => format!("{error} {error:?}"),
                };
                assert!(!has_password(&text), "{url}: {text}");
            }
            if let Err(error) = RedisStore::check_url(&url) {
                assert!(!has_password(&format!("{error} {error:?}")), "{url}: {error:?}");
            }
        }
    }
}
