//! Lets the runner respond: sends it a request as a handler sees it, and reads the response.
//!
//! The request is a line `APP URL HEAD-LENGTH BODY-LENGTH`, the head as in HTTP/1.1, and the body.
//! The response is as in HTTP/1.0: a head, and a body until the end of the connection.

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A request as its handler sees it.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: String,
    /// The URL of the request, as the handler would write it into a link.
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) body: &'a [u8],
}

/// A response, as the handler returns it.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Returns the response of the script at `address`.
pub(crate) async fn respond(address: &str, request: &Request<'_>) -> anyhow::Result<Response> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
    for (name, value) in &request.headers {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    let mut stream = TcpStream::connect(address).await?;
    let first = format!("APP {} {} {}\r\n", request.url, head.len(), request.body.len());
    stream.write_all(&[first.as_bytes(), &head, request.body].concat()).await?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await?;
    parse(&response).context("the script sent no response")
}

fn parse(response: &[u8]) -> Option<Response> {
    let end = response.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&response[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    // The framework sets the length itself.
    let headers = headers.filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Response { status, headers, body: response[end + 4..].to_vec() })
}
