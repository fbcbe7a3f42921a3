//! A statement without its values, for logs: words stay, texts and numbers become `?`.
//!
//! **What stays true.** No text in quotes and no number of a statement is in its shape, wherever it stands: a name in
//! double quotes goes too, for it could be a value.

use super::token::{Token, tokens};

/// Longest shape, in characters.
const SHAPE_CHARS_MAX: usize = 500;

/// The words of a statement.
pub(super) fn shape(text: &str) -> String {
    let Ok(placed) = tokens(text) else { return "?".to_owned() };
    let mut shape = String::new();
    for placed in placed {
        if shape.len() > SHAPE_CHARS_MAX {
            shape.push('…');
            break;
        }
        let mut put = |part: &str| {
            if !shape.is_empty() && !placed.is_adjacent {
                shape.push(' ');
            }
            shape.extend(part.chars().take(SHAPE_CHARS_MAX));
        };
        match placed.token {
            Token::Word(word) => put(&word),
            Token::Name(name) => put(&format!("`{name}`")),
            Token::Text { .. } | Token::Number(_) => put("?"),
            Token::Dollar(name) => put(&format!("${name}")),
            Token::Symbol(symbol) => put(symbol),
            Token::End => {}
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn no_value_is_in_a_shape() {
        for (text, expected) in [
            (
                "SELECT  $.Name\nFROM c -- secret\nWHERE a='secret' AND b>=12.5",
                "SELECT $.Name FROM c WHERE a=? AND b>=?",
            ),
            ("INSERT INTO c VALUES {\"Id\": \"secret\", n: -1}", "INSERT INTO c VALUES {?: ?, n: -?}"),
            ("SELECT * FROM `my c` WHERE x = @secret", "SELECT * FROM `my c` WHERE x = @secret"),
            ("SELECT 'open", "?"),
        ] {
            assert_eq!(shape(text), expected);
        }
        assert!(shape(&"a ".repeat(10_000)).chars().count() < 600);
    }
}
