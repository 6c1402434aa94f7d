//! A database behind the cache: `/users/{id}` and `/users` are read in a transaction, once for all who ask, and what changes
//! takes with it what was read before.
//!
//! `cargo run -p larder-examples --example database` runs on SQLite in memory; with
//! `-- postgres://user:password@localhost/database` on PostgreSQL. Then:
//!
//! ```text
//! curl http://127.0.0.1:8080/users/42
//! curl -X PUT -H 'content-type: application/json' -d '{"name":"Ada"}' http://127.0.0.1:8080/users/42
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

#[derive(Deserialize)]
struct Change {
    name: String,
}

/// What every worker shares.
struct Users {
    database: AnyPool,
    cache: Cache,
}

impl Users {
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

    /// Commit first, remove then, answer last. Removed before the commit, the old row could be read again and kept; and whoever
    /// has the answer reads the new one.
    async fn change(&self, id: i64, name: &str) -> Result<bool, Box<dyn std::error::Error>> {
        let mut transaction = self.database.begin().await?;
        let query = sqlx::query("UPDATE users SET name = $1 WHERE id = $2").bind(name.to_owned()).bind(id);
        let changed = query.execute(&mut *transaction).await?.rows_affected() > 0;
        transaction.commit().await?;
        self.cache.remove_value_group("users").await?;
        Ok(changed)
    }
}

async fn user(users: web::Data<Users>, id: web::Path<i64>) -> actix_web::Result<HttpResponse> {
    let user = users.one(*id).await.map_err(error::ErrorServiceUnavailable)?;
    Ok(user.map_or_else(|| HttpResponse::NotFound().finish(), |user| HttpResponse::Ok().json(user)))
}

async fn list(users: web::Data<Users>) -> actix_web::Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(users.all().await.map_err(error::ErrorServiceUnavailable)?))
}

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

async fn open(url: &str) -> Result<AnyPool, sqlx::Error> {
    sqlx::any::install_default_drivers();
    // A database in memory belongs to its connection.
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
