//! Document text that stays as it is: what another node has written needs no values made of it to be believed.
//!
//! A peer sends text that its node has written, and this node would write the very same. One pass over the text sees
//! that, at a fraction of what it costs to read values, check them and write them again.
//!
//! **What stays true.** Text that is called plain is what the full check ([`super::JsonText::parse_document_in_full`])
//! accepts and returns unchanged. Recursion is bounded.
//!
//! **What it does not do.** It refuses nothing. Whatever is rare (escapes, exponents, many fields, deep nesting) is not
//! called plain, and the full check has the word.

use super::{ID_FIELD, is_kept_name};
use crate::limits::DOCUMENT_BYTES_MAX;

/// Levels of nesting that are looked into.
const DEPTH_MAX: usize = 16;
/// Fields of one object that are compared with each other.
const FIELDS_MAX: usize = 32;
/// Bytes of a number up to which it is finite, whatever its digits.
const NUMBER_BYTES_MAX: usize = 17;

/// Whether `text` is a document that carries this id, written as this node would write it.
pub(super) fn is_plain_document(text: &str, id: &str) -> bool {
    let mut scan = Scan { text: text.as_bytes(), at: 0 };
    text.len() <= DOCUMENT_BYTES_MAX
        && scan.object(1, Some(id.as_bytes())).is_some_and(|has_id| has_id)
        && scan.at == text.len()
}

/// A place in text; `None` from any of its functions says that the text is not plain.
struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Scan<'t> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match *self.text.get(self.at)? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(depth, None).map(|_| ()),
            b'[' => self.array(depth),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    /// An object. Where it must carry an id, answers whether it does.
    fn object(&mut self, depth: usize, id: Option<&[u8]>) -> Option<bool> {
        let mut fields: [&[u8]; FIELDS_MAX] = [&[]; FIELDS_MAX];
        let mut has_id = false;
        self.open(b'{', depth)?;
        if self.takes(b'}') {
            return Some(has_id);
        }
        for count in 0..FIELDS_MAX {
            let field = self.string()?;
            let earlier = fields.get(..count)?;
            // The JSON reader keeps keys that begin so for itself.
            if field.first() == Some(&b'$') || earlier.contains(&field) {
                return None;
            }
            *fields.get_mut(count)? = field;
            self.literal(b":")?;
            let value_at = self.at;
            self.value(depth + 1)?;
            if let Some(id) = id {
                let name = std::str::from_utf8(field).ok()?;
                if name.eq_ignore_ascii_case(ID_FIELD) {
                    let value = self.text.get(value_at..self.at)?;
                    let is_the_id = value.strip_prefix(b"\"")?.strip_suffix(b"\"")? == id;
                    if has_id || !is_the_id {
                        return None;
                    }
                    has_id = true;
                } else if is_kept_name(name) {
                    return None;
                }
            }
            if self.takes(b'}') {
                return Some(has_id);
            }
            self.literal(b",")?;
        }
        None
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.open(b'[', depth)?;
        if self.takes(b']') {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            if self.takes(b']') {
                return Some(());
            }
            self.literal(b",")?;
        }
    }

    fn open(&mut self, bracket: u8, depth: usize) -> Option<()> {
        (depth <= DEPTH_MAX && self.takes(bracket)).then_some(())
    }

    /// A string without escapes: what is between the quotes.
    fn string(&mut self) -> Option<&'t [u8]> {
        self.literal(b"\"")?;
        let rest = self.text.get(self.at..)?;
        let end = rest.iter().position(|byte| *byte == b'"' || *byte == b'\\' || *byte < 0x20)?;
        let (inner, after) = rest.split_at(end);
        self.at += end + 1;
        (after.first() == Some(&b'"')).then_some(inner)
    }

    /// A short number without an exponent.
    fn number(&mut self) -> Option<()> {
        let begin = self.at;
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        let is_followed_by_more = self.text.get(self.at).is_some_and(u8::is_ascii_alphanumeric);
        (self.at - begin <= NUMBER_BYTES_MAX && !is_followed_by_more).then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        let is_there = self.text.get(self.at..)?.starts_with(literal);
        self.at += literal.len();
        is_there.then_some(())
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }
}

#[cfg(test)]
mod tests;
