//! Reads the window of a Zstandard frame from its header (RFC 8878 §3.1.1.1): the memory that a
//! decoder needs.

/// Bytes at the beginning of a frame that are enough to know its window.
pub(crate) const HEADER: usize = 18;

/// Largest window of content in this coding, in bytes (RFC 9659 §3).
pub(crate) const MAX_WINDOW: u64 = 8 << 20;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SINGLE_SEGMENT: u8 = 0x20;

/// Returns the size of the window, in bytes. `None` if these bytes are not the beginning of a
/// frame.
pub(crate) fn window(bytes: &[u8]) -> Option<u64> {
    let (descriptor, rest) = bytes.strip_prefix(&MAGIC)?.split_first()?;
    if descriptor & SINGLE_SEGMENT == 0 {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // All of the content is in the window.
    let rest = rest.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let number = |length: usize| {
        let bytes = rest.get(..length)?;
        Some(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    match descriptor >> 6 {
        0 => number(1),
        1 => number(2).map(|size| size + 256),
        2 => number(4),
        _ => number(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_frames() {
        let frame = |rest: &[u8]| [&MAGIC[..], rest].concat();
        for (bytes, expected) in [
            (frame(&[0, 0]), Some(1024)),
            (frame(&[0, 0x88]), Some(1 << 27)),
            (frame(&[0, 0x6b]), Some((1 << 23) + 3 * (1 << 20))),
            (frame(&[0x20, 7]), Some(7)),
            (frame(&[0x23, 1, 2, 3, 4, 7]), Some(7)),
            (frame(&[0x60, 1, 1]), Some(513)),
            (frame(&[0xa0, 0, 0, 0, 8]), Some(1 << 27)),
            (frame(&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0]), Some(1 << 32)),
            (frame(&[0xa0, 0, 0, 0]), None),
            (frame(&[0]), None),
            (vec![0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], None),
            (Vec::new(), None),
        ] {
            assert_eq!(window(&bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn windows_of_an_encoder() {
        for log in [10, 20, 23, 27] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
            encoder.window_log(log).expect("a window");
            std::io::Write::write_all(&mut encoder, &[7; 5000]).expect("memory");
            let frame = encoder.finish().expect("a frame");
            assert_eq!(window(&frame), Some(1 << log));
        }
    }
}
