//! A path names one value inside a document: `$.Customer.Name`, `Items[0].Sku`, `$['key with spaces']`.
//!
//! ```text
//!   path   = "$" step*  |  first step*           the leading $ means "the document" and may be left out
//!   first  = name  |  bracket
//!   step   = "." name  |  bracket
//!   bracket= "[" index "]"  |  "[" quoted "]"
//!   name   = letters, digits, "_" and "-", of any script
//!   index  = "0"  |  digits without a leading zero
//!   quoted = '...' or "...", with \\ \' \" \/ \b \f \n \r \t inside
//! ```
//!
//! This is the part of RFC 9535 that names exactly one value, with two liberties that people expect of a settings
//! field or a flag: the `$.` may be left out, and names may hold `-`.
//!
//! **What stays true.** A parsed path prints as text that parses to the same path. Names match by exact bytes: case
//! counts, as it does in documents. Parsing costs time and memory in proportion to the text, which is bounded.
//!
//! **What it does not do.** No wildcards, slices, filters or descent (`[*]`, `[1:2]`, `[?()]`, `..`): those select many
//! values and belong to a query. No conversion: it hands out what stands there.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::limits::DOCUMENT_DEPTH_MAX;

/// The longest text taken for a path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// The most steps a path may have. No stored document is deeper, so a longer path could match nothing.
pub const PATH_STEPS_MAX: usize = DOCUMENT_DEPTH_MAX;

/// One value's place inside a document.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Path {
    /// From the document inwards; empty for the document itself.
    steps: Vec<Step>,
}

/// One step inwards.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// Into an object, by the exact name of a field.
    Member(Box<str>),
    /// Into an array, counted from zero.
    Index(usize),
}

/// Why a text is no path, and where that showed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("Path cannot be read at column {column}: {problem}")]
pub struct PathError {
    /// The character at which reading stopped, counted from one.
    pub column: usize,
    /// What is wrong there.
    pub problem: PathProblem,
}

/// What is wrong with a path, in words that say what to write instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PathProblem {
    /// There is no text.
    #[error("it is empty. Write a field's name, such as Id or $.Customer.Code.")]
    Empty,
    /// The text passes [`PATH_BYTES_MAX`].
    #[error("it is longer than {PATH_BYTES_MAX} bytes.")]
    TooLong,
    /// The path passes [`PATH_STEPS_MAX`].
    #[error("it has more than {PATH_STEPS_MAX} steps.")]
    TooDeep,
    /// A field's name was due.
    #[error("a name is missing. Names outside quotes hold letters, digits, _ and -; write others as ['...'].")]
    NameMissing,
    /// Something follows a complete step that begins no other.
    #[error("expected . or [ here. Write names with other characters as ['...'].")]
    StepExpected,
    /// The text between brackets is neither an index nor quoted.
    #[error("expected an index such as [0] or a quoted name such as ['a name'].")]
    BracketContent,
    /// A closing bracket was due.
    #[error("expected ] here.")]
    BracketOpen,
    /// An index that starts with a zero but is not zero.
    #[error("an index is written without leading zeros.")]
    IndexLeadingZero,
    /// An index that no array can reach.
    #[error("the index is too large.")]
    IndexTooLarge,
    /// The text ended inside quotes.
    #[error("the quoted name does not end.")]
    QuoteOpen,
    /// A backslash before something that needs none.
    #[error("unknown escape. Known are \\\\ \\' \\\" \\/ \\b \\f \\n \\r \\t; other characters stand for themselves.")]
    EscapeUnknown,
    /// A construct that would select more than one value.
    #[error("this would select many values; a path names exactly one.")]
    SelectsMany,
}

impl Path {
    /// Reads a path. Whitespace around it is ignored, inside it is not.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        Reader::new(text).path()
    }

    /// The path of a field at the top of a document, whatever characters its name holds.
    pub fn of_field(name: &str) -> Self {
        Self { steps: vec![Step::Member(name.into())] }
    }

    /// The path of these steps.
    pub fn of_steps(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// The steps from the document inwards; none for the document itself.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The value at this place. `None` where a field is absent, an array too short, or a step meets a value that it
    /// cannot enter; a stored `null` is `Some`.
    pub fn select<'document>(&self, document: &'document Value) -> Option<&'document Value> {
        self.steps.iter().try_fold(document, |value, step| match step {
            Step::Member(name) => value.as_object()?.get(&**name),
            Step::Index(index) => value.as_array()?.get(*index),
        })
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

/// Prints the canonical form, which starts with `$` and quotes only where it must.
impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("$")?;
        for step in &self.steps {
            match step {
                Step::Member(name) if is_plain_name(name) => write!(out, ".{name}")?,
                Step::Member(name) => write_quoted(name, out)?,
                Step::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Each escape as it is written, and the character it stands for.
const ESCAPES: [(char, char); 9] = [
    ('\\', '\\'),
    ('\'', '\''),
    ('"', '"'),
    ('/', '/'),
    ('b', '\u{8}'),
    ('f', '\u{c}'),
    ('n', '\n'),
    ('r', '\r'),
    ('t', '\t'),
];

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_name_character)
}

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

fn write_quoted(name: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    out.write_str("['")?;
    for character in name.chars() {
        // The double quote and the slash need no escape between single quotes.
        let written = ESCAPES
            .iter()
            .find(|(_, meant)| *meant == character && !matches!(meant, '"' | '/'))
            .map(|(written, _)| *written);
        match written {
            Some(written) => write!(out, "\\{written}")?,
            None => write!(out, "{character}")?,
        }
    }
    out.write_str("']")
}

/// Reads from left to right, one character at a time, and remembers the column for errors.
struct Reader<'text> {
    text: &'text str,
    rest: std::iter::Peekable<std::str::Chars<'text>>,
    /// The column of the next character, counted from one.
    column: usize,
}

impl<'text> Reader<'text> {
    fn new(text: &'text str) -> Self {
        let body = text.trim_start();
        let skipped = text.chars().count() - body.chars().count();
        let body = body.trim_end();
        Self { text: body, rest: body.chars().peekable(), column: skipped + 1 }
    }

    fn path(mut self) -> Result<Path, PathError> {
        if self.text.is_empty() {
            return Err(self.error(PathProblem::Empty));
        }
        if self.text.len() > PATH_BYTES_MAX {
            return Err(self.error(PathProblem::TooLong));
        }
        let mut steps = Vec::new();
        match self.peek() {
            Some('$') => drop(self.next()),
            Some('[') => {}
            _ => steps.push(self.name()?),
        }
        while let Some(character) = self.peek() {
            if steps.len() == PATH_STEPS_MAX {
                return Err(self.error(PathProblem::TooDeep));
            }
            match character {
                '.' => {
                    self.next();
                    steps.push(self.name()?);
                }
                '[' => {
                    self.next();
                    steps.push(self.bracket()?);
                }
                _ => return Err(self.error(PathProblem::StepExpected)),
            }
        }
        Ok(Path { steps })
    }

    /// A name without quotes.
    fn name(&mut self) -> Result<Step, PathError> {
        let mut name = String::new();
        while let Some(character) = self.rest.next_if(|next| is_name_character(*next)) {
            self.column += 1;
            name.push(character);
        }
        match self.peek() {
            _ if !name.is_empty() => Ok(Step::Member(name.into())),
            Some('.' | '*') => Err(self.error(PathProblem::SelectsMany)),
            _ => Err(self.error(PathProblem::NameMissing)),
        }
    }

    /// What stands between brackets, and the closing one.
    fn bracket(&mut self) -> Result<Step, PathError> {
        let step = match self.peek() {
            Some(quote @ ('\'' | '"')) => {
                self.next();
                self.quoted(quote)?
            }
            Some('0'..='9') => self.index()?,
            Some('*' | ':' | '?' | '-') => return Err(self.error(PathProblem::SelectsMany)),
            _ => return Err(self.error(PathProblem::BracketContent)),
        };
        match self.peek() {
            Some(']') => {
                self.next();
                Ok(step)
            }
            Some(',' | ':') => Err(self.error(PathProblem::SelectsMany)),
            _ => Err(self.error(PathProblem::BracketOpen)),
        }
    }

    fn index(&mut self) -> Result<Step, PathError> {
        let start = self.column;
        let mut digits = String::new();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            self.column += 1;
            digits.push(digit);
        }
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(PathError { column: start, problem: PathProblem::IndexLeadingZero });
        }
        // A u32 on every machine, so that a path means the same everywhere.
        digits
            .parse::<u32>()
            .ok()
            .and_then(|index| usize::try_from(index).ok())
            .map(Step::Index)
            .ok_or(PathError { column: start, problem: PathProblem::IndexTooLarge })
    }

    /// The rest of a quoted name, its opening quote taken already. An empty name is a name: JSON allows it.
    fn quoted(&mut self, quote: char) -> Result<Step, PathError> {
        let mut name = String::new();
        loop {
            match self.next() {
                None => return Err(self.error(PathProblem::QuoteOpen)),
                Some(character) if character == quote => return Ok(Step::Member(name.into())),
                Some('\\') => name.push(self.escape()?),
                Some(character) => name.push(character),
            }
        }
    }

    fn escape(&mut self) -> Result<char, PathError> {
        let Some(written) = self.peek() else {
            return Err(self.error(PathProblem::QuoteOpen));
        };
        let Some((_, meant)) = ESCAPES.iter().find(|(known, _)| *known == written) else {
            return Err(self.error(PathProblem::EscapeUnknown));
        };
        self.next();
        Ok(*meant)
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        self.column += 1;
        Some(character)
    }

    fn error(&self, problem: PathProblem) -> PathError {
        PathError { column: self.column, problem }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn canonical(text: &str) -> String {
        Path::parse(text).unwrap().to_string()
    }

    fn refused(text: &str) -> (usize, PathProblem) {
        let error = Path::parse(text).unwrap_err();
        (error.column, error.problem)
    }

    #[test]
    fn a_path_finds_the_value_that_it_names() {
        let order = json!({
            "Id": "ord-1",
            "Customer": {"Name": "Ada", "key with spaces": 7, "": "no name", "it's": true},
            "Items": [{"Sku": "A-1"}, {"Sku": "B-2"}],
            "Note": null,
        });
        let cases = [
            ("Id", json!("ord-1")),
            ("$.Customer.Name", json!("Ada")),
            ("Customer['key with spaces']", json!(7)),
            ("Customer[\"key with spaces\"]", json!(7)),
            ("Customer['']", json!("no name")),
            ("$['Customer']['it\\'s']", json!(true)),
            ("['Customer'].Name", json!("Ada")),
            ("Items[0].Sku", json!("A-1")),
            ("$.Items[1]['Sku']", json!("B-2")),
            ("  Id\t", json!("ord-1")),
            ("Note", json!(null)),
            ("$", order.clone()),
        ];
        for (text, expected) in cases {
            assert_eq!(Path::parse(text).unwrap().select(&order), Some(&expected), "{text}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_finds_nothing() {
        let order = json!({"Id": "ord-1", "Items": [1], "Customer": {"Name": "Ada"}});
        for text in
            ["id", "Items[1]", "Items.Sku", "Id[0]", "Id.Length", "Customer[0]", "Items['0']", "Customer.Name.x"]
        {
            assert_eq!(Path::parse(text).unwrap().select(&order), None, "{text}");
        }
    }

    #[test]
    fn names_of_any_script_need_no_quotes() {
        let document = json!({"Straße": {"名前": 1}, "order-id": 2});
        assert_eq!(Path::parse("Straße.名前").unwrap().select(&document), Some(&json!(1)));
        assert_eq!(Path::parse("order-id").unwrap().select(&document), Some(&json!(2)));
    }

    #[test]
    fn a_path_prints_as_text_that_parses_to_the_same_path() {
        assert_eq!(canonical("Items[0].Sku"), "$.Items[0].Sku");
        assert_eq!(canonical("['plain']"), "$.plain");
        assert_eq!(canonical("$[\"a b\"]"), "$['a b']");
        for name in ["", "a b", "it's", "a\\b", "line\nbreak", "\"", "/", "tab\t", "$", "ü", "[0]", "a.b", "\u{0}"] {
            let path = Path::of_field(name);
            assert_eq!(Path::parse(&path.to_string()).unwrap(), path, "{name:?}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_its_column() {
        assert_eq!(refused(""), (1, PathProblem::Empty));
        assert_eq!(refused("   "), (4, PathProblem::Empty));
        assert_eq!(refused("."), (1, PathProblem::SelectsMany));
        assert_eq!(refused("$."), (3, PathProblem::NameMissing));
        assert_eq!(refused("$type"), (2, PathProblem::StepExpected));
        assert_eq!(refused("a b"), (2, PathProblem::StepExpected));
        assert_eq!(refused("  a b"), (4, PathProblem::StepExpected));
        assert_eq!(refused("a..b"), (3, PathProblem::SelectsMany));
        assert_eq!(refused("a.*"), (3, PathProblem::SelectsMany));
        assert_eq!(refused("a[*]"), (3, PathProblem::SelectsMany));
        assert_eq!(refused("a[-1]"), (3, PathProblem::SelectsMany));
        assert_eq!(refused("a[0:2]"), (4, PathProblem::SelectsMany));
        assert_eq!(refused("a[]"), (3, PathProblem::BracketContent));
        assert_eq!(refused("a[b]"), (3, PathProblem::BracketContent));
        assert_eq!(refused("a[0"), (4, PathProblem::BracketOpen));
        assert_eq!(refused("a[00]"), (3, PathProblem::IndexLeadingZero));
        assert_eq!(refused("a[4294967296]"), (3, PathProblem::IndexTooLarge));
        assert_eq!(refused("a['b"), (5, PathProblem::QuoteOpen));
        assert_eq!(refused("a['b\\"), (6, PathProblem::QuoteOpen));
        assert_eq!(refused("a['\\q']"), (5, PathProblem::EscapeUnknown));
        assert_eq!(refused("ü.名 x"), (4, PathProblem::StepExpected));
    }

    #[test]
    fn length_and_depth_are_bounded() {
        assert!(Path::parse(&"a".repeat(PATH_BYTES_MAX)).is_ok());
        assert_eq!(refused(&"a".repeat(PATH_BYTES_MAX + 1)), (1, PathProblem::TooLong));
        assert!(Path::parse(&format!("${}", ".a".repeat(PATH_STEPS_MAX))).is_ok());
        let deep = format!("a{}", "[0]".repeat(PATH_STEPS_MAX));
        assert_eq!(refused(&deep), (2 + 3 * (PATH_STEPS_MAX - 1), PathProblem::TooDeep));
    }

    #[test]
    fn an_error_tells_where_and_what_to_write() {
        let error = Path::parse("Customer Name").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Path cannot be read at column 9: expected . or [ here. Write names with other characters as ['...']."
        );
    }
}
