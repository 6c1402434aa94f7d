//! Shows how to write a store: SQLite as a map from names to values, which `KeyValueStore` makes a
//! complete store. The test `tests/sqlite_store.rs` runs the store contract on it.
//!
//! ```text
//! cargo run -p larder-examples --example sqlite_store
//! ```
//!
//! The program fetches a page, closes the database, opens it again, and gets the page from there.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use larder::{
    client::CachedClient,
    core::{Clock as _, KeyValue, KeyValueStore, StoreError, StoreErrorKind, SystemClock, Timestamp},
};
use larder_examples::LocalServer;
use sqlx::{
    Row as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// A table of a SQLite database. Several processes may open it.
#[derive(Debug)]
pub(crate) struct Sqlite(SqlitePool);

impl Sqlite {
    /// Opens the database at `path`, and creates it if it does not exist.
    pub(crate) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        // After a power failure the last transactions may be missing, which is allowed: a cache
        // may lose entries. A killed process loses nothing.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            // Each call of a store must return in bounded time.
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().acquire_timeout(Duration::from_secs(5));
        let pool = pool.connect_with(options).await?;
        let table = "CREATE TABLE IF NOT EXISTS cache \
            (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, keep_until INTEGER NOT NULL)";
        sqlx::query(table).execute(&pool).await?;
        Ok(Self(pool))
    }

    /// Deletes the values that have expired at `now`. Returns their number.
    pub(crate) async fn delete_expired(&self, now: Timestamp) -> Result<u64, sqlx::Error> {
        let query = sqlx::query("DELETE FROM cache WHERE keep_until < ?").bind(millis(now));
        Ok(query.execute(&self.0).await?.rows_affected())
    }
}

/// Converts an error. The message has neither the URL nor the key: they may be secret.
fn failed(error: sqlx::Error) -> StoreError {
    let kind = match &error {
        // The database or the disk is full.
        sqlx::Error::Database(error) if error.code().as_deref() == Some("13") => StoreErrorKind::Full,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, "sqlite", "a query failed").with_source(error)
}

/// Converts an instant to SQLite's integers, which are signed.
fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait::async_trait]
impl KeyValue for Sqlite {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let query = sqlx::query("SELECT value FROM cache WHERE name = ?").bind(name.to_owned());
        let row = query.fetch_optional(&self.0).await.map_err(failed)?;
        Ok(row.map(|row| row.get::<Vec<u8>, _>("value").into()))
    }

    async fn put(&self, name: &str, value: Bytes, keep_until: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT OR REPLACE INTO cache (name, value, keep_until) VALUES (?, ?, ?)");
        let query = query.bind(name.to_owned()).bind(Vec::from(value)).bind(millis(keep_until));
        query.execute(&self.0).await.map(drop).map_err(failed)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM cache WHERE name = ?").bind(name.to_owned());
        query.execute(&self.0).await.map(drop).map_err(failed)
    }

    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        // `~` comes after all bytes of a name. The range uses the index of the primary key.
        let query = "SELECT name FROM cache WHERE name >= ? AND name < ? AND name > ? ORDER BY name LIMIT ?";
        let query = sqlx::query(query).bind(prefix.to_owned()).bind(format!("{prefix}~"));
        let query = query.bind(after.to_owned()).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.0).await.map_err(failed)?;
        Ok(rows.iter().map(|row| row.get("name")).collect())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = LocalServer::start(Duration::from_secs(60)).await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("cache.sqlite");
    for attempt in ["first", "second"] {
        let database = Sqlite::open(&path).await?;
        // A server does this once an hour.
        database.delete_expired(SystemClock.now()).await?;
        let store = KeyValueStore::new(database);
        let client = CachedClient::builder().store(Arc::new(store)).partition("me").build()?;
        let page = client.get(format!("{}/page", server.url)).send().await?;
        print!("{attempt}, {}: {}", page.outcome(), page.text().await?);
        // The response is stored by a background task: wait until it has finished.
        client.cache().drain(Duration::from_secs(5)).await;
    }
    Ok(())
}
