//! The only file that asks for randomness.
//!
//! Readings come from a cryptographic generator that the operating system seeds, so they serve for
//! identifiers and for keys alike.

use std::fmt::Write;

/// Bytes in a key made by [`random_token`].
const TOKEN_BYTES: usize = 32;

/// Returns a random number, for identifiers.
pub fn random_u128() -> u128 {
    rand::random()
}

/// Returns a random number, for jitter.
pub fn random_u64() -> u64 {
    rand::random()
}

/// Returns a new key of 256 random bits as 64 hexadecimal digits.
pub fn random_token() -> String {
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    bytes.iter().fold(String::with_capacity(2 * TOKEN_BYTES), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (super::random_token(), super::random_token());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
        assert_ne!(super::random_u128(), super::random_u128());
    }
}
