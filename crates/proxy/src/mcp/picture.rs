//! How large a picture is, from its first bytes. The agent makes one that is larger than its model takes smaller, by itself: then it shows
//! the model another picture than the tool returned, and that is not the conversation any more.

use data_encoding::BASE64;

/// Pixels of a side that the agent leaves as they are.
const SIDE_MAX: u32 = 1_568;
/// Tokens that it leaves: one for each square of so many pixels.
const TOKENS_MAX: u32 = 1_568;
const SQUARE: u32 = 28;
/// Base 64 of the bytes in which a picture says how large it is; a JPEG may have a lot before that.
const HEAD_CHARS_MAX: usize = 256 << 10;

/// Whether the agent shows a picture as it is. One that does not say how large it is is not known to be small.
pub(super) fn is_small(data: &str) -> bool {
    let head = data.get(..data.len().min(HEAD_CHARS_MAX) / 4 * 4).unwrap_or_default();
    let Some((width, height)) = BASE64.decode(head.as_bytes()).ok().and_then(|bytes| size_of(&bytes)) else { return false };
    let tokens = width.div_ceil(SQUARE).saturating_mul(height.div_ceil(SQUARE));
    (1..=SIDE_MAX).contains(&width) && (1..=SIDE_MAX).contains(&height) && tokens <= TOKENS_MAX
}

fn size_of(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some((big(bytes, 16, 4)?, big(bytes, 20, 4)?)),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some((little(bytes, 6, 2)?, little(bytes, 8, 2)?)),
        [0xff, 0xd8, ..] => jpeg(bytes),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(bytes),
        _ => None,
    }
}

/// Segments up to the one that begins a frame.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2_usize;
    loop {
        let [0xff, marker] = *bytes.get(at..at.checked_add(2)?)? else { return None };
        match marker {
            // Fill.
            0xff => at = at.checked_add(1)?,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Some((big(bytes, at.checked_add(7)?, 2)?, big(bytes, at.checked_add(5)?, 2)?));
            }
            // Without a length.
            0x01 | 0xd0..=0xd8 => at = at.checked_add(2)?,
            _ => at = at.checked_add(2)?.checked_add(usize::try_from(big(bytes, at.checked_add(2)?, 2)?.max(2)).ok()?)?,
        }
    }
}

fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8X" => Some((little(bytes, 24, 3)? + 1, little(bytes, 27, 3)? + 1)),
        b"VP8 " => Some((little(bytes, 26, 2)? & 0x3fff, little(bytes, 28, 2)? & 0x3fff)),
        b"VP8L" => {
            let bits = little(bytes, 21, 4)?;
            Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        _ => None,
    }
}

fn big(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(count)?)?;
    Some(bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
}

fn little(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(count)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let head = [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0]];
        head.concat()
    }

    #[test]
    fn a_picture_says_how_large_it_is() {
        let gif = [&b"GIF89a"[..], &640_u16.to_le_bytes(), &480_u16.to_le_bytes()].concat();
        let jpeg =
            [&[0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, 0xdb, 0, 2, 0xff, 0xc2, 0, 17, 8][..], &[1, 224, 2, 128]].concat();
        let vp8 =
            [&b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a"[..], &640_u16.to_le_bytes(), &480_u16.to_le_bytes()].concat();
        let bits = (639_u32 | (479 << 14)).to_le_bytes();
        let lossless = [&b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f"[..], &bits].concat();
        let extended = [&b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0"[..], &[127, 2, 0, 223, 1, 0]].concat();
        for picture in [png(640, 480), gif, jpeg, vp8, lossless, extended] {
            assert_eq!(size_of(&picture), Some((640, 480)), "{picture:?}");
            assert!(is_small(&BASE64.encode(&picture)));
        }
    }

    #[test]
    fn what_the_agent_would_make_smaller_is_not_small() {
        let small = |width, height| is_small(&BASE64.encode(&png(width, height)));
        assert!(small(1, 1) && small(1_092, 1_092) && small(1_568, 784));
        assert!(!small(1_569, 10) && !small(10, 1_569) && !small(1_200, 1_200) && !small(0, 5) && !small(u32::MAX, u32::MAX));
        for unknown in ["", "QUJD", "not base 64", "iVBORw0KGgo="] {
            assert!(!is_small(unknown), "{unknown}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(kind in 0_usize..5, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let heads: [&[u8]; 5] = [b"\x89PNG\r\n\x1a\n", b"GIF89a", &[0xff, 0xd8], b"RIFF\0\0\0\0WEBPVP8X", b""];
            let whole = [heads.get(kind).copied().unwrap_or_default(), bytes.as_slice()].concat();
            size_of(&whole);
        }
    }
}
