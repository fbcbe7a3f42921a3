//! Generated statements over generated documents, beside SQLite and beside themselves without the optimiser.
//!
//! Where the two languages agree on what a question means, they agree on the answer. What they see differently is left
//! out: missing and null as two groups, true and 1 as two values, text in sums.

use std::fmt::Write as _;

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::shop::Shop;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }
}

const WORDS: [&str; 6] = ["ash", "birch", "Cedar", "elm", "o'ak", "ü"];

fn document(number: u64, dice: &mut Dice) -> Value {
    let mut document = json!({
        "Id": format!("d{number:03}"),
        "b": i64::try_from(dice.below(9)).unwrap() - 2,
        "x": f64::from(u32::try_from(dice.below(4_000)).unwrap()) / 4.0,
        "c": match dice.below(7) { 6 => Value::Null, word => json!(WORDS[usize::try_from(word).unwrap()]) },
        "at": {"deep": {"n": dice.below(5)}},
    });
    // Of any kind, null, or not there at all.
    let mixed = match dice.below(8) {
        0 | 1 => Some(json!(dice.below(10))),
        2 => Some(json!(1.5)),
        3 => Some(json!(dice.one_of(&WORDS))),
        4 => Some(json!("3")),
        5 => Some(Value::Null),
        6 => Some(json!(-0.25)),
        _ => None,
    };
    if let Some(mixed) = mixed {
        document["a"] = mixed;
    }
    document
}

/// A field, as both languages call it.
fn field(dice: &mut Dice, from: &[&'static str]) -> (String, String) {
    let name = dice.one_of(from);
    (name.to_owned(), column("d", name))
}

fn column(table: &str, path: &str) -> String {
    if path == "Id" { format!("{table}.id") } else { format!("json_extract({table}.body, '$.{path}')") }
}

fn constant(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => format!("{}", i64::try_from(dice.below(12)).unwrap() - 2),
        1 => format!("{}.5", dice.below(900)),
        2 => "3".to_owned(),
        _ => format!("'{}'", dice.one_of(&WORDS).replace('\'', "''")),
    }
}

/// A condition in both languages.
fn condition(dice: &mut Dice, depth: u32) -> (String, String) {
    let both = |ours: String, theirs: String| (ours, theirs);
    if depth > 0 {
        let (left, right) = (condition(dice, depth - 1), condition(dice, depth - 1));
        return match dice.below(5) {
            0 | 1 => both(format!("({} AND {})", left.0, right.0), format!("({} AND {})", left.1, right.1)),
            2 | 3 => both(format!("({} OR {})", left.0, right.0), format!("({} OR {})", left.1, right.1)),
            _ => both(format!("NOT ({})", left.0), format!("NOT ({})", left.1)),
        };
    }
    let (ours, theirs) = field(dice, &["a", "b", "c", "x", "at.deep.n", "Id"]);
    let not = dice.one_of(&["", "", "NOT "]);
    match dice.below(9) {
        0..=3 => {
            let operator = dice.one_of(&["=", "<>", "<", "<=", ">", ">="]);
            // SQLite makes a number text where a column of text is compared with it.
            let value = if ours == "Id" { format!("'d{:03}'", dice.below(160)) } else { constant(dice) };
            both(format!("{ours} {operator} {value}"), format!("{theirs} {operator} {value}"))
        }
        4 => {
            let (low, high) = if ours == "Id" {
                (format!("'d{:03}'", dice.below(80)), format!("'d{:03}'", 50 + dice.below(100)))
            } else {
                (constant(dice), constant(dice))
            };
            both(format!("{ours} {not}BETWEEN {low} AND {high}"), format!("{theirs} {not}BETWEEN {low} AND {high}"))
        }
        5 => {
            let count = 1 + dice.below(4);
            let mut values: Vec<String> = (0..count).map(|_| constant(dice)).collect();
            if ours == "Id" {
                values = (0..count).map(|_| format!("'d{:03}'", dice.below(160))).collect();
            }
            let values = values.join(", ");
            both(format!("{ours} {not}IN ({values})"), format!("{theirs} {not}IN ({values})"))
        }
        6 => both(format!("{ours} IS {not}NULL"), format!("{theirs} IS {not}NULL")),
        7 => {
            let pattern = dice.one_of(&["a%", "%e%", "_sh", "%", "Ce%ar", "ü%"]);
            both(format!("c {not}LIKE '{pattern}'"), format!("{} {not}LIKE '{pattern}'", column("d", "c")))
        }
        _ => {
            let number = dice.below(20);
            both(
                format!("b * 2 + at.deep.n > {number}"),
                format!("{} * 2 + {} > {number}", column("d", "b"), column("d", "at.deep.n")),
            )
        }
    }
}

fn conditions(dice: &mut Dice) -> (String, String) {
    let depth = u32::try_from(dice.below(3)).unwrap();
    match dice.below(8) {
        0 => (String::new(), String::new()),
        _ => {
            let (ours, theirs) = condition(dice, depth);
            (format!(" WHERE {ours}"), format!(" WHERE {theirs}"))
        }
    }
}

/// A statement in both languages, and whether its rows come in an order.
fn statement(dice: &mut Dice) -> (String, String, bool) {
    let (ours, theirs) = conditions(dice);
    match dice.below(6) {
        0 => grouped(dice, &ours, &theirs),
        1 => {
            let aggregates = "COUNT(*) AS n, COUNT(a) AS k, SUM(b) AS s, AVG(x) AS v, MIN(a) AS l, MAX(a) AS m, \
                              COUNT(DISTINCT c) AS u";
            let ours = format!("SELECT {aggregates} FROM d{ours}");
            let (a, b, x, c) = (column("d", "a"), column("d", "b"), column("d", "x"), column("d", "c"));
            let theirs = format!(
                "SELECT COUNT(*), COUNT({a}), SUM({b}), AVG({x}), MIN({a}), MAX({a}), COUNT(DISTINCT {c}) FROM d{theirs}"
            );
            (ours, theirs, true)
        }
        2 => {
            let join = dice.one_of(&["JOIN", "LEFT JOIN"]);
            let ours = ours.replace("Id", "d.Id");
            let ours = qualified(&ours);
            (
                format!("SELECT d.Id, t.Id, t.size FROM d d {join} t t ON d.c = t.Id{ours}"),
                format!(
                    "SELECT d.id, t.id, {} FROM d d {join} t t ON {} = t.id{theirs}",
                    column("t", "size"),
                    column("d", "c")
                ),
                false,
            )
        }
        3 => (
            format!("SELECT DISTINCT c, b FROM d{ours}"),
            format!("SELECT DISTINCT {}, {} FROM d{theirs}", column("d", "c"), column("d", "b")),
            false,
        ),
        _ => plain(dice, &ours, &theirs),
    }
}

/// Paths that say which of two collections they begin in.
fn qualified(condition: &str) -> String {
    let mut out = String::new();
    let mut in_text = false;
    let words = condition.split_inclusive(|sign: char| !sign.is_alphanumeric() && sign != '.');
    for word in words {
        let bare = word.trim_end_matches(|sign: char| !sign.is_alphanumeric());
        if !in_text && ["a", "b", "c", "x", "at.deep.n"].contains(&bare) {
            out.push_str("d.");
        }
        if word.contains('\'') {
            in_text = !in_text;
        }
        out.push_str(word);
    }
    out
}

fn grouped(dice: &mut Dice, ours: &str, theirs: &str) -> (String, String, bool) {
    let (mine, other) = field(dice, &["b", "c", "at.deep.n"]);
    let having = dice.below(6);
    let (b, x) = (column("d", "b"), column("d", "x"));
    (
        format!(
            "SELECT {mine} AS key, COUNT(*) AS n, SUM(b) AS s, MAX(x) AS m FROM d{ours} GROUP BY {mine} \
             HAVING COUNT(*) > {having} ORDER BY COUNT(*) DESC, {mine}"
        ),
        format!(
            "SELECT {other}, COUNT(*), SUM({b}), MAX({x}) FROM d{theirs} GROUP BY {other} \
             HAVING COUNT(*) > {having} ORDER BY COUNT(*) DESC, {other}"
        ),
        true,
    )
}

fn plain(dice: &mut Dice, ours: &str, theirs: &str) -> (String, String, bool) {
    let mut mine = format!("SELECT Id, a, c, at.deep.n FROM d{ours}");
    let (a, c, n) = (column("d", "a"), column("d", "c"), column("d", "at.deep.n"));
    let mut other = format!("SELECT id, {a}, {c}, {n} FROM d{theirs}");
    let keys = dice.below(3);
    if keys == 0 {
        return (mine, other, false);
    }
    let (mut my_keys, mut other_keys, mut all_fall) = (Vec::new(), Vec::new(), true);
    for _ in 0..keys {
        let (my_key, other_key) = field(dice, &["a", "b", "c", "x", "Id"]);
        let direction = dice.one_of(&["", " DESC"]);
        all_fall &= !direction.is_empty();
        if my_key == "a" {
            // Missing comes before null here; SQLite tells one from the other only if asked.
            other_keys.push(format!("json_type(d.body, '$.a') IS NOT NULL{direction}"));
        }
        my_keys.push(format!("{my_key}{direction}"));
        other_keys.push(format!("{other_key}{direction}"));
    }
    // Equal rows come by their ids, backwards where everything goes backwards.
    other_keys.push(if all_fall { "d.id DESC".to_owned() } else { "d.id".to_owned() });
    write!(mine, " ORDER BY {}", my_keys.join(", ")).unwrap();
    write!(other, " ORDER BY {}", other_keys.join(", ")).unwrap();
    if dice.below(2) == 0 {
        let window = format!(" LIMIT {} OFFSET {}", dice.below(20), dice.below(5));
        mine.push_str(&window);
        other.push_str(&window);
    }
    (mine, other, true)
}

fn ours(row: &Value) -> Vec<Cell> {
    let cell = |value: &Value| match value {
        Value::Null => Cell::Null,
        Value::Number(number) => Cell::Real(number.as_f64().unwrap()),
        Value::String(text) => Cell::Text(text.clone()),
        other => panic!("{other} is none of SQLite's"),
    };
    row.as_object().unwrap().values().map(cell).collect()
}

fn theirs(connection: &Connection, statement: &str) -> Vec<Vec<Cell>> {
    let mut prepared = connection.prepare_cached(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    let columns = prepared.column_count();
    let rows = prepared.query_map([], |row| (0..columns).map(|column| row.get::<_, Cell>(column)).collect());
    let rows: Vec<Vec<Cell>> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    let real = |cell: Cell| match cell {
        Cell::Integer(number) => Cell::Real(f64::from(i32::try_from(number).unwrap())),
        cell => cell,
    };
    rows.into_iter().map(|row| row.into_iter().map(real).collect()).collect()
}

fn is_same(left: &[Vec<Cell>], right: &[Vec<Cell>]) -> bool {
    let is_near = |left: f64, right: f64| (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(1.0);
    let is_same_cell = |(left, right): (&Cell, &Cell)| match (left, right) {
        (Cell::Real(left), Cell::Real(right)) => is_near(*left, *right),
        (left, right) => left == right,
    };
    let is_same_row =
        |(left, right): (&Vec<Cell>, &Vec<Cell>)| left.len() == right.len() && left.iter().zip(right).all(is_same_cell);
    left.len() == right.len() && left.iter().zip(right).all(is_same_row)
}

/// Rows in an order of their own, for comparing those that come in none.
fn sorted(mut rows: Vec<Vec<Cell>>) -> Vec<Vec<Cell>> {
    rows.sort_by_key(|row| format!("{row:?}"));
    rows
}

fn filled(dice: &mut Dice) -> (Shop, Connection) {
    let documents: Vec<Value> = (0..150).map(|number| document(number, dice)).collect();
    let trees: Vec<Value> =
        WORDS.iter().take(5).enumerate().map(|(size, word)| json!({"Id": word, "size": size})).collect();
    let mut shop = Shop::new();
    shop.put("d", &documents);
    shop.put("t", &trees);
    for paths in [&["a"][..], &["c", "b"], &["b", "x"], &["at.deep.n"], &["x"]] {
        shop.index(&paths.join("-"), "d", paths, false);
    }
    shop.index("folded", "d", &["c"], true);
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("PRAGMA case_sensitive_like = ON").unwrap();
    for (table, documents) in [("d", documents), ("t", trees)] {
        connection.execute_batch(&format!("CREATE TABLE {table} (id TEXT PRIMARY KEY, body TEXT)")).unwrap();
        for document in documents {
            let insert = format!("INSERT INTO {table} VALUES (?1, ?2)");
            connection.execute(&insert, (document["Id"].as_str().unwrap(), document.to_string())).unwrap();
        }
    }
    (shop, connection)
}

#[test]
fn thousands_of_statements_give_what_sqlite_gives_with_and_without_the_optimiser() {
    let (mut answered, mut by_index) = (0, 0);
    for seed in 1..=4 {
        let mut dice = Dice(seed);
        let (mut shop, connection) = filled(&mut dice);
        for number in 0..1_000 {
            let (mine, other, is_ordered) = statement(&mut dice);
            let arrange = |rows: Vec<Vec<Cell>>| if is_ordered { rows } else { sorted(rows) };
            let expected = arrange(theirs(&connection, &other));
            for optimises in [true, false] {
                shop.options.optimises = optimises;
                let given =
                    shop.run(&mine).unwrap_or_else(|failure| panic!("seed {seed}, {number}: {mine}: {failure}"));
                by_index += usize::from(given.plan.contains("Index"));
                let found = arrange(given.rows.iter().map(ours).collect());
                assert!(
                    is_same(&found, &expected),
                    "seed {seed}, statement {number}, optimiser {optimises}, plan {}\n{mine}\n{other}\nours   {found:?}\ntheirs {expected:?}",
                    given.plan
                );
            }
            answered += usize::from(!expected.is_empty());
        }
    }
    assert!(by_index > 1_000, "{by_index} statements went by an index");
    assert!(answered > 2_500, "{answered} statements had rows: the generator asks for nothing");
}
