//! Shows larder-memoize: a server caches rows of a database, and removes them from the cache when a
//! row is updated.
//!
//! ```text
//! cargo run -p larder-examples --example database
//! cargo run -p larder-examples --example database -- postgres://user:password@localhost/database
//! ```
//!
//! The first command uses SQLite in memory, the second PostgreSQL. A second argument sets the
//! address to listen on (default `127.0.0.1:8080`). Then, in another terminal:
//!
//! ```text
//! curl http://127.0.0.1:8080/users
//! curl http://127.0.0.1:8080/users/42
//! curl -X PUT -H 'content-type: application/json' -d '{"name":"Ada"}' \
//!     http://127.0.0.1:8080/users/42
//! ```

use std::{sync::Arc, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, error, web};
use larder::{
    core::Cache,
    memoize::{ValueError, Values as _},
    prelude::MemoryStore,
};
use serde::{Deserialize, Serialize};
use sqlx::{AnyPool, Row as _, any::AnyPoolOptions};

#[derive(Debug, Serialize, Deserialize)]
struct User {
    id: i64,
    name: String,
}

/// The body of a PUT request.
#[derive(Deserialize)]
struct Change {
    name: String,
}

/// The database and its cache, shared by all workers.
struct Users {
    database: AnyPool,
    cache: Cache,
}

impl Users {
    /// Returns the user with this id. Concurrent calls run one query.
    async fn one(&self, id: i64) -> Result<Option<User>, ValueError<sqlx::Error>> {
        let database = self.database.clone();
        let load = move || {
            let database = database.clone();
            async move {
                let mut transaction = database.begin().await?;
                let query = sqlx::query("SELECT id, name FROM users WHERE id = $1").bind(id);
                let row = query.fetch_optional(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(row.map(|row| User { id: row.get("id"), name: row.get("name") }))
            }
        };
        let value = self.cache.value(&format!("user:{id}")).ttl(Duration::from_secs(60)).groups(["users"]);
        value.get_or_try_insert_with(load).await
    }

    /// Returns all users.
    async fn all(&self) -> Result<Vec<User>, ValueError<sqlx::Error>> {
        let database = self.database.clone();
        let load = move || {
            let database = database.clone();
            async move {
                let rows = sqlx::query("SELECT id, name FROM users ORDER BY id").fetch_all(&database).await?;
                Ok(rows.iter().map(|row| User { id: row.get("id"), name: row.get("name") }).collect())
            }
        };
        let value = self.cache.value("users").ttl(Duration::from_secs(60)).groups(["users"]);
        value.get_or_try_insert_with(load).await
    }

    /// Renames a user. Returns whether the user exists.
    ///
    /// The order matters: first commit, then remove from the cache, then respond. If the removal
    /// preceded the commit, another request could read and cache the old row in between. Because
    /// the response is last, a client that has received it reads the new name.
    async fn change(&self, id: i64, name: &str) -> Result<bool, Box<dyn std::error::Error>> {
        let mut transaction = self.database.begin().await?;
        let query = sqlx::query("UPDATE users SET name = $1 WHERE id = $2").bind(name.to_owned()).bind(id);
        let changed = query.execute(&mut *transaction).await?.rows_affected() > 0;
        transaction.commit().await?;
        self.cache.remove_value_group("users").await?;
        Ok(changed)
    }
}

/// Handles `GET /users/{id}`.
async fn user(users: web::Data<Users>, id: web::Path<i64>) -> actix_web::Result<HttpResponse> {
    let user = users.one(*id).await.map_err(error::ErrorServiceUnavailable)?;
    Ok(user.map_or_else(|| HttpResponse::NotFound().finish(), |user| HttpResponse::Ok().json(user)))
}

/// Handles `GET /users`.
async fn list(users: web::Data<Users>) -> actix_web::Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(users.all().await.map_err(error::ErrorServiceUnavailable)?))
}

/// Handles `PUT /users/{id}`.
async fn change(
    users: web::Data<Users>,
    id: web::Path<i64>,
    change: web::Json<Change>,
) -> actix_web::Result<HttpResponse> {
    let changed = users
        .change(*id, &change.name)
        .await
        .map_err(|error| error::ErrorServiceUnavailable(error.to_string()))?;
    Ok(if changed { HttpResponse::NoContent() } else { HttpResponse::NotFound() }.finish())
}

/// Connects to the database, and creates a table with 100 users.
async fn open(url: &str) -> Result<AnyPool, sqlx::Error> {
    sqlx::any::install_default_drivers();
    // Each connection to SQLite in memory has its own database: use one, and never close it.
    let in_memory = url.starts_with("sqlite::memory:");
    let options = AnyPoolOptions::new().acquire_timeout(Duration::from_secs(5));
    let options =
        if in_memory { options.max_connections(1).idle_timeout(None).max_lifetime(None) } else { options };
    let database = options.connect(url).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS users (id BIGINT PRIMARY KEY, name TEXT NOT NULL)")
        .execute(&database)
        .await?;
    for id in 1..=100_i64 {
        sqlx::query("INSERT INTO users (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(id)
            .bind(format!("user {id}"))
            .execute(&database)
            .await?;
    }
    Ok(database)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "sqlite::memory:".to_owned());
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    actix_rt::System::new().block_on(async {
        let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
        let users = web::Data::new(Users { database: open(&url).await?, cache });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(users.clone())
                .route("/users", web::get().to(list))
                .route("/users/{id}", web::get().to(user))
                .route("/users/{id}", web::put().to(change))
        });
        let server = server.bind(listen)?;
        println!("listening on http://{}", server.addrs()[0]);
        Ok(server.run().await?)
    })
}
