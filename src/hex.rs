//! Hexadecimal digits, two lower-case ones a byte.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The digits of some bytes.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// `N` bytes; `None` for anything but exactly their digits.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(16 * digit(pair[0])? + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}
