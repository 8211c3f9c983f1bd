//! Unsigned LEB128 numbers: seven bits a byte, the lowest first, the high bit set on all but the
//! last byte (DWARF 5, section 7.6).

/// Appends `number` to `bytes`: 1 to 10 bytes.
///
/// ```
/// let mut bytes = Vec::new();
/// heirloom_support::leb128::write(&mut bytes, 300);
/// assert_eq!(bytes, [0xac, 0x02]);
/// assert_eq!(heirloom_support::leb128::read(&mut bytes.as_slice()), Some(300));
/// ```
pub fn write(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

/// Takes a number off the front of `bytes`; `None` if they end inside it or it exceeds 64 bits.
pub fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        // The tenth byte holds the 64th bit alone.
        if part.leading_zeros() < shift && part != 0 {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_as_it_was_written() {
        let edges = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1]);
        for number in edges.chain([u64::MAX]) {
            let mut bytes = Vec::new();
            write(&mut bytes, number);
            assert!(bytes.len() <= 10);
            bytes.push(7);
            let mut rest = bytes.as_slice();
            assert_eq!(read(&mut rest), Some(number));
            assert_eq!(rest, [7], "what follows stays");
        }
    }

    #[test]
    fn cut_and_oversized_numbers_are_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 9], &[0xff; 10], &[0x80; 10]] {
            assert_eq!(read(&mut &*bytes), None, "{bytes:?}");
        }
        let two_to_the_64 = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02];
        assert_eq!(read(&mut two_to_the_64.as_slice()), None);
    }
}
