//! One value in one place of a table: as text that says what it is, moves no cursor, and has a known width.
//!
//! | value                                        | shown                                  |
//! |----------------------------------------------|----------------------------------------|
//! | nothing there                                | nothing                                |
//! | `null`                                       | `null`                                 |
//! | text                                         | as it is, on one line                  |
//! | text that is empty, or reads as `null`, or begins or ends with a blank | in quotes    |
//! | number                                       | as it is, at the right                 |
//! | object, list                                 | its JSON                               |
//!
//! **What stays true.** No character of a document moves the cursor, changes a colour or turns the direction of writing:
//! those are shown as JSON escapes them.

use std::fmt::Write as _;

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands where a text was cut.
const CUT: char = '…';

/// A value as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    /// Its text.
    pub(super) text: String,
    /// Whether it is a number, which stands at the right.
    pub(super) is_number: bool,
}

impl Cell {
    /// A value, or none.
    pub(super) fn of(value: Option<&Value>) -> Self {
        let text = match value {
            None => String::new(),
            Some(Value::Null) => "null".to_owned(),
            Some(Value::String(text)) if is_ambiguous(text) => screened(&Value::from(text.as_str()).to_string()),
            Some(Value::String(text)) => on_one_line(text),
            Some(other) => screened(&other.to_string()),
        };
        Self { text, is_number: matches!(value, Some(Value::Number(_))) }
    }
}

fn is_ambiguous(text: &str) -> bool {
    text.is_empty() || text == "null" || text.starts_with([' ', '"']) || text.ends_with(' ')
}

/// Text without line breaks and whatever else does more in a terminal than take its place.
pub(super) fn on_one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        match character {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ => screen(&mut out, character),
        }
        out
    })
}

/// Text whose line breaks and tabs stay, and nothing else that a terminal obeys.
pub(super) fn screened(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        screen(&mut out, character);
        out
    })
}

fn screen(out: &mut String, character: char) {
    match character {
        '\n' | '\t' => out.push(character),
        '\r' => out.push_str("\\r"),
        _ if is_obeyed(character) => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        _ => out.push(character),
    }
}

/// Whether a terminal does something at this character, or a reader sees something else than is there.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks, overrides and isolates of the direction of writing; separators of lines; what is not seen.
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns of a terminal that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// A text that takes no more columns than these, with a sign where it was cut.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let mut taken = 0;
    let fits = |character: &char| {
        taken += character.width().unwrap_or(0);
        taken <= room
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if columns > 0 {
        short.push(CUT);
    }
    short
}

/// A text filled up with blanks to these columns: a number before, anything else behind.
pub(super) fn filled(text: &str, columns: usize, at_right: bool) -> String {
    let blanks = " ".repeat(columns.saturating_sub(width(text)));
    if at_right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Cell, cut, filled, screened, width};

    fn shown(value: &Value) -> String {
        Cell::of(Some(value)).text
    }

    #[test]
    fn null_nothing_empty_and_the_word_null_are_told_apart() {
        let shown = [json!(null), json!(""), json!("null"), json!("x")].map(|value| shown(&value));
        assert_eq!(shown, ["null", "\"\"", "\"null\"", "x"]);
        assert_eq!(Cell::of(None).text, "");
        assert_eq!([json!(" a"), json!("\"a\"")].map(|value| self::shown(&value)), ["\" a\"", "\"\\\"a\\\"\""]);
    }

    #[test]
    fn a_number_keeps_its_digits_and_stands_at_the_right() {
        let number: Value = serde_json::from_str("1.50").unwrap_or_default();
        let cell = Cell::of(Some(&number));
        assert_eq!((cell.text.as_str(), cell.is_number), ("1.50", true));
        assert_eq!(filled("1.50", 6, true), "  1.50");
        assert!(!Cell::of(Some(&json!("7"))).is_number);
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_not_sent() {
        let hostile = "a\u{1b}[2J\r\n\tb\u{9b}31m\u{7f}\u{202e}c\u{200b}\u{e0041}\u{feff}";
        let expected = "a\\u001b[2J\\r\\n\\tb\\u009b31m\\u007f\\u202ec\\u200b\\udb40\\udc41\\ufeff";
        assert_eq!(shown(&json!(hostile)), expected);
        let nested = shown(&json!({ hostile: [hostile] }));
        assert!(nested.chars().all(|character| !character.is_control() && character.is_ascii()), "{nested}");
        assert_eq!(screened("a\n\tb\u{1b}"), "a\n\tb\\u001b");
        // So treated, JSON still says the same.
        let text = json!(hostile).to_string();
        assert_eq!(serde_json::from_str::<Value>(&screened(&text)).ok(), Some(json!(hostile)));
    }

    #[test]
    fn wide_characters_take_two_columns_and_marks_none() {
        assert_eq!((width("名前"), width("e\u{301}"), width("ab")), (4, 1, 2));
        assert_eq!(cut("名前名前", 5), "名前…");
        assert_eq!(cut("名前名前", 4), "名…");
        assert_eq!(filled(&cut("名前名前", 4), 4, false), "名… ");
        assert_eq!(
            (cut("abc", 3), cut("abcd", 3), cut("abcd", 1), cut("abcd", 0)),
            ("abc".into(), "ab…".into(), "…".into(), String::new())
        );
    }
}
