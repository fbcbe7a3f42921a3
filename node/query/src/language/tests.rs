//! Statements as text, as what they say, and as text again; and what is wrong with those that are no statements.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::expression::{Among, Kind};
use super::function::FUNCTIONS;
use super::statement::{Changes, Item, Statement};
use super::{parse, parse_expression};

/// What a statement prints as, once it has been seen that this says the same.
fn again(text: &str) -> String {
    let statement = parse(text).unwrap_or_else(|error| panic!("{text}\n{error}\n{:?}", error.excerpt));
    let printed = statement.to_string();
    let read = parse(&printed).unwrap_or_else(|error| panic!("{text}\n{printed}\n{error}"));
    assert_eq!(read, statement, "{text}\n{printed}");
    assert_eq!(read.to_string(), printed);
    printed
}

fn same(text: &str) {
    assert_eq!(again(text), text);
}

#[test]
fn statements_print_as_text_that_says_the_same() {
    for text in [
        "SELECT 1 + 1",
        "SELECT * FROM orders",
        "SELECT DISTINCT $.Region FROM orders ORDER BY $.Region",
        "SELECT $.Customer.Name AS name, $.price * $.qty AS total FROM orders WHERE $.price > 10 LIMIT 10 OFFSET 20",
        "SELECT {name: $.a, \"the total\": $.price * $.qty} FROM orders",
        "SELECT $.Region, COUNT(*) AS n, SUM(DISTINCT $.Total) FROM orders GROUP BY $.Region HAVING COUNT(*) > 1",
        "SELECT o.*, c.Name FROM orders AS o INNER JOIN customers AS c ON o.CustomerId = c.Id AND o.Shop = c.Shop",
        "SELECT o.Id FROM orders AS o LEFT JOIN lines ON o.Id = lines.OrderId CROSS JOIN days AS d WHERE lines.Id IS NULL",
        "SELECT * FROM `order-items` ORDER BY $.a DESC NULLS LAST, $.b NULLS FIRST, LENGTH($.c)",
        "SELECT * FROM c WHERE ANY $.Items[*].Sku = 'x' OR ALL $.Items[*].Qty BETWEEN 1 AND @most",
        "SELECT * FROM c WHERE @sku IN $.Items[*].Sku AND $.Id IN @ids AND $.a NOT IN (1, 2) AND NOT $.b IN ()",
        "SELECT * FROM c WHERE ($.a OR $.b) AND NOT ($.c = 1 AND $.d <> 'it''s') AND $.e IS NOT MISSING",
        "SELECT * FROM c WHERE $.a LIKE '10!%%' ESCAPE '!' AND $.b NOT ILIKE 'x_' AND $.c || 'a' = 'b'",
        "SELECT CASE WHEN $.a > 1 THEN 'many' ELSE 'few' END, CASE $.b WHEN 1 THEN TRUE END, -$.a, -(-5) FROM c",
        "SELECT $.a - ($.b - $.c) - -5, ($.a + 1) * 2 / 3 % 4, [1, {}, []], NULL, MISSING FROM c",
        "INSERT INTO c VALUES {Id: 'a', \"x y\": [1.50, -2e+10], z: NULL}, @more",
        "UPDATE c SET {a: 1} WHERE $.Id = 'x'",
        "UPDATE c SET $.stock = $.stock - 1, $.a.b[0] = NOW() WHERE $[\"order-id\"].order = 1",
        "DELETE FROM c",
        "DELETE FROM c WHERE $.a = 1",
        "CREATE UNIQUE INDEX IF NOT EXISTS n ON c ($.Items[*].Sku, $.b) CASE INSENSITIVE",
        "DROP INDEX IF EXISTS n ON c",
        "DROP INDEX n",
        "SELECT SUM(ARRAY_SUM(MAP($.Items => @.Price * @.Qty))) FROM c WHERE LENGTH(FILTER($.a => @[\"b c\"][0] = 1)) > 0",
        "SELECT FIELD(FIRST($.a), 'x'), MAP($.a => MAP(@.b => @ || 'x')) FROM c",
        "EXPLAIN SELECT * FROM c",
        "EXPLAIN ANALYZE DELETE FROM c",
        "SELECT $[\"it's \\\"so\\\"\"].x FROM c",
    ] {
        same(text);
    }
}

#[test]
fn what_can_be_written_in_several_ways_says_one_thing() {
    for (text, printed) in [
        ("select * from c;", "SELECT * FROM c"),
        ("SELECT $ FROM c", "SELECT * FROM c"),
        ("SELECT ALL a FROM c", "SELECT $.a FROM c"),
        (
            "SELECT TOP 100 $ FROM c WHERE $_id = 'a' OR $_id = 'b'",
            "SELECT * FROM c WHERE $._id = 'a' OR $._id = 'b' LIMIT 100",
        ),
        ("SELECT TOP (@n) DISTINCT a b FROM c", "SELECT DISTINCT $.a AS b FROM c LIMIT @n"),
        ("SELECT Top FROM c", "SELECT $.Top FROM c"),
        ("SELECT orders.total FROM orders", "SELECT orders.total FROM orders"),
        ("SELECT orders FROM orders", "SELECT $.orders FROM orders"),
        ("SELECT o, O.a FROM orders o", "SELECT o, o.a FROM orders AS o"),
        (
            "SELECT \"a b\" AS \"x y\" FROM \"c-d\" LIMIT 5 OFFSET 3",
            "SELECT 'a b' AS `x y` FROM `c-d` LIMIT 5 OFFSET 3",
        ),
        ("SELECT * FROM c OFFSET 3 LIMIT :n", "SELECT * FROM c LIMIT @n OFFSET 3"),
        ("SELECT a + b AS s FROM c ORDER BY S, 1", "SELECT $.a + $.b AS s FROM c ORDER BY $.a + $.b, $.a + $.b"),
        (
            "SELECT YEAR(d) AS y, SUM(t) AS t FROM c GROUP BY y HAVING SUM(t) > 5 AND t < 9",
            "SELECT YEAR($.d) AS y, SUM($.t) AS t FROM c GROUP BY YEAR($.d) HAVING SUM($.t) > 5 AND SUM($.t) < 9",
        ),
        ("SELECT * FROM a, b", "SELECT * FROM a CROSS JOIN b"),
        ("SELECT * FROM a JOIN b ON b.x = a.y", "SELECT * FROM a INNER JOIN b ON a.y = b.x"),
        ("SELECT * FROM c WHERE $.Items[*].Sku ANY = 'x'", "SELECT * FROM c WHERE ANY $.Items[*].Sku = 'x'"),
        ("SELECT * FROM c WHERE 5 < ALL (Items[*].n)", "SELECT * FROM c WHERE ALL $.Items[*].n > 5"),
        ("SELECT * FROM c WHERE 'x' IN (Items[*].n)", "SELECT * FROM c WHERE 'x' IN $.Items[*].n"),
        (
            "SELECT * FROM c WHERE a IN ['x', 'y'] AND b IN (@ids)",
            "SELECT * FROM c WHERE $.a IN ('x', 'y') AND $.b IN @ids",
        ),
        (
            "SELECT * FROM c WHERE a = 1 AND (b = 2 AND (c = 3)) -- so",
            "SELECT * FROM c WHERE $.a = 1 AND $.b = 2 AND $.c = 3",
        ),
        (
            "SELECT DISTINCT (a), b['x y'], COUNT(DISTINCT (c)), COUNT(DISTINCT d[*]) FROM c GROUP BY 1, 2, d[*]",
            "SELECT DISTINCT $.a, $.b[\"x y\"], COUNT(DISTINCT $.c), ARRAY_COUNT(ARRAY_DISTINCT($.d[*])) FROM c \
             GROUP BY $.a, $.b[\"x y\"], $.d[*]",
        ),
        ("SELECT {a, `b c`, d: {e: 1}} FROM c", "SELECT {a: $.a, \"b c\": $[\"b c\"], d: {e: 1}} FROM c"),
        (
            "SELECT CAST(a AS int), substr(b, 1), DATE_TRUNC(month, d) FROM c",
            "SELECT INTEGER($.a), SUBSTRING($.b, 1), DATE_TRUNC('month', $.d) FROM c",
        ),
        ("SELECT LEFT(a, 1), CURRENT_TIMESTAMP FROM c", "SELECT LEFT($.a, 1), NOW() FROM c"),
        (
            "INSERT INTO c (Id, `a b`) VALUES ('1', 2), ('2', -3)",
            "INSERT INTO c VALUES {Id: '1', \"a b\": 2}, {Id: '2', \"a b\": -3}",
        ),
        (
            "INSERT INTO c VALUES {\"Id\": \"a\\\"b\", \"n\": 1.50, \"t\": true, \"x\": null}",
            "INSERT INTO c VALUES {Id: 'a\"b', n: 1.50, t: TRUE, x: NULL}",
        ),
        ("UPDATE c SET stock = c.stock - 1 WHERE id = '5'", "UPDATE c SET $.stock = c.stock - 1 WHERE $.id = '5'"),
        (
            "SELECT $.Items[@.p > 1].Sku, SUM(Items[@.p > @least][@.q = 2]) FROM c GROUP BY Items, 1",
            "SELECT MAP(FILTER($.Items => @.p > 1) => @.Sku), ARRAY_SUM(FILTER(FILTER($.Items => @.p > @least) => @.q = 2)) \
             FROM c GROUP BY $.Items, MAP(FILTER($.Items => @.p > 1) => @.Sku)",
        ),
        ("CREATE INDEX n ON c (c.a, $.b[*].d ASC)", "CREATE INDEX n ON c ($.a, $.b[*].d)"),
        ("SELECT a!=b, a<>b, +a, - 5 FROM c", "SELECT $.a <> $.b, $.a <> $.b, $.a, -5 FROM c"),
        ("SELECT a AS n FROM c ORDER BY n.x", "SELECT $.a AS n FROM c ORDER BY $.n.x"),
    ] {
        assert_eq!(again(text), printed);
    }
}

#[test]
fn aggregates_of_arrays_are_functions_of_one_row() {
    let expression = parse_expression("SUM($.Items[*].Price) + MIN(a, b) + COUNT([1])").unwrap();
    assert!(!expression.has_aggregate());
    assert_eq!(expression.to_string(), "ARRAY_SUM($.Items[*].Price) + LEAST($.a, $.b) + ARRAY_COUNT([1])");
    assert_eq!(parse_expression("SUM(*.a.b)").unwrap().to_string(), "SUM($.a.b)");
    assert_eq!(parse_expression("ARRAY_SUM(a)").unwrap().to_string(), "ARRAY_SUM($.a)");
}

#[test]
fn long_conditions_are_lists_and_not_deep() {
    let many: Vec<String> = (0..20_000).map(|n| format!("a = {n}")).collect();
    let expression = parse_expression(&many.join(" OR ")).unwrap();
    assert!(matches!(&expression.kind, Kind::Or(parts) if parts.len() == 20_000));
    let numbers: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let expression = parse_expression(&format!("a IN ({})", numbers.join(","))).unwrap();
    assert!(matches!(&expression.kind, Kind::In { among: Among::Listed(items), .. } if items.len() == 20_000));
}

#[test]
fn stock_less_one_is_seen_as_a_counter() {
    let increments = |text: &str| match parse(text).unwrap() {
        Statement::Update(update) => match update.changes {
            Changes::Assign(assignments) => {
                assignments[0].increment().map(|(negative, amount)| (negative, amount.to_string()))
            }
            Changes::Merge(_) => None,
        },
        _ => None,
    };
    assert_eq!(increments("UPDATE c SET stock = stock - 1"), Some((true, "1".into())));
    assert_eq!(increments("UPDATE c SET $.a.stock = @n + c.a.stock"), Some((false, "@n".into())));
    for other in ["stock = 1 - stock", "stock = stock - qty", "stock = stock * 2", "stock = old + 1", "stock = stock"] {
        assert_eq!(increments(&format!("UPDATE c SET {other}")), None, "{other}");
    }
}

#[test]
fn columns_are_called_as_they_were_written() {
    let Statement::Select(select) =
        parse("SELECT *, a.b AS x, a.b, a[0], price * 2, {y: 1}, LENGTH(a) FROM c").unwrap()
    else {
        panic!()
    };
    let columns: Vec<Option<String>> = select.items.iter().map(Item::column).collect();
    let expected = [None, Some("x"), Some("b"), Some("a"), Some("$.price * 2"), None, Some("LENGTH($.a)")];
    assert_eq!(columns, expected.map(|name| name.map(str::to_owned)));
}

/// `code | message, position | suggestion`, and what stands above the caret.
fn wrong(text: &str) -> String {
    let error = parse(text).expect_err(text);
    let at = error.excerpt.as_deref().unwrap_or_default();
    let (line, pad) = at.rsplit_once('\n').unwrap_or_default();
    let under: String = line.chars().skip(pad.chars().count().saturating_sub(1)).take(6).collect();
    format!("{} | {error} | {under}", error.code)
}

#[test]
fn errors_say_what_to_write_and_where() {
    for (text, expected) in [
        ("", "query-required | Query is required, at line 1 column 1. | "),
        ("  ; ", "query-required | Query is required, at line 1 column 3. | ; "),
        (
            "SELECT * FROM c; SELECT 1",
            "query-one-statement | Only one query statement is allowed, at line 1 column 18. Send each statement in a request of its own. | SELECT",
        ),
        (
            "42",
            "unknown-command | Unable to determine query command, at line 1 column 1. A query begins with SELECT, INSERT, UPDATE, DELETE, CREATE INDEX, DROP INDEX or EXPLAIN. | 42",
        ),
        (
            "SELCT * FROM c",
            "unknown-command | Only SELECT, INSERT, UPDATE, DELETE are supported in safe query mode, at line 1 column 1. Did you mean SELECT? | SELCT ",
        ),
        (
            "PRAGMA x",
            "unknown-command | Only SELECT, INSERT, UPDATE, DELETE are supported in safe query mode, at line 1 column 1. There are also CREATE INDEX, DROP INDEX and EXPLAIN. | PRAGMA",
        ),
        (
            "SELECT * FORM c",
            "query-syntax | Expected the end of the statement, found 'FORM', at line 1 column 10. Did you mean FROM? | FORM c",
        ),
        (
            "SELECT a FORM c",
            "query-syntax | Expected the end of the statement, found 'c', at line 1 column 15. Did you mean FROM instead of FORM? | c",
        ),
        (
            "SELECT *\nFROM c\nWERE a = 1",
            "query-syntax | Expected the end of the statement, found 'a', at line 3 column 6. Did you mean WHERE instead of WERE? | a = 1",
        ),
        (
            "SELECT * FROM c LIMIT 5 ORDER BY a",
            "query-syntax | ORDER cannot stand here, at line 1 column 25. The order is SELECT, FROM, JOIN, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT, OFFSET, each once. | ORDER ",
        ),
        ("SELECT * FROM c ORDER a", "query-syntax | Expected BY, found 'a', at line 1 column 23. | a"),
        (
            "SELECT * FROM c WHERE a == 1",
            "query-syntax | Expected a comparison, found '==', at line 1 column 25. Write = to compare. | == 1",
        ),
        (
            "SELECT * FROM c WHERE a = 'x",
            "query-syntax | A quote is missing: what begins with ' does not end, at line 1 column 27. A quote inside of text is written twice: 'it''s'. | 'x",
        ),
        (
            "SELECT * FROM c WHERE a = 1 < 2",
            "query-syntax | Comparisons cannot be chained, at line 1 column 29. Write a < b AND b < c, or put one of them in brackets. | < 2",
        ),
        ("SELECT * FROM c WHERE a = ", "query-syntax | Expected a value, found the end, at line 1 column 27. | "),
        (
            "SELECT * FROM c WHERE order = 1",
            "query-syntax | Expected a value, found 'order', at line 1 column 23. ORDER is a word of the language; write a field of that name as $.order or `order`. | order ",
        ),
        (
            "SELECT UPER(a) FROM c",
            "unknown-function | There is no function UPER, at line 1 column 8. Did you mean UPPER? | UPER(a",
        ),
        (
            "SELECT SUBSTRING(a) FROM c",
            "wrong-argument-count | SUBSTRING takes 2 to 3 values, here are 1, at line 1 column 8. Write SUBSTRING(text, start, length?). | SUBSTR",
        ),
        (
            "SELECT * FROM c WHERE $.Items[*].Sku = 'x'",
            "many-values | $.Items[*].Sku names many values, which are compared with one, at line 1 column 38. Write ANY or ALL before it: ANY $.Items[*].Sku = ... | = 'x'",
        ),
        (
            "SELECT * FROM sales-items",
            "query-syntax | The name of a collection is missing or invalid. 'sales' ends here, at line 1 column 20.",
        ),
        (
            "SELECT * FROM $file('x')",
            "query-syntax | The name of a collection is missing or invalid. Found '$file', at line 1 column 15. Only collections can be read and written. | $file(",
        ),
        (
            "SELECT * INTO d FROM c",
            "not-supported | SELECT does not write, at line 1 column 10. Write INSERT INTO collection VALUES ... | INTO d",
        ),
        (
            "SELECT * FROM (SELECT 1)",
            "not-supported | A query inside a query is not supported, at line 1 column 15. Join the collections, or send two queries and hand on values as parameters. | (SELEC",
        ),
        (
            "SELECT a FROM c UNION SELECT b FROM c",
            "not-supported | UNION cannot stand here, at line 1 column 17. Send two queries. | UNION ",
        ),
        (
            "SELECT a, COUNT(*) FROM c",
            "not-grouped | $.a has a value for each document of a group, at line 1 column 8. Add it to GROUP BY, or write MAX($.a). | a, COU",
        ),
        (
            "SELECT * FROM c GROUP BY a",
            "not-grouped | A group has many documents, so that * is none of them, at line 1 column 8. Select what is grouped by, and aggregates. | * FROM",
        ),
        (
            "SELECT a FROM c WHERE SUM(b) > 1",
            "misplaced-aggregate | SUM cannot stand in WHERE, at line 1 column 23. Conditions on groups stand in HAVING. | SUM(b)",
        ),
        (
            "SELECT SUM(COUNT(*)) FROM c",
            "misplaced-aggregate | COUNT cannot stand in SUM, at line 1 column 12. | COUNT(",
        ),
        (
            "SELECT Id FROM a JOIN b ON a.x = b.y",
            "unqualified-path | Id does not say which of the collections it is a field of, at line 1 column 8. Write a.Id or b.Id. | Id FRO",
        ),
        (
            "SELECT a.x FROM a JOIN b ON a.x > b.y",
            "join-not-an-equality | ON compares a field of one collection with one of another, at line 1 column 33. Write ON a.Id = b.CustomerId; other conditions stand in WHERE. | > b.y",
        ),
        (
            "SELECT * FROM a JOIN a ON a.x = a.y",
            "ambiguous-name | a names two collections, at line 1 column 22. Give one of them another name: a AS other. | a ON a",
        ),
        (
            "SELECT x.* FROM c",
            "unknown-source | No collection is called x here, at line 1 column 8. Write c.*, or * for everything. | x.* FR",
        ),
        (
            "SELECT name",
            "no-document | There is no FROM, so there is no document to read from, at line 1 column 8. Write FROM and a collection. | name",
        ),
        (
            "SELECT DISTINCT a FROM c ORDER BY b",
            "order-not-shown | Distinct rows are ordered by what they show, at line 1 column 35. Select what ORDER BY names, or leave DISTINCT out. | b",
        ),
        (
            "SELECT a FROM c ORDER BY 2",
            "no-such-item | There is no value at place 2 of what is selected, at line 1 column 26. | 2",
        ),
        (
            "SELECT * FROM c LIMIT -1",
            "query-syntax | Expected a number of rows, found '-', at line 1 column 23. Write a whole number from 0, or a parameter: @rows. | -1",
        ),
        (
            "INSERT c VALUES {}",
            "query-syntax | INSERT format must be: INSERT INTO <collection> VALUES <json-object>. Found 'c', at line 1 column 8. | c VALU",
        ),
        (
            "INSERT INTO c {}",
            "query-syntax | INSERT format must be: INSERT INTO <collection> VALUES <json-object>. Found '{', at line 1 column 15. | {}",
        ),
        ("INSERT INTO c VALUES", "query-syntax | JSON payload is required, at line 1 column 21. | "),
        (
            "INSERT INTO c VALUES [1]",
            "query-syntax | Payload must be a JSON object, at line 1 column 22. Write INSERT INTO c VALUES {\"Id\": \"1\"}, or INSERT INTO c (Id) VALUES ('1'). | [1]",
        ),
        (
            "INSERT INTO c VALUES {a: b}",
            "no-document | There is no document here that a field could be read from, at line 1 column 26. Put text in quotes: 'text'. | b}",
        ),
        (
            "INSERT INTO c (a, b) VALUES (1)",
            "query-syntax | 2 fields are named, here are 1 values, at line 1 column 29. | (1)",
        ),
        (
            "UPDATE SET {}",
            "query-syntax | UPDATE collection name is missing or invalid. Found 'SET', at line 1 column 8. Write `SET` if it is a name. | SET {}",
        ),
        (
            "UPDATE c {}",
            "query-syntax | UPDATE format must be: UPDATE <collection> SET <json-object> WHERE Id = <value>. Found '{', at line 1 column 10. | {}",
        ),
        (
            "UPDATE c SET 5",
            "query-syntax | UPDATE requires a JSON object after SET, at line 1 column 14. Write SET {\"stock\": 5}, or SET stock = stock - 1. | 5",
        ),
        (
            "UPDATE c SET {} x",
            "query-syntax | UPDATE trailing clause is invalid. Use optional WHERE <filterExpr>. Found 'x', at line 1 column 17. | x",
        ),
        (
            "UPDATE c SET Id = 'x'",
            "id-not-writable | A document keeps its id, at line 1 column 14. Insert a document under the other id, and delete this one. | Id = '",
        ),
        ("UPDATE c SET a = 1, a.b = 2", "assigned-twice | $.a.b is assigned twice, at line 1 column 21. | a.b = "),
        (
            "DELETE c",
            "query-syntax | DELETE format must be: DELETE FROM <collection> WHERE Id = <value>. Found 'c', at line 1 column 8. | c",
        ),
        (
            "DELETE FROM c WHER a = 1",
            "query-syntax | DELETE trailing clause is invalid. Use optional WHERE <filterExpr>. Found 'WHER', at line 1 column 15. Did you mean WHERE? | WHER a",
        ),
        (
            "CREATE TABLE c",
            "query-syntax | Expected INDEX, found 'TABLE', at line 1 column 8. Only indexes are created by query; a collection is there once it has a document. | TABLE ",
        ),
        (
            "SELECT Items[-1] FROM c",
            "query-syntax | Expected an index from 0, found '-', at line 1 column 14. Write LAST(array) for the last item. | -1] FR",
        ),
        (
            "SELECT ‘x’",
            "query-syntax | '‘' is not part of the language, at line 1 column 8. Write the plain quote: '. | ‘x’",
        ),
    ] {
        let found = wrong(text);
        assert!(found.starts_with(expected), "{text}\nfound    {found}\nexpected {expected}");
    }
}

#[test]
fn the_readme_names_every_function() {
    let readme = include_str!("../../../../README.md");
    let words: Vec<&str> = readme.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').collect();
    let unnamed: Vec<_> =
        FUNCTIONS.iter().map(|known| known.function.name()).filter(|name| !words.contains(name)).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
}
