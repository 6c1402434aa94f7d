//! A client of HTTP/2 that writes any frames, also those that a library refuses to send.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Returns the error code of a GOAWAY or RST_STREAM.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let bytes = self.payload.get(at..at + 4).expect("a code");
        u32::from_be_bytes(bytes.try_into().expect("four bytes"))
    }
}

/// A connection of HTTP/2.
pub(crate) struct RawClient(pub(crate) TcpStream);

impl RawClient {
    /// Sends the preface and these settings.
    pub(crate) async fn start(mut stream: TcpStream, settings: &[(u16, u32)]) -> Self {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("it reads");
        let mut client = Self(stream);
        // The server's encoder must not refer to a table that this client does not keep.
        let all = [(1, 0)].into_iter().chain(settings.iter().copied());
        let payload: Vec<u8> = all
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        client.send(SETTINGS, 0, 0, &payload).await;
        client
    }

    /// Sends a frame. The server may have closed the connection.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let _ = self.0.write_all(&frame(kind, flags, stream, payload)).await;
    }

    /// Sends a GET on a stream.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(path)).await;
    }

    /// Returns the next frame but those that concern settings and windows; `None` if the connection
    /// has been closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.any().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                SETTINGS | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// Returns the next frame of any kind.
    pub(crate) async fn any(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let reading = self.0.read_exact(&mut head);
        timeout(Duration::from_secs(30), reading).await.expect("a frame, or the end").ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Reads until the connection is closed. Returns the frames.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

/// Encodes a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Encodes a GET.
pub(crate) fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", path)])
}

/// Encodes fields as literals that no table keeps (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// Encodes a field that the table keeps (RFC 7541 §6.2.1). Its index is 62 afterwards.
pub(crate) fn indexed(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0x40];
    text(&mut block, name);
    text(&mut block, value);
    block
}

/// A reference to the field that was added to the table last (RFC 7541 §6.1).
pub(crate) const LAST_INDEXED: u8 = 0x80 | 62;

/// Appends a text without Huffman code.
fn text(block: &mut Vec<u8>, text: &str) {
    match text.len().checked_sub(127) {
        None => block.push(u8::try_from(text.len()).expect("short")),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).expect("seven bits"));
        }
    }
    block.extend(text.bytes());
}

/// Returns the status code of a HEADERS frame: this client makes the server write `:status` as an
/// index, or as a literal with or without Huffman code.
pub(crate) fn status(frame: &Frame) -> u16 {
    assert_eq!(frame.kind, HEADERS, "{frame:?}");
    let start = frame.payload.iter().position(|byte| byte & 0xe0 != 0x20).expect("a field");
    let first = frame.payload[start];
    if first & 0x80 != 0 {
        return [200, 204, 206, 304, 400, 404, 500][usize::from(first & 0x7f) - 8];
    }
    let length = frame.payload[start + 1];
    let value = &frame.payload[start + 2..start + 2 + usize::from(length & 0x7f)];
    if length & 0x80 == 0 {
        return std::str::from_utf8(value).expect("digits").parse().expect("a number");
    }
    // Huffman code: 0, 1 and 2 have five bits, the other digits six.
    let mut bits = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut bit = || bits.next().expect("a bit");
    (0..3).fold(0, |number, _| {
        let code = (0..5).fold(0, |code, _| code << 1 | bit());
        number * 10 + if code <= 2 { code } else { (code << 1 | bit()) - 0x19 + 3 }
    })
}
