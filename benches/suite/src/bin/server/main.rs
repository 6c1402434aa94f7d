//! Servers for `cargo xtask bench server`: the same pages, bare and behind each cache.
//!
//! `server MODE ADDR [REDIS-OR-DATABASE]`. Each has one worker. `/1k`, `/64k` and `/page` (64 KiB
//! of HTML) may be stored for an hour, `/nostore/1k` must not be stored; `/direct/42` and
//! `/kept/42` read a database row.

mod actix;
mod axum;
mod database;

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::Bytes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The responses, built once.
#[derive(Clone)]
pub(crate) struct Pages {
    small: Bytes,
    large: Bytes,
    html: Bytes,
}

/// Returns a response with its headers.
pub(crate) struct Page {
    pub(crate) body: Bytes,
    pub(crate) kind: &'static str,
    pub(crate) control: &'static str,
}

impl Pages {
    pub(crate) fn new() -> Self {
        let mut html = String::from("<!doctype html>\n<title>a list</title>\n<ul>\n");
        let mut number = 1_u32;
        while html.len() < 64 << 10 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            html.push_str(&format!(
                "<li class=\"item\"><a href=\"/items/{number}\">item {number}</a></li>\n"
            ));
        }
        let of = |length| vec![b'x'; length].into();
        Self { small: of(1 << 10), large: of(64 << 10), html: html.into() }
    }

    pub(crate) fn get(&self, path: &str) -> Page {
        let control = if path.contains("nostore") { "no-store" } else { "public, max-age=3600" };
        let (body, kind) = match path {
            path if path.contains("64k") => (&self.large, "application/octet-stream"),
            path if path.contains("page") => (&self.html, "text/html; charset=utf-8"),
            _ => (&self.small, "application/octet-stream"),
        };
        Page { body: body.clone(), kind, control }
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, mode, address, rest @ ..] = args.as_slice() else {
        bail!("server MODE ADDR [REDIS-OR-DATABASE]")
    };
    let address: SocketAddr = address.parse().context("ADDR is not an address, e.g. 127.0.0.1:9000")?;
    let what = rest.first().map_or("", String::as_str);
    match mode.as_str() {
        "actix-bare" => actix::bare(address),
        "actix-larder" => actix::larder(address, false),
        "actix-larder-compress" => actix::larder(address, true),
        "actix-larder-redis" => actix::larder_redis(address, what),
        "actix-compress" => actix::compress(address),
        "actix-request-reply-cache" => actix::request_reply(address, what),
        "axum-bare" => axum::serve(address, axum::Layered::Bare),
        "axum-larder" => axum::serve(address, axum::Layered::Larder),
        "axum-http-cache" => axum::serve(address, axum::Layered::HttpCache),
        "axum-response-cache" => axum::serve(address, axum::Layered::ResponseCache),
        "axum-tower-http-cache" => axum::serve(address, axum::Layered::TowerHttpCache),
        "database" => database::serve(address, what),
        _ => bail!("there is no mode '{mode}'"),
    }
}
