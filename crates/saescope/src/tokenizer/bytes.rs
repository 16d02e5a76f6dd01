//! The alphabet of GPT-2 and its successors, which writes bytes as printable characters.

/// The byte of a character of the alphabet.
pub(super) fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        // The 68 bytes that do not print (controls, space, 0x7f-0xa0, soft hyphen) follow from
        // U+0100 on, in ascending order.
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The bytes of a token written in the alphabet. A token outside it, such as an added token with a plain
/// space, keeps its own bytes.
pub(super) fn bytes_of(token: &str) -> Vec<u8> {
    token
        .chars()
        .map(byte_of)
        .collect::<Option<Vec<u8>>>()
        .unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The byte of a piece such as `<0x0A>`.
pub(super) fn byte_fallback(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    // The parser alone would accept a sign.
    if hex.len() == 2 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        u8::from_str_radix(hex, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut seen = [0usize; 256];
        for byte in (0..0x200).filter_map(char::from_u32).filter_map(byte_of) {
            seen[usize::from(byte)] += 1;
        }
        assert_eq!(seen, [1; 256]);
    }

    #[test]
    fn the_known_letters_are_right() {
        assert_eq!(bytes_of("Ġthe"), b" the");
        assert_eq!(bytes_of("Ċ"), b"\n");
        assert_eq!(bytes_of("ìķĪ"), "안".as_bytes());
        assert_eq!(bytes_of("two words"), b"two words");
        assert_eq!(byte_fallback("<0x0A>"), Some(10));
        assert_eq!(byte_fallback("<0xA>"), None);
        assert_eq!(byte_fallback("<0x+A>"), None);
    }
}
