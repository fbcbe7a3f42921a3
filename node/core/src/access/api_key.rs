//! What the node keeps of a key: its SHA-256 digest.
//!
//! A fast hash is right here because a key made by `holdfast keys new` holds 160 random bits and cannot be
//! guessed; a short key that a person made up can, which is why [`StoredKey::is_guessable`] exists and why the
//! shell slows guesses down.
//!
//! The text form is `sha256:` and 64 hexadecimal digits. A *presented* key is always hashed, so somebody who
//! reads a hash in a settings file cannot present it.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What a hashed key starts with in settings.
pub const HASH_PREFIX: &str = "sha256:";

/// The longest key anyone may configure or present, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// A plain key shorter than this, in bytes, could be found by trying.
const UNGUESSABLE_KEY_BYTES: usize = 20;

const DIGEST_BYTES: usize = 32;

/// The SHA-256 digest of a trimmed key.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; DIGEST_BYTES]);

impl KeyDigest {
    /// Digests a plain key. Blanks around it do not count.
    pub fn of(key: &str) -> KeyDigest {
        KeyDigest(Sha256::digest(key.trim().as_bytes()).into())
    }

    /// Compares in constant time.
    pub fn same_as(&self, other: &KeyDigest) -> Choice {
        self.0.ct_eq(&other.0)
    }

    /// Writes the form that goes into settings, `sha256:<64 hex>`.
    pub fn to_text(&self) -> String {
        let digits = self
            .0
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15].map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('0')));
        HASH_PREFIX.chars().chain(digits).collect()
    }

    fn from_hex(digits: &str) -> Option<KeyDigest> {
        let bytes = digits.as_bytes();
        if bytes.len() != DIGEST_BYTES * 2 {
            return None;
        }
        let mut digest = [0; DIGEST_BYTES];
        for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            let value = char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?;
            *byte = u8::try_from(value).ok()?;
        }
        Some(KeyDigest(digest))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(hidden)")
    }
}

/// Why a key in settings cannot be used. None of the texts repeats the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// Nothing but blanks.
    #[error("is empty; create a key with `holdfast keys new`")]
    Empty,
    /// Longer than [`MAX_KEY_BYTES`].
    #[error("is longer than {MAX_KEY_BYTES} bytes; create a key with `holdfast keys new`")]
    TooLong,
    /// Holds something that cannot travel in an HTTP header.
    #[error("holds characters that cannot be sent in a header; use visible ASCII without blanks")]
    NotSendable,
    /// Starts like a hash and is none.
    #[error("starts with `sha256:` but 64 hexadecimal digits do not follow; make the hash with `holdfast keys hash`")]
    MalformedHash,
}

/// A key as settings hold it, plain or hashed, reduced to what may be kept.
#[derive(Debug, Clone, Copy)]
pub struct StoredKey {
    digest: KeyDigest,
    guessable: bool,
}

impl StoredKey {
    /// Reads a key from settings: `sha256:<64 hex>`, or the key itself.
    pub fn parse(text: &str) -> Result<StoredKey, UnusableKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UnusableKey::Empty);
        }
        if text.len() > MAX_KEY_BYTES {
            return Err(UnusableKey::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UnusableKey::NotSendable);
        }
        match text.split_at_checked(HASH_PREFIX.len()) {
            Some((prefix, digits)) if prefix.eq_ignore_ascii_case(HASH_PREFIX) => {
                let digest = KeyDigest::from_hex(digits).ok_or(UnusableKey::MalformedHash)?;
                // The hash of nothing would let everyone in who sends an empty header.
                if digest.same_as(&KeyDigest::of("")).into() {
                    return Err(UnusableKey::Empty);
                }
                // Whoever took the trouble to hash a key is believed to have made a good one.
                Ok(StoredKey { digest, guessable: false })
            }
            _ => Ok(StoredKey { digest: KeyDigest::of(text), guessable: text.len() < UNGUESSABLE_KEY_BYTES }),
        }
    }

    /// Returns the digest to compare with.
    pub const fn digest(&self) -> &KeyDigest {
        &self.digest
    }

    /// Says whether the key is so short that trying could find it.
    pub const fn is_guessable(&self) -> bool {
        self.guessable
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn same(left: &KeyDigest, right: &KeyDigest) -> bool {
        left.same_as(right).into()
    }

    #[test]
    fn a_hashed_key_equals_the_plain_key_it_came_from() {
        let hash = KeyDigest::of(" abc ").to_text();
        assert_eq!(hash, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let stored = StoredKey::parse(&hash.to_uppercase()).unwrap();
        assert!(same(stored.digest(), &KeyDigest::of("abc")));
        assert!(!same(stored.digest(), &KeyDigest::of("abd")));
    }

    #[test]
    fn presenting_the_hash_instead_of_the_key_does_not_match() {
        let hash = KeyDigest::of("abc").to_text();
        let stored = StoredKey::parse(&hash).unwrap();
        assert!(!same(stored.digest(), &KeyDigest::of(&hash)));
    }

    #[test]
    fn unusable_keys_are_refused_with_a_reason() {
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        for (text, problem) in [
            ("", UnusableKey::Empty),
            (" \t", UnusableKey::Empty),
            (long.as_str(), UnusableKey::TooLong),
            ("clé", UnusableKey::NotSendable),
            ("two words", UnusableKey::NotSendable),
            ("sha256:12", UnusableKey::MalformedHash),
            (KeyDigest::of("").to_text().as_str(), UnusableKey::Empty),
            ("sha256:zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", UnusableKey::MalformedHash),
        ] {
            assert_eq!(StoredKey::parse(text).unwrap_err(), problem, "{text:?}");
        }
    }

    #[test]
    fn short_plain_keys_count_as_guessable_and_long_or_hashed_ones_do_not() {
        assert!(StoredKey::parse("root").unwrap().is_guessable());
        assert!(!StoredKey::parse("hf_0123456789abcdef0123456789abcdef").unwrap().is_guessable());
        assert!(!StoredKey::parse(&KeyDigest::of("root").to_text()).unwrap().is_guessable());
    }

    #[test]
    fn debug_shows_neither_key_nor_digest() {
        let stored = StoredKey::parse("abc").unwrap();
        let shown = format!("{stored:?} {:?}", stored.digest());
        assert!(!shown.contains("abc") && !shown.contains("ba78") && !shown.contains("186"));
    }
}
