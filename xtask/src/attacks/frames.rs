//! An HTTP/2 client that writes any header fields, also those that a library refuses to send.
//!
//! It encodes each field as a literal (RFC 7541 §6.2.2), and decodes nothing of a response but
//! `:status` and the content.

use std::net::SocketAddr;

use anyhow::Context as _;

use super::client::{Client, Reply};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Status codes at the indexes 8 to 14 of the static table.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// A request, of any fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Option<String>,
    pub(super) trailers: Vec<(String, String)>,
}

/// Sends one request on a connection of its own. A response with status 0 stands for a stream or a
/// connection that the server has closed with an error.
pub(super) fn exchange(address: SocketAddr, message: &Message) -> anyhow::Result<Reply> {
    let mut client = Client::connect(address)?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // The server's encoder must not refer to a table that this client does not keep.
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
    let ends = |last: bool| if last { END_STREAM } else { 0 };
    let has_trailers = !message.trailers.is_empty();
    let head = END_HEADERS | ends(message.body.is_none() && !has_trailers);
    bytes.extend(frame(HEADERS, head, 1, &block(&message.fields)));
    if let Some(body) = &message.body {
        bytes.extend(frame(DATA, ends(!has_trailers), 1, body.as_bytes()));
    }
    if has_trailers {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&message.trailers)));
    }
    client.send(&bytes);
    let mut reply = Reply { version: "HTTP/2".to_owned(), ..Reply::default() };
    loop {
        let Some(head) = client.exact(9) else { return Ok(Reply::default()) };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags, stream) = (head[3], head[4], head[8]);
        let payload = client.exact(length).context("a cut frame")?;
        match kind {
            SETTINGS if flags & ACK == 0 => client.send(&frame(SETTINGS, ACK, 0, &[])),
            PING if flags & ACK == 0 => client.send(&frame(PING, ACK, 0, &payload)),
            RST_STREAM if stream == 1 && reply.status == 0 => return Ok(Reply::default()),
            GOAWAY if payload.get(4..8).is_some_and(|code| code != [0; 4]) => return Ok(Reply::default()),
            HEADERS if stream == 1 && reply.status < 200 => reply.status = status(&payload).unwrap_or(0),
            DATA if stream == 1 => reply.body.push_str(&String::from_utf8_lossy(&payload)),
            _ => {}
        }
        let ended = flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA) || kind == RST_STREAM;
        if stream == 1 && ended {
            return Ok(Reply { complete: kind != RST_STREAM, ..reply });
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

/// Encodes fields as literals that no table keeps.
fn block(fields: &[(String, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.bytes());
        }
    }
    block
}

/// Appends an integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(block: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else {
        return block.push(u8::try_from(value).unwrap_or(0));
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or(0));
}

/// Reads `:status`, which is the first field of a response.
fn status(block: &[u8]) -> Option<u16> {
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    let first = block[start];
    let known = |index: u8| STATUSES.get(usize::from(index).checked_sub(8)?).copied();
    if first & 0x80 != 0 {
        return known(first & 0x7f);
    }
    let length = block.get(start + 1)?;
    let value = block.get(start + 2..start + 2 + usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(value).ok()?.parse().ok();
    }
    digits(value)
}

/// Decodes three digits in Huffman code: 0, 1 and 2 have five bits, the others six.
fn digits(value: &[u8]) -> Option<u16> {
    let mut bits = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next()?;
        }
        let digit = if code <= 2 { code } else { (code << 1 | bits.next()?).checked_sub(0x19)? + 3 };
        number = number * 10 + digit;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_are_decoded() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8c]), Some(400));
        assert_eq!(status(&[0x08, 0x03, b'4', b'2', b'1']), Some(421));
        // 502 is 011011 00000 00010, filled up with ones; 307 is 011001 00000 011101.
        assert_eq!(status(&[0x48, 0x82, 0b0110_1100, 0b0000_0010]), Some(502));
        assert_eq!(status(&[0x48, 0x83, 0b0110_0100, 0b0000_1110, 0b1111_1111]), Some(307));
    }

    #[test]
    fn long_values_are_encoded() {
        let mut block = Vec::new();
        integer(&mut block, 126);
        integer(&mut block, 127);
        integer(&mut block, 1337);
        assert_eq!(block, [126, 127, 0, 127, 0b1011_1010, 9]);
    }
}
