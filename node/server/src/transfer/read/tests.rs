//! What the readers make of files, good and bad.
#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Read};

use serde_json::Value;

use super::{CsvOptions, ROW_BYTES_MAX, RowError, rows};
use crate::transfer::format::Format;

/// Each row as `line {json}`, each bad one as `line! reason`.
fn read(text: impl AsRef<[u8]>, format: Format, options: CsvOptions) -> Vec<String> {
    let source = Cursor::new(text.as_ref().to_vec());
    match rows(source, format, options) {
        Ok(rows) => rows.map(shown).collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn shown(row: Result<super::Row, RowError>) -> String {
    match row {
        Ok(row) => format!("{} {}", row.line, Value::Object(row.object)),
        Err(RowError::Bad(bad)) => format!("{}! {}", bad.line, bad.reason),
        Err(error) => error.to_string(),
    }
}

const COMMA: CsvOptions = CsvOptions { delimiter: b',', is_all_text: false };

fn csv(text: impl AsRef<[u8]>) -> Vec<String> {
    read(text, Format::Csv, COMMA)
}

fn json(text: impl AsRef<[u8]>) -> Vec<String> {
    read(text, Format::Json, COMMA)
}

fn ndjson(text: impl AsRef<[u8]>) -> Vec<String> {
    read(text, Format::Ndjson, COMMA)
}

#[test]
fn csv_values_keep_their_text() {
    assert_eq!(
        csv("id,date,n,amount,ok,none\n7,1997-01-01,1,11.70,true,\n"),
        [r#"2 {"id":7,"date":"1997-01-01","n":1,"amount":11.70,"ok":true,"none":null}"#]
    );
}

#[test]
fn a_column_with_codes_is_text_from_its_first_row_on() {
    assert_eq!(csv("id,n\n12345,1\n00002,2\n"), [r#"2 {"id":"12345","n":1}"#, r#"3 {"id":"00002","n":2}"#]);
}

#[test]
fn what_is_quoted_is_text() {
    assert_eq!(
        csv("\"a\",b\n\"12\",\"\"\n\"x \"\"y\"\", z\",\"two\nlines\"\nlast,1"),
        [r#"2 {"a":"12","b":""}"#, r#"3 {"a":"x \"y\", z","b":"two\nlines"}"#, r#"5 {"a":"last","b":1}"#]
    );
}

#[test]
fn text_mode_and_other_delimiters_are_possible() {
    let options = CsvOptions { delimiter: b';', is_all_text: true };
    assert_eq!(read("a;b\n1;\n", Format::Csv, options), [r#"2 {"a":"1","b":""}"#]);
}

#[test]
fn marks_line_ends_and_empty_lines_do_not_show() {
    assert_eq!(
        csv("\u{feff}a,b\r\n1,2\r\n\r\n\r\n\"3\",\"4\"\r\n5\r\n6,7"),
        [
            r#"2 {"a":1,"b":2}"#,
            r#"5 {"a":"3","b":"4"}"#,
            "6! it has 1 values where there are 2 columns",
            r#"7 {"a":6,"b":7}"#
        ]
    );
    assert_eq!(json("\u{feff} [ {\"a\" : 1} ]\r\n"), [r#"1 {"a":1}"#]);
    assert_eq!(ndjson("\u{feff}{\"a\":1}\r\n\r\n  {\"a\":2}  "), [r#"1 {"a":1}"#, r#"3 {"a":2}"#]);
}

#[test]
fn nothing_is_no_rows() {
    for text in ["", "\u{feff}", "\n\n", " \r\n"] {
        assert!(json(text).is_empty() && ndjson(text).is_empty(), "{text:?}");
    }
    assert!(csv("").is_empty() && csv("\n\n").is_empty() && csv("a,b\n").is_empty() && json("[ ]").is_empty());
}

#[test]
fn a_bad_csv_row_spoils_itself_only() {
    assert_eq!(
        csv(b"a,b\n1\n1,2,3\n\"x\"y,2\n\xff,2\nfine,2\n\"open,2\nlost,2\n"),
        [
            "2! it has 1 values where there are 2 columns",
            "3! it has 3 values where there are 2 columns",
            "4! text follows a closing quote; write a quote inside quotes twice",
            "5! value 1 is not UTF-8; save the file as UTF-8",
            r#"6 {"a":"fine","b":2}"#,
            "7! a quote is opened and never closed",
        ]
    );
}

#[test]
fn names_of_columns_must_differ_and_missing_ones_are_numbered() {
    assert_eq!(csv(",a\n1,2\n"), [r#"2 {"column_1":1,"a":2}"#]);
    assert_eq!(csv("a,a\n1,2\n"), ["two columns are called 'a'; rename one of them"]);
    assert_eq!(csv([0xFF, 0xFE, b'a', 0]), ["the file is UTF-16; save it as UTF-8 first"]);
}

#[test]
fn a_bad_json_element_spoils_itself_only() {
    let rows = json("[\n{\"a\":1},\n{\"a\":},\n7,\n{\"a\":\"],\\\"\"} , [1]\n{\"a\":2},,{\"a\":3},]\nmore");
    assert_eq!(rows.len(), 11, "{rows:#?}");
    let starts = [
        "2 {\"a\":1}",
        "3! The body is not valid JSON",
        "4! Body must be a JSON object",
        r#"5 {"a":"],\""}"#,
        "5! Body must be a JSON object",
        "6! a comma is missing",
        "6 {\"a\":2}",
        "6! an element is missing",
        "6 {\"a\":3}",
        "6! a comma stands before the end",
        "7! something follows",
    ];
    for (row, start) in rows.iter().zip(starts) {
        assert!(row.starts_with(start), "{row} should start with {start}");
    }
}

#[test]
fn json_that_was_cut_off_says_so() {
    for text in ["[", "[{\"a\":1}", "[{\"a\":1},"] {
        assert!(json(text).last().unwrap().contains("ends inside the array"), "{text}");
    }
    for text in ["[{\"a\":1", "[{\"a\":\"x", "{\"a\":1"] {
        assert_eq!(json(text), ["1! the file ends inside this element; was it cut off?"], "{text}");
    }
    assert_eq!(json("hello"), ["the file does not begin with [ or {: it is no JSON array of objects"]);
}

#[test]
fn objects_without_an_array_are_taken_as_they_follow() {
    assert_eq!(json("{\"a\":1}\n{\"a\":2}{\"a\":3}"), [r#"1 {"a":1}"#, r#"2 {"a":2}"#, r#"2 {"a":3}"#]);
}

#[test]
fn numbers_of_json_stay_as_they_were_written() {
    assert_eq!(json("[{\"a\":12.00,\"b\":1e-7}]"), [r#"1 {"a":12.00,"b":1e-7}"#]);
}

#[test]
fn a_huge_row_is_passed_over_in_bounded_memory() {
    let huge = |head: &'static str, tail: &'static str| {
        let filling = std::io::repeat(b'x').take(3 * ROW_BYTES_MAX as u64);
        Cursor::new(head.as_bytes()).chain(filling).chain(Cursor::new(tail.as_bytes()))
    };
    let sources: [(Format, Box<dyn Read>); 4] = [
        (Format::Csv, Box::new(huge("a,b\n", "\nlast,1\n"))),
        (Format::Csv, Box::new(huge("a,b\n\"", "\nlast,1\n"))),
        (Format::Json, Box::new(huge("[{\"a\":\"", "\"},\n{\"a\":1}]"))),
        (Format::Ndjson, Box::new(huge("{\"a\":\"", "\"}\n{\"a\":1}"))),
    ];
    for (format, source) in sources {
        let rows: Vec<String> = rows(source, format, COMMA).unwrap().map(shown).collect();
        assert_eq!(rows.len(), 2, "{format:?}: {:.200}", rows.join("|"));
        let (bad, good) = (rows.first().unwrap(), rows.last().unwrap());
        assert!(bad.contains("! ") && bad.contains("bytes"), "{format:?}: {bad:.200}");
        assert!(good.contains("{\"a\":"), "{format:?}: {good:.200}");
    }
}
