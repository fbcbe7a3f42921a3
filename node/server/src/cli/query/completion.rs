//! What may stand where the cursor is: the words of the language, and the names that the database has.
//!
//! | before the cursor                 | offered                                        |
//! |-----------------------------------|------------------------------------------------|
//! | `FROM`, `JOIN`, `INTO`, `UPDATE`, `INDEX n ON` | collections                       |
//! | `$.`, `o.`                        | fields of the collections that the statement names |
//! | anything else                     | those fields, functions, keywords              |
//! | `\`                               | commands                                       |
//!
//! **What stays true.** Nothing is offered inside of text or a comment, and no name that a terminal would obey.

use holdfast_query::language::KEYWORDS;
use holdfast_query::language::function::FUNCTIONS;
use holdfast_query::language::script::{begun, statements};

use super::cell::on_one_line;
use super::command::COMMANDS;

/// Words after which a collection is named.
const BEFORE_COLLECTION: [&str; 4] = ["FROM", "JOIN", "INTO", "UPDATE"];

/// The names that a database has.
pub(super) trait Names {
    /// Its collections.
    fn collections(&self) -> Vec<String>;
    /// Paths of the fields that documents of a collection have.
    fn fields(&self, collection: &str) -> Vec<String>;
}

/// Where the word under the cursor begins, and what it may become.
pub(super) fn complete(text: &str, at: usize, names: &impl Names) -> (usize, Vec<String>) {
    let before = text.get(..at).unwrap_or_default();
    if before.trim_start().starts_with('\\') {
        let start = before.find('\\').unwrap_or_default();
        let word = before.get(start..).unwrap_or_default();
        let fitting = COMMANDS.iter().filter(|command| command.name.starts_with(word));
        return (start, fitting.map(|command| command.name.to_owned()).collect());
    }
    let Some(statement) = begun(before) else { return (at, Vec::new()) };
    let start = at - word_length(statement);
    let word = before.get(start..).unwrap_or_default();
    let behind = text.get(at..).unwrap_or_default();
    let whole = format!("{statement} {}", statements(behind).first().map_or("", |piece| piece.text));
    let ahead = before.get(at - statement.len()..start).unwrap_or_default();
    let found = if names_collection(ahead) { collections(word, names) } else { values(word, &whole, names) };
    (start, found)
}

fn word_length(text: &str) -> usize {
    let mut rest = text;
    loop {
        let shorter = rest.strip_suffix("[*]").or_else(|| {
            rest.strip_suffix(|character: char| character.is_alphanumeric() || matches!(character, '_' | '.' | '$'))
        });
        match shorter {
            Some(shorter) => rest = shorter,
            None => return text.len() - rest.len(),
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| character.is_whitespace() || "(),;".contains(character))
        .filter(|word| !word.is_empty())
}

fn names_collection(ahead: &str) -> bool {
    let is_apart = ahead.ends_with(char::is_whitespace);
    let words: Vec<String> = words(ahead).map(str::to_ascii_uppercase).collect();
    let is_index = || words.iter().any(|word| word == "INDEX") && words.last().is_some_and(|word| word == "ON");
    is_apart && words.last().is_some_and(|last| BEFORE_COLLECTION.contains(&last.as_str()) || is_index())
}

fn collections(word: &str, names: &impl Names) -> Vec<String> {
    let mut all = names.collections();
    // What the node tells of itself is asked for by its sign.
    if word.starts_with('_') {
        all.extend(["_collections", "_conflicts", "_indexes", "_operations"].map(str::to_owned));
    }
    let fitting = all.into_iter().filter(|name| begins(name, word) && is_harmless(name));
    sorted(fitting.map(|name| quoted(&name)).collect())
}

fn values(word: &str, statement: &str, names: &impl Names) -> Vec<String> {
    let fields = || {
        let mut all = Vec::new();
        let mut is_named = false;
        for word in words(statement) {
            if is_named {
                all.extend(names.fields(word.trim_matches('`')));
            }
            is_named = BEFORE_COLLECTION.contains(&word.to_ascii_uppercase().as_str());
        }
        all
    };
    // `$.Customer.Na` and `o.Na` are a head, which stays, and the path behind it.
    if let Some((head, path)) = word.split_once('.')
        && (head == "$" || !fields().iter().any(|field| begins(field, word)))
    {
        let fitting = fields().into_iter().filter(|field| begins(field, path) && is_harmless(field));
        return sorted(fitting.map(|field| format!("{head}.{field}")).collect());
    }
    if word == "$" {
        return sorted(
            fields().into_iter().filter(|field| is_harmless(field)).map(|field| format!("$.{field}")).collect(),
        );
    }
    let is_small = !word.is_empty() && !word.contains(char::is_uppercase);
    let cased = |name: &str| if is_small { name.to_ascii_lowercase() } else { name.to_owned() };
    let mut found: Vec<String> =
        fields().into_iter().filter(|field| begins(field.trim_matches('`'), word) && is_harmless(field)).collect();
    if word.is_empty() && !found.is_empty() {
        return sorted(found);
    }
    let functions = FUNCTIONS.iter().flat_map(|function| function.names).filter(|name| begins(name, word));
    found.extend(functions.map(|name| format!("{}(", cased(name))));
    found.extend(KEYWORDS.iter().filter(|keyword| begins(keyword, word)).map(|keyword| cased(keyword)));
    sorted(found)
}

fn begins(name: &str, word: &str) -> bool {
    let mut characters = name.chars();
    word.chars().all(|wanted| characters.next().is_some_and(|found| found.to_lowercase().eq(wanted.to_lowercase())))
}

fn is_harmless(name: &str) -> bool {
    on_one_line(name) == name
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

/// Whether a name can stand without backticks.
pub(super) fn is_plain(name: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    name.chars().all(is_word) && !name.starts_with(|character: char| character.is_numeric())
}

/// A name as it is written in a statement.
pub(super) fn quoted(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

#[cfg(test)]
mod tests {
    use super::{Names, complete};

    struct Shop;

    impl Names for Shop {
        fn collections(&self) -> Vec<String> {
            ["orders", "Products", "old-orders", "x\u{1b}"].map(str::to_owned).to_vec()
        }

        fn fields(&self, collection: &str) -> Vec<String> {
            match collection {
                "orders" => ["Total", "Customer.Name", "Items[*].Sku", "`Ship To`"].map(str::to_owned).to_vec(),
                "Products" => ["Name", "total_stock", "`e\u{1b}`"].map(str::to_owned).to_vec(),
                _ => Vec::new(),
            }
        }
    }

    /// What is offered at the `|`, joined.
    fn offered(text: &str) -> String {
        let at = text.find('|').unwrap_or(text.len());
        let (start, found) = complete(&text.replacen('|', "", 1), at, &Shop);
        format!("{}: {}", text.get(start..at).unwrap_or_default(), found.join(" "))
    }

    #[test]
    fn collections_are_offered_where_one_is_named() {
        assert_eq!(offered("SELECT * FROM |"), ": Products `old-orders` orders");
        assert_eq!(offered("select * from o|"), "o: `old-orders` orders");
        assert_eq!(offered("SELECT 1; UPDATE p| SET x = 1"), "p: Products");
        assert_eq!(offered("CREATE INDEX n ON ord|"), "ord: orders");
        assert_eq!(offered("SELECT * FROM _i|"), "_i: _indexes");
    }

    #[test]
    fn fields_are_those_of_the_collections_that_the_statement_names() {
        assert_eq!(offered("SELECT cust| FROM orders"), "cust: Customer.Name");
        assert_eq!(
            offered("SELECT $.| FROM orders; SELECT 1"),
            "$.: $.Customer.Name $.Items[*].Sku $.Total $.`Ship To`"
        );
        assert_eq!(offered("SELECT $.Items[*].s| FROM orders"), "$.Items[*].s: $.Items[*].Sku");
        assert_eq!(offered("SELECT * FROM orders AS o JOIN Products p ON o.to|"), "o.to: o.Total o.total_stock");
        assert_eq!(offered("SELECT Customer.n| FROM orders"), "Customer.n: Customer.Name");
        assert_eq!(offered("SELECT ship| FROM orders"), "ship: `Ship To`");
        assert_eq!(offered("SELECT | FROM orders"), ": Customer.Name Items[*].Sku Total `Ship To`");
    }

    #[test]
    fn words_of_the_language_come_as_they_are_begun() {
        assert_eq!(offered("sel|"), "sel: select");
        assert_eq!(offered("SELECT * FROM orders WH|"), "WH: WHEN WHERE");
        assert_eq!(offered("SELECT startsw|"), "startsw: startswith(");
        assert_eq!(offered("SELECT STARTSW|"), "STARTSW: STARTSWITH(");
    }

    #[test]
    fn nothing_is_offered_in_text_and_commands_stand_alone() {
        assert_eq!(offered("SELECT 'sel|"), ": ");
        assert_eq!(offered("SELECT 1 -- sel|"), ": ");
        assert_eq!(offered("\\col|"), "\\col: \\collections");
        assert!(!offered("SELECT e| FROM Products").contains('\u{1b}'));
    }
}
