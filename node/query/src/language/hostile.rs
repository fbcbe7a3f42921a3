//! Text that nobody would write: at random, cut and mixed from statements, and nested without end.
//!
//! Whatever it is, it is answered; and what it says as a statement it says again when it has been printed.

#![allow(clippy::unwrap_used)]

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use serde_json::{Map, Value, json};

use holdfast_core::limits::QUERY_DEPTH_MAX;
use holdfast_core::time::Millis;

use super::expression::{
    Aggregate, Among, Arithmetic, Comparison, Expression, Kind, PathExpression, PathStep, Position, Quantifier, State,
};
use super::function::{FUNCTIONS, Function};
use super::{parse, parse_expression};
use crate::value::Compute;

/// Statements with everything in them, to be cut and mixed.
const STATEMENTS: [&str; 11] = [
    "SELECT MAP(a[@.b > 1].c => @ * 2), FILTER(d => @[\"e\"][0] = @p AND SUM(@.f) > 1), FIELD(a, 0) FROM c",
    "SELECT DISTINCT TOP 5 o.a AS x, {b: $.c[0]['d e'], f}, COUNT(*) FROM `or-ders` AS o LEFT JOIN d ON o.a = d.b.c",
    "SELECT * FROM c WHERE a LIKE 'x!%' ESCAPE '!' AND NOT (b IS NOT MISSING OR d IN (1, -2.5e3, @p)) ORDER BY e DESC NULLS LAST",
    "SELECT a, SUM(DISTINCT b) / 2 AS s FROM c GROUP BY a HAVING s > 1 + 2 * 3 - 4 % 5 LIMIT 10 OFFSET :n;",
    "SELECT CASE a WHEN 1 THEN 'x''y' ELSE NULL END || UPPER(\"z\\u00e9\\\"\") FROM c WHERE ANY $.I[*].S = 'x' OR d BETWEEN 1 AND 2",
    "INSERT INTO c VALUES {\"Id\": \"a\", \"n\": [1, true, null, {\"m\": -0.5}]}, @docs",
    "INSERT INTO c (Id, a) VALUES ('1', DATEADD(month, 1, NOW())), ('2', CAST('5' AS int))",
    "UPDATE c SET stock = stock - 1, a.b[2] = {x: 1} WHERE Id = @id -- so\n",
    "DELETE FROM c /* all */ WHERE $.Items[*].Sku ANY IN ('a', 'b') AND 5 >= ALL (x[*])",
    "CREATE UNIQUE INDEX IF NOT EXISTS n ON c ($.a[*].b, c) CASE INSENSITIVE",
    "EXPLAIN ANALYZE SELECT a.b, MIN(x, y) FROM a, b AS c RIGHT OUTER JOIN d ON c.x = d.y AND d.z = a.b",
];

/// Whatever comes of a text, it comes, and a statement says the same when it has been printed.
fn survives(text: &str) {
    match parse(text) {
        Ok(statement) => {
            let printed = statement.to_string();
            let again = parse(&printed).unwrap_or_else(|error| panic!("{text}\n{printed}\n{error}"));
            assert_eq!(again, statement, "{text}\n{printed}");
        }
        Err(error) => {
            assert!(!error.message.is_empty() && !error.code.is_empty());
            let position = error.position.unwrap_or_default();
            let lines = text.split('\n').count() + 1;
            assert!(usize::try_from(position.line).unwrap() <= lines, "{text}\n{error}");
        }
    }
}

/// Words and signs of the language, and some that are not.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<String> = STATEMENTS
        .iter()
        .flat_map(|statement| statement.split_inclusive([' ', '(', ')', ',', '.', '[', ']', '{', '}', ':']))
        .map(str::to_owned)
        .collect();
    prop_oneof![6 => prop::sample::select(words), 1 => "\\PC{0,4}", 1 => "['\"`$@:;*!=<>|/-]{1,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,120}") {
        survives(&text);
    }

    #[test]
    fn any_row_of_words_is_answered(pieces in prop::collection::vec(piece(), 0..40), start in prop::sample::select(&STATEMENTS[..])) {
        survives(&pieces.concat());
        survives(&format!("{} {}", start, pieces.concat()));
        survives(&format!("SELECT {} FROM c", pieces.concat()));
        survives(&format!("SELECT * FROM c WHERE {}", pieces.concat()));
    }

    #[test]
    fn any_slip_is_answered(
        text in prop::sample::select(&STATEMENTS[..]),
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, "\\PC"), 1..4),
    ) {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, slip, other) in slips {
            if characters.is_empty() {
                break;
            }
            let at = at.index(characters.len());
            match slip {
                0 => drop(characters.remove(at)),
                1 => characters.truncate(at),
                2 => characters.extend(other.chars()),
                _ => characters.splice(at..=at, other.chars()).for_each(drop),
            }
        }
        survives(&characters.into_iter().collect::<String>());
    }

    #[test]
    fn any_expression_prints_as_itself_and_has_a_value_or_an_error(expression in expression()) {
        let printed = expression.to_string();
        let read = parse_expression(&printed).unwrap_or_else(|error| panic!("{printed}\n{error}\n{expression:?}"));
        assert_eq!(read, expression, "{printed}");
        let document = json!({"a": 1.50, "b": "2026-03-05", "c": [1, "x", null, {"d": 2}], "e": {"f": true}, "Id": "i"});
        let compute = Compute { parameters: &Map::new(), now: Millis(0), random: &|| 7 };
        match compute.value(&expression, &[Some(&document)]) {
            Ok(value) => assert_eq!(compute.value(&read, &[Some(&document)]), Ok(value)),
            Err(error) => assert!(!error.code.is_empty()),
        }
    }
}

fn new(kind: Kind) -> Expression {
    Expression::new(kind, Position::default())
}

fn boxed(expression: Expression) -> Box<Expression> {
    Box::new(expression)
}

fn leaf() -> impl Strategy<Value = Expression> {
    let step = prop_oneof![
        4 => prop_oneof!["[a-f]", Just("a b".to_owned()), Just("order".to_owned()), Just("it's \"so\"".to_owned())]
            .prop_map(|name| PathStep::Member(name.into())),
        1 => (0..4_u32).prop_map(PathStep::Index),
    ];
    let path = prop::collection::vec(step, 1..4)
        .prop_map(|steps| Kind::Path(PathExpression { source: 0, qualifier: None, steps }));
    prop_oneof![
        4 => path,
        1 => any::<i64>().prop_map(|number| Kind::Literal(Value::from(number))),
        1 => "[0-9]{1,3}\\.[0-9]{1,3}".prop_map(|text| Kind::Literal(text.trim_start_matches('0').parse().unwrap_or(json!(0)))),
        1 => "\\PC{0,5}".prop_map(|text| Kind::Literal(Value::from(text))),
        1 => prop::sample::select(vec![Value::Null, json!(true), json!(false)]).prop_map(Kind::Literal),
        1 => Just(Kind::Missing),
        1 => "[a-z]{1,3}".prop_map(|name| Kind::Parameter(name.into())),
    ]
    .prop_map(new)
}

/// Expressions as the parser makes them: lists of `AND` are not in each other, and so on.
fn expression() -> impl Strategy<Value = Expression> {
    leaf().prop_recursive(5, 40, 4, |inner| {
        let some = || prop::collection::vec(inner.clone(), 2..4);
        let two = || (inner.clone(), inner.clone());
        let path_with_items = "[a-f]".prop_map(|name| {
            let steps = vec![PathStep::Member(name.into()), PathStep::Each, PathStep::Member("d".into())];
            new(Kind::Path(PathExpression { source: 0, qualifier: None, steps }))
        });
        let functions: Vec<Function> = FUNCTIONS
            .iter()
            .filter(|known| {
                (1..=2).contains(&known.arguments_max.min(2))
                    && known.arguments_min <= 2
                    && !known.function.looks_at_items()
            })
            .map(|known| known.function)
            .collect();
        prop_oneof![
            (two(), comparison()).prop_map(|((left, right), comparison)| Kind::Compare {
                comparison,
                left: boxed(left),
                right: boxed(right)
            }),
            (two(), any::<[bool; 2]>()).prop_map(|((value, pattern), [negated, ignores_case])| Kind::Like {
                value: boxed(value),
                pattern: boxed(pattern),
                escape: ignores_case.then_some('!'),
                ignores_case,
                negated
            }),
            (inner.clone(), some(), any::<bool>()).prop_map(|(value, items, negated)| Kind::In {
                value: boxed(value),
                among: Among::Listed(items),
                negated
            }),
            (inner.clone(), path_with_items.clone(), any::<bool>()).prop_map(|(value, items, negated)| Kind::In {
                value: boxed(value),
                among: Among::ItemsOf(boxed(items)),
                negated
            }),
            (two(), inner.clone(), any::<bool>()).prop_map(|((value, low), high, negated)| Kind::Between {
                value: boxed(value),
                low: boxed(low),
                high: boxed(high),
                negated
            }),
            (inner.clone(), prop::sample::select(vec![State::Null, State::Missing, State::True]), any::<bool>())
                .prop_map(|(value, state, negated)| Kind::Is { value: boxed(value), state, negated }),
            (path_with_items.clone(), comparison(), inner.clone(), any::<bool>()).prop_map(
                |(items, comparison, right, is_any)| Kind::Quantified {
                    quantifier: if is_any { Quantifier::Any } else { Quantifier::All },
                    items: boxed(items),
                    predicate: boxed(new(Kind::Compare {
                        comparison,
                        left: boxed(new(Kind::Element)),
                        right: boxed(right)
                    })),
                }
            ),
            some().prop_map(|parts| flat(parts, |kind| matches!(kind, Kind::And(_)), Kind::And)),
            some().prop_map(|parts| flat(parts, |kind| matches!(kind, Kind::Or(_)), Kind::Or)),
            some().prop_map(|parts| flat(parts, |kind| matches!(kind, Kind::Concat(_)), Kind::Concat)),
            inner.clone().prop_map(|part| Kind::Not(boxed(part))),
            inner.clone().prop_map(|part| Kind::Negate(boxed(part))),
            (two(), operator()).prop_map(|((left, right), operator)| Kind::Arithmetic {
                operator,
                left: boxed(left),
                right: boxed(right)
            }),
            (prop::option::of(inner.clone()), two(), prop::option::of(inner.clone())).prop_map(
                |(operand, branch, otherwise)| Kind::Case {
                    operand: operand.map(boxed),
                    branches: vec![branch],
                    otherwise: otherwise.map(boxed)
                }
            ),
            (prop::sample::select(functions), two())
                .prop_map(|(function, (first, second))| call(function, first, second)),
            inner.clone().prop_map(|argument| Kind::Aggregate {
                aggregate: Aggregate::Max,
                argument: Some(boxed(new(Kind::Negate(boxed(argument))))),
                distinct: true
            }),
            some().prop_map(Kind::Array),
            (two(), "[a-z ]{1,3}")
                .prop_map(|((one, other), name)| { Kind::Object(vec![(name.into(), one), ("$x\"".into(), other)]) }),
        ]
        .prop_map(new)
    })
}

fn call(function: Function, first: Expression, second: Expression) -> Kind {
    let takes = FUNCTIONS.iter().find(|known| known.function == function).map_or(1, |known| known.arguments_min.max(1));
    Kind::Call { function, arguments: if takes == 1 { vec![first] } else { vec![first, second] } }
}

fn flat(parts: Vec<Expression>, is_same: fn(&Kind) -> bool, list: fn(Vec<Expression>) -> Kind) -> Kind {
    let parts = parts.into_iter().map(|part| if is_same(&part.kind) { new(Kind::Missing) } else { part });
    list(parts.collect())
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop::sample::select(vec![Comparison::Equal, Comparison::NotEqual, Comparison::Less, Comparison::GreaterOrEqual])
}

fn operator() -> impl Strategy<Value = Arithmetic> {
    prop::sample::select(vec![
        Arithmetic::Add,
        Arithmetic::Subtract,
        Arithmetic::Multiply,
        Arithmetic::Divide,
        Arithmetic::Remainder,
    ])
}

/// Runs on a stack as small as a thread may have.
fn on_a_small_stack(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(512 * 1024).spawn_scoped(scope, run).unwrap().join().unwrap();
    });
}

/// A text that is nested so many times.
type Nest = fn(usize) -> String;

const NESTS: [Nest; 17] = [
    |depth| format!("{}@{}", "MAP(a => ".repeat(depth), ")".repeat(depth)),
    |depth| format!("a{}1{}", "[@ = a".repeat(depth), "]".repeat(depth)),
    |depth| format!("MAP(a => @{})", ".a".repeat(depth)),
    |depth| format!("{}1{}", "(".repeat(depth), ")".repeat(depth)),
    |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
    |depth| format!("{}1{}", "{a:".repeat(depth), "}".repeat(depth)),
    |depth| format!("{}TRUE", "NOT ".repeat(depth)),
    |depth| format!("{}a", "- ".repeat(depth)),
    |depth| format!("{}a", "+".repeat(depth)),
    |depth| format!("{}a{}", "ABS(".repeat(depth), ")".repeat(depth)),
    |depth| format!("{}a{}", "CASE WHEN ".repeat(depth), " THEN 1 END".repeat(depth)),
    |depth| format!("{}a{}", "1 IN (".repeat(depth), ")".repeat(depth)),
    |depth| format!("1{}", " + 1".repeat(depth)),
    |depth| format!("1{}", " * ABS(1".repeat(depth)) + &")".repeat(depth),
    |depth| format!("{}1{}", "ABS(1 + 1 + 1 + 1 + 1 + ".repeat(depth), " + 1 + 1)".repeat(depth)),
    |depth| format!("a{}", ".a".repeat(depth)),
    |depth| format!("{}a = 1{}", "ANY (".repeat(depth), ") = 1".repeat(depth)),
];

#[test]
fn what_is_nested_ten_thousand_times_is_an_error_and_no_overflow() {
    on_a_small_stack(|| {
        for nest in NESTS {
            for depth in [QUERY_DEPTH_MAX + 1, 1_000, 10_000] {
                let text = nest(depth);
                let error = parse_expression(&text).map(|_| ()).expect_err(text.get(..20).unwrap_or_default());
                assert!(matches!(error.code, "query-too-deep" | "query-too-long"), "{error}");
            }
        }
        let explain = format!("{} SELECT 1", "EXPLAIN ".repeat(10_000));
        assert_eq!(parse(&explain).unwrap_err().code, "query-syntax");
        let insert = format!("INSERT INTO c VALUES {}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        assert_eq!(parse(&insert).unwrap_err().code, "query-too-deep");
    });
}

#[test]
fn what_is_nested_as_deep_as_may_be_is_walked_on_a_small_stack() {
    on_a_small_stack(|| {
        let compute = Compute { parameters: &Map::new(), now: Millis(0), random: &|| 7 };
        let document = json!({"a": 1});
        for nest in NESTS {
            // The deepest that is taken.
            let taken = (1..=QUERY_DEPTH_MAX).rev().find_map(|depth| parse_expression(&nest(depth)).ok()).unwrap();
            let copy = taken.clone();
            let printed = copy.to_string();
            assert_eq!(parse_expression(&printed).as_ref(), Ok(&taken), "{printed}");
            let _ = compute.value(&taken, &[Some(&document)]);
            assert!(taken.children().len() < 10 && !taken.has_aggregate());
        }
    });
}

#[test]
fn aliases_that_stand_for_much_are_counted() {
    let large = vec!["a"; 20_000].join(", ");
    let uses = vec!["x"; 100].join(", ");
    let error = parse(&format!("SELECT [{large}] AS x FROM c ORDER BY {uses}")).unwrap_err();
    assert_eq!(error.code, "query-too-long");
}

#[test]
fn lists_that_are_compared_with_each_other_are_short() {
    let many =
        |one: &str| (0..5_000).map(|number| one.replace('#', &number.to_string())).collect::<Vec<_>>().join(", ");
    for text in [
        format!("SELECT {} FROM c", many("a#")),
        format!("SELECT a FROM c GROUP BY {}", many("a#")),
        format!("SELECT a FROM c ORDER BY {}", many("a#")),
        format!("UPDATE c SET {}", many("a# = 1")),
        format!("INSERT INTO c ({}) VALUES (1)", many("a#")),
        format!("CREATE INDEX n ON c ({})", many("a#")),
        format!("SELECT * FROM {}", many("a#")),
    ] {
        assert_eq!(parse(&text).unwrap_err().code, "query-too-long");
    }
}
