//! The words that a bare name cannot be, for they say where a part of a statement begins or ends.

/// In capitals, sorted.
const RESERVED: [&str; 46] = [
    "ALL", "AND", "ANY", "AS", "ASC", "BETWEEN", "BY", "CASE", "CROSS", "DESC", "DISTINCT", "ELSE", "END", "ESCAPE",
    "FALSE", "FROM", "FULL", "GROUP", "HAVING", "ILIKE", "IN", "INNER", "INTO", "IS", "JOIN", "LEFT", "LIKE", "LIMIT",
    "MISSING", "NOT", "NULL", "NULLS", "OFFSET", "ON", "OR", "ORDER", "OUTER", "RIGHT", "SELECT", "SET", "THEN",
    "TRUE", "UNION", "VALUES", "WHEN", "WHERE",
];

/// Every word of the language that is no function, for whoever completes what is being typed.
pub const KEYWORDS: [&str; 63] = [
    "ALL",
    "ANALYZE",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CREATE",
    "CROSS",
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "DELETE",
    "DESC",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "ESCAPE",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FIRST",
    "FROM",
    "GROUP",
    "HAVING",
    "IF",
    "ILIKE",
    "IN",
    "INDEX",
    "INNER",
    "INSENSITIVE",
    "INSERT",
    "INTO",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MISSING",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "RIGHT",
    "SELECT",
    "SET",
    "THEN",
    "TOP",
    "TRUE",
    "UNIQUE",
    "UNKNOWN",
    "UPDATE",
    "VALUES",
    "WHEN",
    "WHERE",
];

/// Whether a bare name cannot be this word. After a `.` or in backticks every word is a name.
pub(super) fn is_reserved(word: &str) -> bool {
    word.len() <= 8 && RESERVED.binary_search(&word.to_ascii_uppercase().as_str()).is_ok()
}

/// Whether a name needs no quotes after a `.`: it is letters, digits and `_`, and begins with no digit.
pub(super) fn is_plain(name: &str) -> bool {
    name.chars().next().is_some_and(begins_name) && name.chars().all(continues_name)
}

/// Whether a bare name may begin so.
pub(super) fn begins_name(character: char) -> bool {
    character.is_alphabetic() || character == '_'
}

/// Whether a bare name may go on so.
pub(super) fn continues_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::{KEYWORDS, RESERVED, is_reserved};

    #[test]
    fn reserved_words_are_found_in_any_case() {
        assert!(RESERVED.is_sorted() && KEYWORDS.is_sorted());
        // Two are reserved for what they mean elsewhere, and refused with an explanation.
        assert!(RESERVED.iter().all(|word| KEYWORDS.contains(word) || matches!(*word, "FULL" | "UNION")));
        assert!(RESERVED.iter().all(|word| word.len() <= 8 && is_reserved(word)));
        assert!(is_reserved("where") && is_reserved("Distinct") && !is_reserved("index") && !is_reserved("Sku"));
    }
}
