//! Expressions and what they are worth.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use holdfast_core::time::Millis;
use serde_json::{Map, Value, json};

use super::{Compute, missing_parameter};
use crate::language::function::FUNCTIONS;
use crate::language::{QueryError, parse, parse_expression};

fn order() -> Value {
    serde_json::from_str(
        r#"{"id": "ord-1", "Customer": {"Name": "Ada"}, "price": 19.99, "qty": 3, "big": 12345678901234567890123,
            "Items": [{"Sku": "A", "n": 1, "p": 0.1}, {"Sku": "B", "n": 5, "p": 0.2}, {"n": null}], "Tags": ["x", "y"],
            "none": null, "yes": true, "text": "Straße", "date": "2026-03-05T15:04:09Z", "mixed": [1, "a", null, 2.50]}"#,
    )
    .unwrap()
}

fn evaluate(text: &str) -> Result<Option<Value>, QueryError> {
    let expression = parse_expression(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let parameters: Map<String, Value> = match json!({"store": 17, "ids": ["ord-1", "x"], "one": "ord-1"}) {
        Value::Object(parameters) => parameters,
        _ => Map::new(),
    };
    let random = || 0x1234_5678_9abc_def0_1234_5678_9abc_def0;
    let compute = Compute { parameters: &parameters, now: Millis(1_772_723_049_123), random: &random };
    compute.value(&expression, &[Some(&order())])
}

/// The value as text; `missing` where there is none.
fn worth(text: &str) -> String {
    match evaluate(text) {
        Ok(Some(value)) => value.to_string(),
        Ok(None) => "missing".to_owned(),
        Err(error) => error.code.to_owned(),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(worth(text), *expected, "{text}");
    }
}

#[test]
fn paths_find_what_stands_there() {
    check(&[
        ("Customer.Name", "\"Ada\""),
        ("$.Items[1].Sku", "\"B\""),
        ("$.Items[9].Sku", "missing"),
        ("nowhere.at.all", "missing"),
        ("none", "null"),
        ("none.x", "missing"),
        ("Id", "\"ord-1\""),
        ("_id", "\"ord-1\""),
        ("$_id", "\"ord-1\""),
        ("Items[*].Sku", "[\"A\",\"B\"]"),
        ("Items[*].n", "[1,5,null]"),
        ("Tags[*]", "[\"x\",\"y\"]"),
        ("price[*]", "[]"),
        ("nowhere[*].x", "[]"),
        ("big", "12345678901234567890123"),
        ("{a: price, gone: nowhere, n: none, t: [nowhere]}", "{\"a\":19.99,\"n\":null,\"t\":[null]}"),
    ]);
}

#[test]
fn arithmetic_is_exact() {
    check(&[
        ("price * qty", "59.97"),
        ("0.1 + 0.2", "0.3"),
        ("big + 1", "12345678901234567890124"),
        ("1 / 3", "0.33333333333333333333"),
        ("7 / 2", "3.5"),
        ("-7 % 3", "-1"),
        ("-price", "-19.99"),
        ("2 + 3 * 4 - -1", "15"),
        ("none + 1", "null"),
        ("nowhere * 2", "null"),
        ("text + 1", "type-mismatch"),
        ("1 / 0", "division-by-zero"),
        ("1 % (qty - 3)", "division-by-zero"),
        ("1e300 * 1e300", "number-out-of-range"),
        ("'a' || 1 || TRUE", "\"a1true\""),
        ("'a' || none", "null"),
        ("'a' || Tags", "type-mismatch"),
    ]);
}

#[test]
fn unknown_spreads_as_far_as_it_matters() {
    check(&[
        ("none = none", "null"),
        ("none = 1", "null"),
        ("nowhere <> 1", "null"),
        ("none = 1 AND FALSE", "false"),
        ("none = 1 AND TRUE", "null"),
        ("none = 1 OR TRUE", "true"),
        ("none = 1 OR FALSE", "null"),
        ("NOT (none = 1)", "null"),
        ("none IS NULL", "true"),
        ("nowhere IS NULL", "true"),
        ("nowhere IS MISSING", "true"),
        ("none IS MISSING", "false"),
        ("none IS NOT MISSING", "true"),
        ("(none = 1) IS NULL", "true"),
        ("(qty = 3) IS TRUE", "true"),
        ("none BETWEEN 1 AND 2", "null"),
        ("5 BETWEEN 6 AND none", "false"),
        ("5 NOT BETWEEN 6 AND none", "true"),
        ("none IN (1, 2)", "null"),
        ("none IN ()", "false"),
        ("3 IN (1, NULL)", "null"),
        ("1 IN (1, NULL)", "true"),
        ("3 NOT IN (1, 2)", "true"),
        ("CASE WHEN none = 1 THEN 'a' ELSE 'b' END", "\"b\""),
        ("CASE none WHEN NULL THEN 'a' END", "null"),
        ("IS_NUMBER(text) AND text * 2 > 1", "false"),
        ("yes AND qty = 3", "true"),
        ("text AND TRUE", "type-mismatch"),
    ]);
}

#[test]
fn values_of_all_kinds_can_be_compared() {
    check(&[
        ("12 = 12.0", "true"),
        ("1.2e1 >= 12", "true"),
        ("big > 12345678901234567890122", "true"),
        ("'a' > 5", "true"),
        ("'5' = 5", "false"),
        ("'5' <> 5", "true"),
        ("TRUE < 0", "true"),
        ("[1, 2] = [1.0, 2]", "true"),
        ("{a: 1, b: 2} = {b: 2, a: 1}", "true"),
        ("Items[*].Sku = ['A', 'B']", "true"),
        ("qty * 1.0 = qty", "true"),
        ("'A' < 'a'", "true"),
        ("qty LIKE '3'", "false"),
        ("text LIKE 'Str%'", "true"),
        ("text ILIKE 'STRA_E'", "true"),
        ("text NOT LIKE '%x%'", "true"),
        ("'50%' LIKE '50\\%' ESCAPE '\\'", "true"),
        ("none LIKE 'a'", "null"),
        ("text LIKE 5", "type-mismatch"),
    ]);
}

#[test]
fn items_of_arrays_can_be_asked_for() {
    check(&[
        ("ANY Items[*].Sku = 'B'", "true"),
        ("Items[*].Sku ANY = 'C'", "false"),
        ("'A' IN Items[*].Sku", "true"),
        ("'C' NOT IN Items[*].Sku", "true"),
        ("ANY Items[*].n > 4", "true"),
        ("ALL Items[*].p < 1", "true"),
        ("ALL Items[*].n > 0", "null"),
        ("ANY Items[*].n > 9", "null"),
        ("ANY nowhere[*] = 1", "false"),
        ("ALL nowhere[*] = 1", "true"),
        ("ANY Tags = 'x'", "true"),
        ("ANY Customer.Name = 'Ada'", "true"),
        ("ANY none = 'x'", "null"),
        ("5 <= ANY Items[*].n", "true"),
        ("ANY Items[*].Sku LIKE 'A%'", "true"),
        ("ANY Items[*].Sku IN ('B', 'C')", "true"),
        ("ANY Items[*].n IS NULL", "true"),
        ("Id IN @ids", "true"),
        ("Id IN (@ids)", "true"),
        ("Id IN (@one)", "true"),
        ("17 IN @store", "true"),
        ("@nobody = 1", "missing-parameter"),
        ("COUNT(Items[*].n)", "2"),
        ("SUM(Items[*].p)", "0.3"),
        ("AVG(Items[*].n)", "3"),
        ("MIN(Items[*].Sku)", "\"A\""),
        ("MAX(Items[*].n)", "5"),
        ("SUM(mixed[*])", "3.5"),
        ("AVG(nowhere[*])", "null"),
        ("MIN(3, none, 2)", "2"),
        ("MAX(price, qty)", "19.99"),
    ]);
}

#[test]
fn items_can_be_computed_with_and_left_out() {
    check(&[
        ("MAP(Items => @.p * 2)", "[0.2,0.4,null]"),
        ("MAP(Items[*].n => @ + 1)", "[2,6,null]"),
        ("SUM(MAP(Items => @.n * @.p))", "1.1"),
        ("FILTER(Items => @.n > 1 AND @.Sku = 'B')", "[{\"Sku\":\"B\",\"n\":5,\"p\":0.2}]"),
        ("FILTER(Tags, @ <> 'x')", "[\"y\"]"),
        ("Items[@.n > 1].Sku", "[\"B\"]"),
        ("Items[@.n >= 1][@.p < 0.2].Sku", "[\"A\"]"),
        ("ANY Items[@.n > 1].Sku = 'B'", "true"),
        ("'A' IN Items[@.n > 1].Sku", "false"),
        ("COUNT(Items[@.n > 0])", "2"),
        ("MAP(Items => COALESCE(@.Sku, qty))", "[\"A\",\"B\",3]"),
        ("MAP([[1, 2], [3]] => SUM(@))", "[3,3]"),
        ("MAP([[1, 2], [3]] => MAP(@ => @ * 2))", "[[2,4],[6]]"),
        ("MAP(Items => @[\"Sku\"])", "[\"A\",\"B\"]"),
        ("MAP([[1, 2], [3]] => @[1])", "[2]"),
        ("FIELD(FIRST(Items), 'Sku')", "\"A\""),
        ("FIELD(Tags, 7)", "missing"),
        ("MAP(nowhere => @)", "null"),
        ("MAP(qty => @ * 2)", "[6]"),
        ("MAP(Items => @.Sku + 1)", "type-mismatch"),
    ]);
}

#[test]
fn functions_of_text() {
    check(&[
        ("UPPER(text)", "\"STRASSE\""),
        ("LENGTH(text)", "6"),
        ("LENGTH(Tags)", "2"),
        ("LENGTH(none)", "null"),
        ("LENGTH(qty)", "type-mismatch"),
        ("TRIM('  a ')", "\"a\""),
        ("LTRIM('xxa', 'x')", "\"a\""),
        ("LPAD('7', 3, '0')", "\"007\""),
        ("RPAD('abc', 2)", "\"ab\""),
        ("SUBSTRING('Hello', 2, 3)", "\"ell\""),
        ("SUBSTRING('Hello', -3)", "\"llo\""),
        ("SUBSTRING('Hello', 0, 2)", "\"H\""),
        ("SUBSTRING('Hello', 0)", "\"Hello\""),
        ("SUBSTRING('Hello', 9)", "\"\""),
        ("SUBSTRING('Hello', 2, -1)", "\"\""),
        ("LEFT('Hello', 2) || RIGHT('Hello', 2)", "\"Helo\""),
        ("REPLACE('a.b.c', '.', '--')", "\"a--b--c\""),
        ("REVERSE('abc')", "\"cba\""),
        ("CONCAT('a', none, 1)", "\"a1\""),
        ("CONCAT(Tags, [1])", "[\"x\",\"y\",1]"),
        ("STARTSWITH(text, 'Str') AND ENDSWITH(text, 'e')", "true"),
        ("CONTAINS(text, 'ß')", "true"),
        ("CONTAINS(Tags, 'y')", "true"),
        ("INDEXOF(text, 'ß')", "4"),
        ("INDEXOF('aba', 'a', 1)", "2"),
        ("INDEXOF('aba', 'x')", "-1"),
        ("INSTR(text, 'ß')", "5"),
        ("SPLIT('a,b', ',')", "[\"a\",\"b\"]"),
        ("JOIN(SPLIT('a,b', ','), '-')", "\"a-b\""),
        ("FORMAT(date, 'yyyy-MM')", "\"2026-03\""),
        ("FORMAT(price, 'N1')", "\"20.0\""),
        ("FORMAT(price, 'x')", "type-mismatch"),
        ("REPEAT('ab', 3)", "\"ababab\""),
        ("REPEAT('ab', 1000000000000)", "value-too-large"),
        ("LPAD('ab', 1000000000000)", "value-too-large"),
        ("REPLACE(REPEAT('a', 1000000), 'a', REPEAT('b', 1000))", "value-too-large"),
    ]);
}

#[test]
fn functions_of_numbers_and_dates() {
    check(&[
        ("ROUND(price, 1)", "20"),
        ("ROUND(-2.5)", "-3"),
        ("FLOOR(-2.5) + CEIL(2.1)", "0"),
        ("ABS(-3)", "3"),
        ("MOD(7, 4)", "3"),
        ("MOD(7, 0)", "division-by-zero"),
        ("POWER(2, 10)", "1024"),
        ("POWER(2, 0.5)", "1.4142135623731"),
        ("POWER(10, 1000000)", "number-out-of-range"),
        ("SQRT(16)", "4"),
        ("SQRT(-1)", "number-out-of-range"),
        ("YEAR(date) * 100 + MONTH(date)", "202603"),
        ("DAY('2026-01-01T00:30:00+02:00')", "31"),
        ("YEAR(text)", "type-mismatch"),
        ("YEAR(none)", "null"),
        ("DATE_TRUNC(month, date)", "\"2026-03-01T00:00:00Z\""),
        ("DATEADD('day', 30, '2026-03-05')", "\"2026-04-04\""),
        ("DATEADD('century', 1, date)", "type-mismatch"),
        ("DATEADD('year', 9000, date)", "date-out-of-range"),
        ("DATEDIFF('day', '2026-01-01', date)", "63"),
        ("DATE(date)", "\"2026-03-05\""),
        ("NOW()", "\"2026-03-05T15:04:09.123Z\""),
        ("TODAY()", "\"2026-03-05\""),
        ("WEEKDAY(date)", "4"),
    ]);
}

#[test]
fn functions_of_kind_and_choice() {
    check(&[
        ("COALESCE(nowhere, none, 5)", "5"),
        ("COALESCE(qty, 1 / 0)", "3"),
        ("IIF(qty > 2, 'many', 1 / 0)", "\"many\""),
        ("NULLIF(qty, 3)", "null"),
        ("TYPEOF(nowhere) || TYPEOF(none) || TYPEOF(Tags)", "\"missingnullarray\""),
        ("IS_NUMBER(qty) AND IS_INTEGER(3.0) AND NOT IS_INTEGER(price)", "true"),
        ("IS_DATE(date) AND NOT IS_DATE(text)", "true"),
        ("NUMBER(' 12.50 ')", "12.5"),
        ("NUMBER('x')", "null"),
        ("NUMBER(price)", "19.99"),
        ("INTEGER('-7.9')", "-7"),
        ("STRING(price)", "\"19.99\""),
        ("STRING(Tags)", "\"[\\\"x\\\",\\\"y\\\"]\""),
        ("BOOLEAN('yes')", "true"),
        ("JSON('{\"a\":[1]}')", "{\"a\":[1]}"),
        ("JSON('{')", "null"),
        ("FIRST(Items[*].Sku) || LAST(Tags)", "\"Ay\""),
        ("ARRAY_DISTINCT([1, 1.0, 2])", "[1,2]"),
        ("ARRAY_SORT([2, 'a', 1, NULL])", "[null,1,2,\"a\"]"),
        ("ARRAY_UNION([1], [2, 1])", "[1,2]"),
        ("ARRAY_EXCEPT([1, 2], [2])", "[1]"),
        ("ARRAY_SLICE(Tags, 1)", "[\"y\"]"),
        ("KEYS(Customer)", "[\"Name\"]"),
        ("EXTEND(Customer, {b: 1})", "{\"Name\":\"Ada\",\"b\":1}"),
        ("ITEMS(qty)", "[3]"),
        ("NEWID()", "\"12345678-9abc-4ef0-9234-56789abcdef0\""),
    ]);
}

#[test]
fn a_wrong_kind_is_told_with_its_place_and_no_value() {
    let error = evaluate("price + text").unwrap_err();
    assert_eq!(
        error.to_string(),
        "$.text is of kind string, and + takes numbers, at line 1 column 9. \
         Write NUMBER($.text), or leave such documents out: WHERE IS_NUMBER($.text)."
    );
}

#[test]
fn what_is_built_is_bounded() {
    let many = vec!["$"; 5_000].join(", ");
    let large = format!("[REPEAT('x', 10000), {many}]");
    assert_eq!(worth(&format!("[{large}, {large}, {large}, {large}]")), "value-too-large");
}

#[test]
fn a_parameter_that_is_not_sent_is_told_before_anything_is_done() {
    let parameters: Map<String, Value> = [("Store".to_owned(), json!(17))].into_iter().collect();
    let missing = |text: &str| missing_parameter(&parse(text).unwrap(), &parameters).map(|error| error.to_string());
    assert_eq!(missing("SELECT @Store FROM c LIMIT :Store"), None);
    assert_eq!(
        missing("SELECT * FROM a JOIN b ON a.x = b.y + @store").as_deref(),
        Some("The request has no parameter store, at line 1 column 39. There is one called Store.")
    );
    for text in [
        "EXPLAIN SELECT * FROM c LIMIT @n",
        "INSERT INTO c VALUES @n",
        "UPDATE c SET a = 1 WHERE b IN @n",
        "UPDATE c SET @n",
        "DELETE FROM c WHERE a = @n",
        "SELECT a FROM c GROUP BY a HAVING MAX(b) > @n ORDER BY a",
    ] {
        assert!(missing(text).is_some_and(|error| error.starts_with("The request has no parameter n")), "{text}");
    }
}

#[test]
fn every_function_takes_anything_and_answers_or_refuses() {
    let values = [
        "null",
        "true",
        "0",
        "-1",
        "2.5",
        "1e308",
        "-9223372036854775808",
        "1e-400",
        "123456789012345678901234567890123456789012",
        "\"\"",
        "\"äß %_\"",
        "\"year\"",
        "\"9999-12-31\"",
        "\"0000-01-01T00:00:00Z\"",
        "[]",
        "[1,\"x\",null,[2]]",
        "{\"a\":{\"b\":1}}",
    ];
    let document: Value = serde_json::from_str(&format!("[{}]", values.join(","))).unwrap();
    let places: Vec<String> = (0..values.len()).map(|place| format!("$[{place}]")).collect();
    let parameters = Map::new();
    let compute = Compute { parameters: &parameters, now: Millis(u64::MAX), random: &|| u128::MAX };
    let (mut answers, mut refusals) = (0, 0);
    for known in FUNCTIONS {
        let mut ask = |arguments: &[&String]| {
            let list: Vec<&str> = arguments.iter().map(|argument| argument.as_str()).collect();
            let text = format!("{}({})", known.function.name(), list.join(", "));
            match compute.value(&parse_expression(&text).unwrap(), &[Some(&document)]) {
                Ok(_) => answers += 1,
                Err(error) => {
                    assert!(!error.is_syntax && error.position.is_some(), "{text}: {error}");
                    refusals += 1;
                }
            }
        };
        if known.function.looks_at_items() {
            continue;
        }
        let takes = |count| (known.arguments_min..=known.arguments_max).contains(&count);
        if takes(0) {
            ask(&[]);
        }
        for first in &places {
            if takes(1) {
                ask(&[first]);
            }
            for second in &places {
                if takes(2) {
                    ask(&[first, second]);
                }
                if takes(3) {
                    for third in &places {
                        ask(&[first, second, third]);
                    }
                }
            }
        }
    }
    assert!(answers > 1_000 && refusals > 1_000);
}

#[test]
fn what_is_looked_at_is_bounded() {
    let many = vec!["LENGTH(text)"; 5_000].join(", ");
    let large = json!({"text": "x".repeat(1_000_000), "items": vec![json!({"a": 1}); 100_000]});
    let compute = Compute { parameters: &Map::new(), now: Millis(0), random: &|| 7 };
    let slow = vec!["(text LIKE '%_b%_c')"; 5_000].join(", ");
    let items = vec!["(1 IN items[*].b)"; 5_000].join(", ");
    for list in [many, slow, items] {
        let expression = parse_expression(&format!("[{list}]")).unwrap();
        let error = compute.value(&expression, &[Some(&large)]).unwrap_err();
        assert_eq!(error.code, "query-too-much-work", "{error}");
    }
}
