//! A source text in three views: what the compiler reads, what people read, and which lines are tests.
//!
//! ```text
//!   source   let url = "a//b"; // why        as it is
//!   code     let url = "    ";               comments and the insides of literals blanked
//!   comments                   // why        everything else blanked
//! ```
//!
//! **What stays true.** All views have the same lines, so that a finding in any of them has its line number.
//!
//! **What it does not do.** It is no Rust parser: it knows comments, literals and braces, which is enough for rules
//! that look for words.

/// One Rust file, split for the rules.
pub(crate) struct Source {
    /// The lines that the compiler reads.
    pub(crate) code: Vec<String>,
    /// The lines that people read: comments of every kind.
    pub(crate) comments: Vec<String>,
    /// For each line, whether it belongs to an item under `#[cfg(test)]`.
    pub(crate) is_test: Vec<bool>,
}

/// Where the scanner stands.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    /// Block comments nest, as they do in Rust.
    BlockComment(u32),
    Text,
    /// A raw string, ended by a quote and this many hashes.
    RawText(usize),
}

impl Source {
    /// Splits a text.
    pub(crate) fn new(text: &str) -> Self {
        let (code, comments) = split(text);
        let is_test = test_lines(&code);
        Self { code, comments, is_test }
    }
}

/// The code view and the comment view.
fn split(text: &str) -> (Vec<String>, Vec<String>) {
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let (mut code, mut comments) = (String::new(), String::new());
    let mut state = State::Code;
    let mut index = 0;
    while index < characters.len() {
        let next = at(index);
        // How many characters are taken together, and whether they are code or comment.
        let mut take = 1;
        let (mut is_code, mut is_comment) = (false, false);
        match state {
            State::Code => {
                is_code = true;
                if next == '/' && at(index + 1) == '/' {
                    (state, is_code, is_comment) = (State::LineComment, false, true);
                } else if next == '/' && at(index + 1) == '*' {
                    (state, is_code, is_comment, take) = (State::BlockComment(1), false, true, 2);
                } else if let Some((hashes, length)) = raw_text_opening(&characters, index) {
                    (state, take) = (State::RawText(hashes), length);
                } else if next == '"' {
                    state = State::Text;
                } else if next == '\'' {
                    take = character_literal_length(&characters, index).unwrap_or(1);
                    is_code = take == 1;
                }
            }
            State::LineComment if next == '\n' => state = State::Code,
            State::LineComment => is_comment = true,
            State::BlockComment(depth) => {
                is_comment = true;
                if next == '*' && at(index + 1) == '/' {
                    take = 2;
                    state = if depth == 1 { State::Code } else { State::BlockComment(depth - 1) };
                } else if next == '/' && at(index + 1) == '*' {
                    (state, take) = (State::BlockComment(depth + 1), 2);
                }
            }
            State::Text if next == '\\' => take = 2,
            State::Text if next == '"' => (state, is_code) = (State::Code, true),
            State::Text => {}
            State::RawText(hashes) => {
                let closes = next == '"' && (1..=hashes).all(|offset| at(index + offset) == '#');
                if closes {
                    (state, take) = (State::Code, 1 + hashes);
                }
            }
        }
        for offset in 0..take {
            let character = at(index + offset);
            let line_end = character == '\n';
            code.push(if is_code || line_end { character } else { ' ' });
            comments.push(if is_comment || line_end { character } else { ' ' });
        }
        index += take;
    }
    (lines(&code), lines(&comments))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The number of hashes and the length of `r"`, `r#"`, `br#"` and the like, if one begins here.
fn raw_text_opening(characters: &[char], index: usize) -> Option<(usize, usize)> {
    let before = index.checked_sub(1).and_then(|before| characters.get(before));
    if before.is_some_and(|before| before.is_alphanumeric() || *before == '_') {
        return None;
    }
    let mut end = index;
    if matches!(characters.get(end), Some('b' | 'c')) {
        end += 1;
    }
    if characters.get(end) != Some(&'r') {
        return None;
    }
    end += 1;
    let hashes = characters.iter().skip(end).take_while(|next| **next == '#').count();
    end += hashes;
    (characters.get(end) == Some(&'"')).then_some((hashes, end + 1 - index))
}

/// The length of the character literal that begins here; `None` for a lifetime.
fn character_literal_length(characters: &[char], index: usize) -> Option<usize> {
    if characters.get(index + 1) == Some(&'\\') {
        // The escaped character itself may be a quote, so the search starts behind it.
        let rest = characters.get(index + 3..)?;
        return rest.iter().take(10).position(|next| *next == '\'').map(|offset| offset + 4);
    }
    (characters.get(index + 2) == Some(&'\'')).then_some(3)
}

/// Which lines belong to items under `#[cfg(test)]`: from the attribute to the brace that closes the item.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut is_test = Vec::with_capacity(code.len());
    // Inside an item, how deep; `None` outside.
    let mut depth: Option<u32> = None;
    for line in code {
        if depth.is_none() && line.contains("#[cfg(test)]") {
            depth = Some(0);
        }
        is_test.push(depth.is_some());
        for character in line.chars() {
            depth = match (depth, character) {
                (Some(depth), '{') => Some(depth + 1),
                (Some(0), ';') | (Some(0..=1), '}') => None,
                (Some(depth), '}') => Some(depth - 1),
                (depth, _) => depth,
            };
        }
    }
    is_test
}

#[test]
fn literals_and_comments_are_told_from_code() {
    let text =
        "let a = \"x // \\\" dbg\"; // why\nlet b = r#\"\"todo\"#; /* a /* b */ c */ let c = '\"'; let d: &'a str;\n";
    let source = Source::new(text);
    let [first, second] = &source.code[..] else { panic!("two lines") };
    assert_eq!(first.trim_end(), "let a = \"           \";");
    assert!(second.contains("let c =") && second.contains("let d: &'a str;"), "{second}");
    assert!(!second.contains("todo") && !second.contains("a /*"), "{second}");
    assert_eq!(source.comments[0].trim(), "// why");
    assert_eq!(source.comments[1].trim(), "/* a /* b */ c */");
}

#[test]
fn test_items_are_found_to_their_last_brace() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { }\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}\n";
    let expected = [false, true, true, true, true, false, true, true, false];
    assert_eq!(Source::new(text).is_test, expected);
}
