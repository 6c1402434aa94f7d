//! Starts a server for each test, and sends requests to it.
#![allow(dead_code, reason = "each test file uses only some of these functions")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use actix_web::{App, HttpServer, web::ServiceConfig};
use larder_actix::CacheMiddleware;

/// Serves these routes behind this cache, with two workers, until the process ends. Returns the
/// address.
pub(crate) fn serve(
    cache: CacheMiddleware,
    routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> SocketAddr {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let app = move || App::new().wrap(cache.clone()).configure(routes.clone());
            let server = HttpServer::new(app).workers(2).bind("127.0.0.1:0").expect("a free port");
            sender.send(server.addrs()[0]).expect("the test waits for the address");
            server.run().await.expect("the server runs");
        });
    });
    address.recv().expect("the server listens")
}

/// Sends a request and returns the connection. `rest` has further header lines, an empty line and
/// content.
pub(crate) fn open(address: SocketAddr, method: &str, path: &str, rest: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{rest}");
    stream.write_all(request.as_bytes()).expect("the server reads");
    stream
}

/// Sends a request and returns the head and the content of the response.
pub(crate) fn send_for_bytes(address: SocketAddr, method: &str, path: &str, rest: &str) -> (String, Vec<u8>) {
    let mut response = Vec::new();
    open(address, method, path, rest).read_to_end(&mut response).expect("a response");
    let end = response.windows(4).position(|window| window == b"\r\n\r\n").expect("the head's end");
    let head = String::from_utf8_lossy(&response[..end]).into_owned();
    (head, response.split_off(end + 4))
}

/// Sends a request and returns the response, with its head.
pub(crate) fn send(address: SocketAddr, method: &str, path: &str, rest: &str) -> String {
    let mut response = String::new();
    open(address, method, path, rest).read_to_string(&mut response).expect("a response");
    response
}

/// Sends bytes, and returns all that the server sends until it closes the connection.
pub(crate) fn send_raw(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(bytes.as_bytes()).expect("the server reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

/// Sends a GET request and returns the response, with its head.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    send(address, "GET", path, "\r\n")
}

/// Returns the content of a response.
pub(crate) fn content(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, content)| content)
}
