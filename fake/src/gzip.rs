//! A gzip member of stored blocks (RFC 1952, RFC 1951 3.2.4): valid for every reader, and nobody needs it smaller.

const STORED_MAX: usize = 0xffff;

/// Wraps bytes in a gzip member without compressing them.
#[must_use]
pub fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = bytes.chunks(STORED_MAX).peekable();
    if blocks.peek().is_none() {
        block(&mut member, &[], true);
    }
    while let Some(chunk) = blocks.next() {
        block(&mut member, chunk, blocks.peek().is_none());
    }
    member.extend(crc32(bytes).to_le_bytes());
    // The format wants the length modulo 2^32.
    let length = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or_default();
    member.extend(length.to_le_bytes());
    member
}

fn block(member: &mut Vec<u8>, chunk: &[u8], last: bool) {
    let length = u16::try_from(chunk.len()).unwrap_or_default();
    member.push(u8::from(last));
    member.extend(length.to_le_bytes());
    member.extend((!length).to_le_bytes());
    member.extend(chunk);
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (0xedb8_8320 * carry);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_format() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(stored(b"").len(), 10 + 5 + 8);
        assert_eq!(stored(&[7; 70_000]).len(), 10 + 5 + 65_535 + 5 + 4_465 + 8);
    }
}
