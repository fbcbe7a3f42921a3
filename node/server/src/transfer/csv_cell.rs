//! What a value in a CSV file is: its text alone decides, and the text is never changed.
//!
//! | cell, not quoted | becomes |
//! |---|---|
//! | nothing | `null` |
//! | `true`, `false` | a truth value |
//! | `7`, `-3`, `12.00`, `1.5e-3` | a number with the very same digits |
//! | `00042`, or more digits than 64 bits hold | text: it is a code, and so is its whole column |
//! | anything else, and whatever is quoted | text |
//!
//! An exponent counts only behind a fraction or with a sign: `12E3` is more often an article's code.

use serde_json::{Number, Value};

/// The longest number that is kept as one, in bytes: what a double or 64 bits can be told by.
const NUMBER_BYTES_MAX: usize = 24;

/// What the text of a cell that is not quoted looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Empty,
    /// `true` or `false`.
    Switch(bool),
    /// A number that keeps its text.
    Number,
    /// Digits that would lose something as a number.
    Code,
    /// Anything else.
    Text,
}

/// Looks at the text of a cell.
pub(crate) fn kind_of(text: &str) -> Kind {
    match text {
        "" => return Kind::Empty,
        "true" => return Kind::Switch(true),
        "false" => return Kind::Switch(false),
        _ => {}
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = split_digits(unsigned);
    if whole.is_empty() {
        return Kind::Text;
    }
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
    if rest.is_empty() {
        let fits = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        return if has_leading_zero || !fits { Kind::Code } else { Kind::Number };
    }
    if has_leading_zero || text.len() > NUMBER_BYTES_MAX {
        return Kind::Text;
    }
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(behind) => split_digits(behind),
        None => ("", rest),
    };
    if rest.is_empty() && !fraction.is_empty() {
        return Kind::Number;
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return Kind::Text };
    let signless = exponent.strip_prefix(['+', '-']);
    let (digits, rest) = split_digits(signless.unwrap_or(exponent));
    let is_marked = signless.is_some() || !fraction.is_empty();
    let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
    let has_gap = unsigned.contains(".e") || unsigned.contains(".E");
    if is_marked && !digits.is_empty() && rest.is_empty() && is_finite && !has_gap { Kind::Number } else { Kind::Text }
}

/// The value that a cell's text stands for.
pub(crate) fn value_of(text: String) -> Value {
    match kind_of(&text) {
        Kind::Empty => Value::Null,
        Kind::Switch(switch) => Value::Bool(switch),
        Kind::Number => text.parse::<Number>().map_or(Value::String(text), Value::Number),
        Kind::Code | Kind::Text => Value::String(text),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind_of, value_of};

    #[test]
    fn a_number_is_one_only_where_its_text_stays() {
        for text in ["0", "7", "-3", "12.00", "0.5", "-0.25", "1.5e-3", "1e-05", "2E+10", "18446744073709551615"] {
            assert_eq!(kind_of(text), Kind::Number, "{text}");
            assert_eq!(value_of(text.to_owned()).to_string(), text.replace('E', "e"), "{text}");
        }
        for text in ["00001", "-007", "18446744073709551616", "00"] {
            assert_eq!(kind_of(text), Kind::Code, "{text}");
        }
        for text in [
            "1.",
            ".5",
            "1.e+5",
            "+5",
            "12E3",
            "1e999",
            "1.5e999",
            "0x10",
            "1,5",
            "1997-01-01",
            "--1",
            "-",
            "NaN",
            "True",
            " 1",
            "01.5",
            "1.2.3",
            "1.5e",
            "1e+",
        ] {
            assert_eq!(kind_of(text), Kind::Text, "{text}");
        }
        assert_eq!(kind_of(""), Kind::Empty);
        assert_eq!(kind_of("true"), Kind::Switch(true));
    }
}
