//! `LIKE`: `%` is any text, `_` any one character.
//!
//! What stands before the first `%` and after the last is compared in place; what stands between two is looked for
//! from left to right, and the first place is as good as any. So nothing is ever tried again, and the time is that of
//! searching for the parts of the pattern once.

/// Whether a text looks like a pattern. An `escape` makes the character after it stand for itself.
pub(super) fn is_like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    if escape.is_none() && !pattern.contains('_') {
        return is_like_plain(text, pattern);
    }
    let parts = parts(pattern, escape);
    let Some((first, others)) = parts.split_first() else {
        return text.is_empty();
    };
    let Some(mut rest) = first.at_start_of(text) else {
        return false;
    };
    let Some((last, middle)) = others.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match part.found_in(rest) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    last.is_end_of(rest)
}

/// The same for a pattern in which `%` is the only sign, without making anything of it.
fn is_like_plain(text: &str, pattern: &str) -> bool {
    let Some((first, others)) = pattern.split_once('%') else {
        return text == pattern;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = others.rsplit_once('%').unwrap_or(("", others));
    for part in middle.split('%') {
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What stands between two `%`: characters, `None` for `_`.
struct Part {
    characters: Vec<Option<char>>,
    /// The same as text, where no `_` is in it.
    text: Option<String>,
}

fn parts(pattern: &str, escape: Option<char>) -> Vec<Part> {
    let mut parts = vec![Vec::new()];
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let meant = match character {
            _ if Some(character) == escape => Some(characters.next().unwrap_or(character)),
            '%' => {
                parts.push(Vec::new());
                continue;
            }
            '_' => None,
            _ => Some(character),
        };
        if let Some(part) = parts.last_mut() {
            part.push(meant);
        }
    }
    parts.into_iter().map(Part::new).collect()
}

impl Part {
    fn new(characters: Vec<Option<char>>) -> Self {
        let text = characters.iter().copied().collect();
        Self { characters, text }
    }

    /// What follows the part, where a text begins with it.
    fn at_start_of<'text>(&self, text: &'text str) -> Option<&'text str> {
        if let Some(part) = &self.text {
            return text.strip_prefix(part.as_str());
        }
        let mut rest = text.chars();
        let fits = self.characters.iter().all(|wanted| match (rest.next(), wanted) {
            (Some(found), Some(wanted)) => found == *wanted,
            (Some(_), None) => true,
            (None, _) => false,
        });
        fits.then_some(rest.as_str())
    }

    /// What follows the first place where the part is in a text.
    fn found_in<'text>(&self, text: &'text str) -> Option<&'text str> {
        if let Some(part) = &self.text {
            return text.split_once(part.as_str()).map(|(_, after)| after);
        }
        text.char_indices().find_map(|(at, _)| self.at_start_of(text.get(at..)?))
    }

    /// Whether a text ends with the part.
    fn is_end_of(&self, text: &str) -> bool {
        if let Some(part) = &self.text {
            return text.ends_with(part.as_str());
        }
        let mut rest = text.chars();
        self.characters.iter().rev().all(|wanted| match (rest.next_back(), wanted) {
            (Some(found), Some(wanted)) => found == *wanted,
            (Some(_), None) => true,
            (None, _) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::is_like;

    /// The definition, in all its slowness.
    fn by_definition(text: &[char], pattern: &[char]) -> bool {
        match (text.split_first(), pattern.split_first()) {
            (_, Some(('%', rest))) => {
                (0..=text.len()).any(|at| by_definition(text.get(at..).unwrap_or_default(), rest))
            }
            (Some((_, text)), Some(('_', rest))) => by_definition(text, rest),
            (Some((found, text)), Some((wanted, rest))) => found == wanted && by_definition(text, rest),
            (None, None) => true,
            _ => false,
        }
    }

    #[test]
    fn patterns_mean_what_sql_says() {
        for (text, pattern, expected) in [
            ("Ada", "Ada", true),
            ("Ada", "ada", false),
            ("Ada Lovelace", "Ada%", true),
            ("Ada Lovelace", "%lace", true),
            ("Ada Lovelace", "%a%v%e", true),
            ("Ada", "___", true),
            ("Ada", "__", false),
            ("", "%", true),
            ("", "", true),
            ("a", "", false),
            ("äöü", "_ö_", true),
            ("aXbXc", "a%X%X%X%c", false),
        ] {
            assert_eq!(is_like(text, pattern, None), expected, "{text} {pattern}");
        }
        assert!(is_like("50%", "50!%", Some('!')) && !is_like("50x", "50!%", Some('!')));
        assert!(is_like("a!b", "a!!b", Some('!')) && is_like("a!", "a!", Some('!')));
        assert!(is_like("100\\", "100\\", None));
    }

    #[test]
    fn a_hard_pattern_takes_no_time() {
        let text = "a".repeat(200_000);
        let pattern = format!("{}b", "a%".repeat(400));
        assert!(!is_like(&text, &pattern, None));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(text in "[abß]{0,10}", pattern in "[abß%_]{0,8}") {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(is_like(&text, &pattern, None), by_definition(&characters(&text), &characters(&pattern)));
        }
    }
}
