//! Percent-encoding in addresses, read strictly.
//!
//! A `%` that no two hexadecimal digits follow is a mistake of whoever wrote the address: taken as it stands, it would
//! name another key than the one that was meant.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a text says once its `%` signs are decoded, or what is wrong with them, to be put after the text's name.
pub fn decode(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if !is_encoded(text) {
        return Err("has a % that no two hexadecimal digits follow. A % itself is written %25");
    }
    percent_decode_str(text).decode_utf8().map_err(|_| "is not valid UTF-8 once its % signs are decoded")
}

/// Whether two hexadecimal digits follow every `%`.
pub fn is_encoded(text: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    text.split('%').skip(1).all(|after| {
        let mut digits = after.as_bytes().iter();
        is_digit(digits.next()) && is_digit(digits.next())
    })
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn a_percent_sign_is_decoded_or_refused_and_never_taken_as_it_stands() {
        assert_eq!(decode("a%2Fb%20%2525%c3%A9").as_deref(), Ok("a/b %25é"));
        assert_eq!(decode("plain").as_deref(), Ok("plain"));
        for bad in ["%", "%2", "100%", "%zz", "%4g", "%%41", "a%2", "%é1"] {
            assert!(decode(bad).is_err_and(|reason| reason.contains("hexadecimal")), "{bad}");
        }
        assert!(decode("%FF").is_err_and(|reason| reason.contains("UTF-8")));
    }
}
