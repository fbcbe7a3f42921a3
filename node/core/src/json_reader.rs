//! Reading a few values out of JSON text without making values of the rest.
//!
//! ```text
//!   paths ──► Places ──► find(text) ──► for each path the stretch of text that stands there, or nothing
//! ```
//!
//! A query that looks at two fields of a million documents has no use for the others. The paths are put together
//! into one tree, so that one pass over the text finds them all; what leads nowhere is stepped over, and reading ends
//! as soon as everything is found.
//!
//! **What stays true.** For text that this node has stored, the result is what [`Path::select`] finds in the parsed
//! document. Memory and recursion depend on the paths, never on the text. Text that is no JSON gives an error or
//! some stretches, never a panic.
//!
//! **What it does not do.** It does not check the text: what it steps over is not looked at. Where an object has a key
//! twice the first one counts; stored text has no such objects.

use std::borrow::Cow;

use crate::encoding::DecodeError;
use crate::path::{Path, Step};

/// Where the paths of a query lead, as one tree.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The root first. Each node is named by its place in here.
    nodes: Vec<Node>,
    paths: usize,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// The paths that end here, by their number.
    ends: Vec<usize>,
    members: Vec<(Box<str>, usize)>,
    /// By rising index.
    items: Vec<(usize, usize)>,
}

/// Members of one object up to which a visit remembers which ones it has met, and ends when it has met all.
const REMEMBERED_MEMBERS_MAX: usize = 64;

impl Places {
    /// The tree of some paths, which keep their order as numbers.
    pub fn new<'path>(paths: impl IntoIterator<Item = &'path Path>) -> Self {
        let mut places = Self { nodes: vec![Node::default()], paths: 0 };
        for path in paths {
            let end = path.steps().iter().fold(0, |node, step| places.below(node, step));
            let number = places.paths;
            if let Some(node) = places.nodes.get_mut(end) {
                node.ends.push(number);
            }
            places.paths += 1;
        }
        places
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.paths
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths == 0
    }

    /// Puts into `found` for each path the text of the value that it names, `None` where nothing stands.
    pub fn find<'text>(&self, text: &'text [u8], found: &mut Vec<Option<&'text [u8]>>) -> Result<(), DecodeError> {
        found.clear();
        found.resize(self.paths, None);
        if self.paths == 0 {
            return Ok(());
        }
        let mut visit = Visit { places: self, scanner: Scanner { text, at: 0 }, found };
        visit.value(0, true)
    }

    /// The node one step below another, made if it is not there.
    fn below(&mut self, node: usize, step: &Step) -> usize {
        let next = self.nodes.len();
        let Some(parent) = self.nodes.get_mut(node) else { return node };
        let known = match step {
            Step::Member(name) => parent.members.iter().find(|(known, _)| known == name).map(|(_, below)| *below),
            Step::Index(index) => parent.items.iter().find(|(known, _)| known == index).map(|(_, below)| *below),
        };
        if let Some(known) = known {
            return known;
        }
        match step {
            Step::Member(name) => parent.members.push((name.clone(), next)),
            Step::Index(index) => {
                let place = parent.items.partition_point(|(known, _)| known < index);
                parent.items.insert(place, (*index, next));
            }
        }
        self.nodes.push(Node::default());
        next
    }
}

/// The items of an array, each as its text. Text that is no array has none.
pub fn items(text: &[u8]) -> Items<'_> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.white_space();
    let is_open = scanner.peek() == Some(b'[');
    scanner.at += 1;
    Items { scanner, is_open }
}

/// See [`items`].
#[derive(Debug, Clone)]
pub struct Items<'text> {
    scanner: Scanner<'text>,
    is_open: bool,
}

impl<'text> Iterator for Items<'text> {
    type Item = &'text [u8];

    fn next(&mut self) -> Option<&'text [u8]> {
        if !self.is_open {
            return None;
        }
        self.scanner.white_space();
        if self.scanner.peek() == Some(b']') {
            self.is_open = false;
            return None;
        }
        let start = self.scanner.at;
        self.is_open = self.scanner.skip_value().is_ok();
        let item = self.scanner.text.get(start..self.scanner.at).filter(|_| self.is_open);
        self.scanner.white_space();
        match self.scanner.peek() {
            Some(b',') => self.scanner.at += 1,
            _ => self.is_open = false,
        }
        item
    }
}

/// One pass over a text.
struct Visit<'visit, 'text> {
    places: &'visit Places,
    scanner: Scanner<'text>,
    found: &'visit mut Vec<Option<&'text [u8]>>,
}

impl Visit<'_, '_> {
    /// Reads the value at which the scanner stands. Recursion goes as deep as the paths, whose steps are bounded.
    /// After the last value that anybody wants, the scanner may be left anywhere.
    fn value(&mut self, node: usize, is_last: bool) -> Result<(), DecodeError> {
        let Some(wanted) = self.places.nodes.get(node) else { return Err("a path leads nowhere") };
        self.scanner.white_space();
        let start = self.scanner.at;
        let may_stop = is_last && wanted.ends.is_empty();
        match self.scanner.peek() {
            Some(b'{') if !wanted.members.is_empty() => self.object(wanted, may_stop)?,
            Some(b'[') if !wanted.items.is_empty() => self.array(wanted, may_stop)?,
            Some(_) => self.scanner.skip_value()?,
            None => return Err(ENDS_EARLY),
        }
        for end in &wanted.ends {
            if let Some(slot) = self.found.get_mut(*end) {
                *slot = self.scanner.text.get(start..self.scanner.at);
            }
        }
        Ok(())
    }

    fn object(&mut self, wanted: &Node, may_stop: bool) -> Result<(), DecodeError> {
        let (mut met, mut left) = (0_u64, wanted.members.len());
        let remembers = left <= REMEMBERED_MEMBERS_MAX;
        self.scanner.at += 1;
        self.scanner.white_space();
        if self.scanner.peek() == Some(b'}') {
            self.scanner.at += 1;
            return Ok(());
        }
        loop {
            let key = self.scanner.key()?;
            let place = wanted.members.iter().position(|(name, _)| key.is(name));
            let bit = place.map_or(0, |place| 1_u64.wrapping_shl(u32::try_from(place).unwrap_or(u32::MAX)));
            match place.and_then(|place| wanted.members.get(place)) {
                Some((_, below)) if !remembers || met & bit == 0 => {
                    met |= bit;
                    left = left.saturating_sub(1);
                    let is_all = remembers && left == 0;
                    self.value(*below, may_stop && is_all)?;
                    if is_all {
                        return if may_stop { Ok(()) } else { self.scanner.skip_rest(1) };
                    }
                }
                _ => self.scanner.skip_value()?,
            }
            if self.scanner.ends(b'}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, wanted: &Node, may_stop: bool) -> Result<(), DecodeError> {
        let mut items = wanted.items.iter().peekable();
        self.scanner.at += 1;
        self.scanner.white_space();
        if self.scanner.peek() == Some(b']') {
            self.scanner.at += 1;
            return Ok(());
        }
        for index in 0_usize.. {
            match items.next_if(|(wanted, _)| *wanted == index) {
                Some((_, below)) => {
                    let is_all = items.peek().is_none();
                    self.value(*below, may_stop && is_all)?;
                    if is_all {
                        return if may_stop { Ok(()) } else { self.scanner.skip_rest(1) };
                    }
                }
                None => self.scanner.skip_value()?,
            }
            if self.scanner.ends(b']')? {
                break;
            }
        }
        Ok(())
    }
}

const ENDS_EARLY: DecodeError = "the text ends too early";

/// A key as it is written.
struct Key<'text> {
    text: &'text [u8],
    has_escapes: bool,
}

impl Key<'_> {
    fn is(&self, name: &str) -> bool {
        if !self.has_escapes {
            return self.text == name.as_bytes();
        }
        let quoted = [b"\"", self.text, b"\""].concat();
        serde_json::from_slice::<Cow<'_, str>>(&quoted).is_ok_and(|key| key == name)
    }
}

/// A place in a text, and how to get over what stands there.
#[derive(Debug, Clone)]
struct Scanner<'text> {
    text: &'text [u8],
    at: usize,
}

impl<'text> Scanner<'text> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Reads a key and the colon behind it.
    #[inline]
    fn key(&mut self) -> Result<Key<'text>, DecodeError> {
        self.white_space();
        if self.peek() != Some(b'"') {
            return Err("a key is missing");
        }
        let start = self.at + 1;
        let has_escapes = self.skip_string()?;
        let text = self.text.get(start..self.at - 1).ok_or(ENDS_EARLY)?;
        self.white_space();
        if self.peek() != Some(b':') {
            return Err("a colon is missing");
        }
        self.at += 1;
        Ok(Key { text, has_escapes })
    }

    /// Whether the object or array ends here; otherwise steps over the comma.
    #[inline]
    fn ends(&mut self, closing: u8) -> Result<bool, DecodeError> {
        self.white_space();
        let next = self.peek().ok_or(ENDS_EARLY)?;
        self.at += 1;
        match next {
            b',' => Ok(false),
            byte if byte == closing => Ok(true),
            _ => Err("a comma is missing"),
        }
    }

    #[inline]
    fn skip_value(&mut self) -> Result<(), DecodeError> {
        self.white_space();
        match self.peek().ok_or(ENDS_EARLY)? {
            b'"' => self.skip_string().map(drop),
            b'{' | b'[' => {
                self.at += 1;
                self.skip_rest(1)
            }
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                match rest.iter().position(ends).unwrap_or(rest.len()) {
                    0 => Err("a value is missing"),
                    length => {
                        self.at += length;
                        Ok(())
                    }
                }
            }
        }
    }

    /// Steps over everything up to the end of so many objects and arrays that are open.
    fn skip_rest(&mut self, mut depth: usize) -> Result<(), DecodeError> {
        while depth > 0 {
            match self.peek().ok_or(ENDS_EARLY)? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Steps over a string, its quotes included, and says whether it has escapes. Eight bytes at a time.
    #[inline]
    fn skip_string(&mut self) -> Result<bool, DecodeError> {
        let mut has_escapes = false;
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).ok_or(ENDS_EARLY)?;
            if let Some((eight, _)) = rest.split_first_chunk::<8>() {
                let eight = u64::from_le_bytes(*eight);
                let stops = zero_bytes(eight ^ QUOTES) | zero_bytes(eight ^ BACKSLASHES);
                // The lowest mark is always true; those above it may not be.
                self.at += (stops.trailing_zeros() / 8) as usize;
                if stops == 0 {
                    continue;
                }
            }
            match self.peek().ok_or(ENDS_EARLY)? {
                b'"' => {
                    self.at += 1;
                    return Ok(has_escapes);
                }
                b'\\' => {
                    has_escapes = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
    }
}

const ONES: u64 = u64::MAX / 255;
const QUOTES: u64 = ONES * b'"' as u64;
const BACKSLASHES: u64 = ONES * b'\\' as u64;

/// Marks the highest bit of each byte that is zero; above the lowest such byte, also some that are not.
#[inline]
fn zero_bytes(bytes: u64) -> u64 {
    bytes.wrapping_sub(ONES) & !bytes & (ONES << 7)
}

#[cfg(test)]
mod tests;
