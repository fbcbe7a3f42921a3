//! The word that was probably meant.

/// Words longer than this are not compared: they are nobody's slip.
const WORD_CHARS_MAX: usize = 32;

/// The candidate that is written most like a word, if it is written much like it.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    let word = word.to_ascii_uppercase();
    let slips = match word.len() {
        0..=2 => 0,
        3..=4 => 1,
        _ => 2,
    };
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_uppercase()), candidate))
        .filter(|(distance, _)| *distance > 0 && *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let words = ["SELECT", "FROM", "WHERE", "ON"];
        for (word, meant) in [("SELCET", "SELECT"), ("form", "FROM"), ("WEHRE", "WHERE"), ("selct", "SELECT")] {
            assert_eq!(nearest(word, words), Some(meant));
        }
        for word in ["orders", "FROM", "no", "", "wherever"] {
            assert_eq!(nearest(word, words), None, "{word}");
        }
    }
}
