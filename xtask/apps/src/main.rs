//! The programs around the cache in `cargo xtask attacks`: two applications, and a TLS client.
//!
//! The first argument selects one. `actix` and `axum` are applications with a cache in front of one
//! handler, which lets the runner decide the response ([`script`]); a third argument, `balancer`,
//! puts them behind a load balancer. `certificate` creates a certificate for a proxy, and `tunnel`
//! forwards plain bytes to it over TLS, so that the runner can write HTTP/2 frames itself.

mod actix;
mod axum_app;
mod script;
mod tls;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().context("give actix, axum, certificate or tunnel")?;
    let argument = arguments.next().context("give the address of the script, or a directory")?;
    let is_behind_balancer = arguments.next().as_deref() == Some("balancer");
    match &*program {
        "actix" => actix::run(&argument, is_behind_balancer),
        "axum" => axum_app::run(&argument, is_behind_balancer),
        "certificate" => tls::write_certificate(&argument),
        "tunnel" => tls::run_tunnel(&argument),
        _ => anyhow::bail!("unknown program {program}"),
    }
}
