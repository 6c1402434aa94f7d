//! A WebSocket: its handshake and frames, origins that accept it, and what a client reads.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream as StdStream,
};

use larder_testkit::RawOrigin;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

use super::{PATIENCE, read_response, status};

/// The handshake and the frames of RFC 6455 §1.3 and §5.7.
pub(crate) const HANDSHAKE: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: site.test\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
pub(crate) const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nKeep-Alive: x\r\n\r\n";
pub(crate) const MASKED_HELLO: [u8; 11] = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
pub(crate) const HELLO: [u8; 7] = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];

pub(crate) const GET: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: site.test\r\n\r\n";

/// Returns an origin that accepts and then does `talk`, and answers other requests.
pub(crate) fn accepting(talk: impl Fn(&mut StdStream) + Send + Sync + 'static) -> RawOrigin {
    RawOrigin::start(move |head, stream| {
        if head.to_ascii_lowercase().contains("\r\nupgrade:") {
            if stream.write_all(ACCEPTED.as_bytes()).is_ok() {
                talk(stream);
            }
            return false;
        }
        let page = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\npage";
        stream.write_all(page).is_ok()
    })
}

/// Sends back what comes.
pub(crate) fn echo(stream: &mut StdStream) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}

/// Reads the head of a 101 response.
pub(crate) async fn switched(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let head = read_response(stream).await;
    assert_eq!(status(&head), 101, "{head}");
    head
}

/// Reads as many bytes as are in `expected`, and compares them.
pub(crate) async fn expect(stream: &mut (impl AsyncRead + Unpin), expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("in time").expect("open");
    assert!(bytes == expected, "other bytes");
}
