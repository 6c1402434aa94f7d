//! A database row, read for each request, and cached as a value.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, error, web};
use larder_core::Cache;
use larder_memoize::Values as _;
use larder_memory::MemoryStore;
use sqlx::{AnyPool, Row as _, any::AnyPoolOptions};

struct Users {
    database: AnyPool,
    cache: Cache,
}

async fn read(database: AnyPool, id: i64) -> Result<String, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let query = sqlx::query("SELECT name FROM users WHERE id = $1").bind(id);
    let row = query.fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(row.get("name"))
}

async fn direct(users: web::Data<Users>, id: web::Path<i64>) -> actix_web::Result<HttpResponse> {
    let name = read(users.database.clone(), *id).await.map_err(error::ErrorInternalServerError)?;
    Ok(HttpResponse::Ok().json(name))
}

async fn kept(users: web::Data<Users>, id: web::Path<i64>) -> actix_web::Result<HttpResponse> {
    let (database, id) = (users.database.clone(), *id);
    let value = users.cache.value(&format!("user:{id}")).ttl(Duration::from_secs(3600)).groups(["users"]);
    let name: String = value
        .get_or_try_insert_with(move || read(database.clone(), id))
        .await
        .map_err(error::ErrorInternalServerError)?;
    Ok(HttpResponse::Ok().json(name))
}

pub(crate) fn serve(address: SocketAddr, url: &str) -> anyhow::Result<()> {
    let url = url.to_owned();
    sqlx::any::install_default_drivers();
    actix_rt::System::new().block_on(async move {
        let options = AnyPoolOptions::new().idle_timeout(None).max_lifetime(None);
        let in_memory = url.starts_with("sqlite::memory:");
        let database = options.max_connections(if in_memory { 1 } else { 16 }).connect(&url).await?;
        sqlx::query("CREATE TABLE IF NOT EXISTS users (id BIGINT PRIMARY KEY, name TEXT NOT NULL)")
            .execute(&database)
            .await?;
        sqlx::query("INSERT INTO users VALUES (42, 'Ada') ON CONFLICT DO NOTHING").execute(&database).await?;
        let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
        let users = web::Data::new(Users { database, cache });
        let app = move || {
            App::new()
                .app_data(users.clone())
                .route("/direct/{id}", web::get().to(direct))
                .route("/kept/{id}", web::get().to(kept))
        };
        Ok(HttpServer::new(app).workers(1).bind(address)?.run().await?)
    })
}
