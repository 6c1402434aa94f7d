//! A server of its own for each test, and a client that sends what a test says.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use actix_web::{App, HttpServer, web::ServiceConfig};
use larder_actix::CacheMiddleware;

/// Serves these routes behind this cache, with two workers, until the process ends.
pub(crate) fn serve(
    cache: CacheMiddleware,
    routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> SocketAddr {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let app = move || App::new().wrap(cache.clone()).configure(routes.clone());
            let server = HttpServer::new(app).workers(2).bind("127.0.0.1:0").expect("a free port");
            sender.send(server.addrs()[0]).expect("the test waits");
            server.run().await.expect("it serves");
        });
    });
    address.recv().expect("it listens")
}

pub(crate) fn open(address: SocketAddr, method: &str, path: &str, rest: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{rest}");
    stream.write_all(request.as_bytes()).expect("it listens");
    stream
}

pub(crate) fn send_for_bytes(address: SocketAddr, method: &str, path: &str, rest: &str) -> (String, Vec<u8>) {
    let mut answer = Vec::new();
    open(address, method, path, rest).read_to_end(&mut answer).expect("it answers");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the head's end");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    (head, answer.split_off(end + 4))
}

pub(crate) fn send(address: SocketAddr, method: &str, path: &str, rest: &str) -> String {
    let mut answer = String::new();
    open(address, method, path, rest).read_to_string(&mut answer).expect("it answers");
    answer
}

pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    send(address, "GET", path, "\r\n")
}

pub(crate) fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, content)| content)
}
