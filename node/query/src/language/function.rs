//! The functions that there are: their names, and what they take and give.
//!
//! The first name of a function is its own, and the one it is printed with; others are what other products call it.
//!
//! **What it does not do.** It computes nothing: that is [`crate::value`].

/// A function of values of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `UPPER(text)`: the text in capitals.
    Upper,
    /// `LOWER(text)`: the text in small letters.
    Lower,
    /// `TRIM(text, characters?)`: the text without white space, or the characters given, at both ends.
    Trim,
    /// `LTRIM(text, characters?)`: the same at the beginning.
    LeftTrim,
    /// `RTRIM(text, characters?)`: the same at the end.
    RightTrim,
    /// `LPAD(text, length, with?)`: the text filled up to a length at the beginning.
    LeftPad,
    /// `RPAD(text, length, with?)`: the same at the end.
    RightPad,
    /// `LENGTH(value)`: characters of a text, items of an array, fields of an object.
    Length,
    /// `SUBSTRING(text, start, length?)`: a part of the text; the first character is 1, a negative start counts
    /// from the end.
    Substring,
    /// `LEFT(text, length)`: the first characters.
    Left,
    /// `RIGHT(text, length)`: the last characters.
    Right,
    /// `REPLACE(text, part, with)`: the text with every such part replaced.
    Replace,
    /// `REVERSE(text or array)`: the same backwards.
    Reverse,
    /// `REPEAT(text, times)`: the text so many times.
    Repeat,
    /// `CONCAT(value, ...)`: the texts one after the other, arrays into one array; null and missing are left
    /// out.
    Concat,
    /// `STARTSWITH(text, part)`: whether the text begins so.
    StartsWith,
    /// `ENDSWITH(text, part)`: whether the text ends so.
    EndsWith,
    /// `CONTAINS(text or array, value)`: whether the text has the part, or the array the item.
    Contains,
    /// `INDEXOF(text or array, value, from?)`: where the part or item first is, from 0; -1 where it is not.
    IndexOf,
    /// `INSTR(text, part)`: where the part first is, from 1; 0 where it is not.
    Position,
    /// `SPLIT(text, separator)`: the parts between separators, as an array.
    Split,
    /// `JOIN(array, separator?)`: the items as one text.
    Join,
    /// `FORMAT(date or number, pattern)`: a date by yyyy MM dd HH mm ss fff, a number by 0.00, #,##0.00 or N2.
    Format,
    /// `ABS(number)`: the number without its sign.
    Abs,
    /// `SIGN(number)`: -1, 0 or 1.
    Sign,
    /// `ROUND(number, places?)`: rounded, halves away from zero.
    Round,
    /// `FLOOR(number)`: the greatest whole number that is not greater.
    Floor,
    /// `CEIL(number)`: the least whole number that is not less.
    Ceil,
    /// `TRUNC(number, places?)`: without the digits after.
    Truncate,
    /// `MOD(number, divisor)`: what a division leaves, with the sign of the number.
    Modulo,
    /// `POWER(number, exponent)`: the number to a whole power, exactly; to another, to 15 digits.
    Power,
    /// `SQRT(number)`: the square root.
    SquareRoot,
    /// `LEAST(value, value, ...)`: the least of the values that are not null.
    Least,
    /// `GREATEST(value, value, ...)`: the greatest of the values that are not null.
    Greatest,
    /// `NOW()`: the moment at which the statement began, in UTC.
    Now,
    /// `TODAY()`: the day on which the statement began, in UTC.
    Today,
    /// `YEAR(date)`: the year, in UTC.
    Year,
    /// `MONTH(date)`: the month, from 1.
    Month,
    /// `DAY(date)`: the day of the month.
    Day,
    /// `HOUR(date)`: the hour.
    Hour,
    /// `MINUTE(date)`: the minute.
    Minute,
    /// `SECOND(date)`: the second.
    Second,
    /// `MILLISECOND(date)`: the thousandth of the second.
    Millisecond,
    /// `WEEKDAY(date)`: the day of the week, from 1 for Monday.
    Weekday,
    /// `DATE_TRUNC(unit, date)`: the beginning of the year, quarter, month, week, day, hour, minute or second.
    DateTruncate,
    /// `DATEADD(unit, number, date)`: a later or earlier date.
    DateAdd,
    /// `DATEDIFF(unit, from, to)`: whole units between two dates.
    DateDifference,
    /// `DATE(date)`: the day alone: 2026-07-30.
    Date,
    /// `DATETIME(date)`: the moment in UTC: 2026-07-30T10:00:00Z.
    DateTime,
    /// `ARRAY_COUNT(array)`: how many items are neither null nor missing; `COUNT(path[*])`.
    ArrayCount,
    /// `ARRAY_SUM(array)`: the exact sum of the items; `SUM(path[*])`.
    ArraySum,
    /// `ARRAY_AVG(array)`: their average; `AVG(path[*])`.
    ArrayAverage,
    /// `ARRAY_MIN(array)`: the least item; `MIN(path[*])`.
    ArrayLeast,
    /// `ARRAY_MAX(array)`: the greatest item; `MAX(path[*])`.
    ArrayGreatest,
    /// `FIRST(array)`: the first item.
    First,
    /// `LAST(array)`: the last item.
    Last,
    /// `ITEMS(value)`: an array as it is; anything else as an array of one.
    Items,
    /// `MAP(array => value)`: what the value is for each item, which is called `@`; missing ones left out.
    Map,
    /// `FILTER(array => condition)`: the items, each called `@`, for which the condition is true.
    Filter,
    /// `FIELD(object or array, name or index)`: what stands there; `@.Price` is `FIELD(@, 'Price')`.
    Field,
    /// `ARRAY_DISTINCT(array)`: each item once.
    Distinct,
    /// `ARRAY_SORT(array)`: the items in order.
    Sort,
    /// `ARRAY_SLICE(array, from, length?)`: a part of the array; the first item is 0.
    Slice,
    /// `ARRAY_UNION(array, array)`: the items of both, each once.
    Union,
    /// `ARRAY_EXCEPT(array, array)`: the items of the first that the second lacks, each once.
    Except,
    /// `KEYS(object)`: the names of the fields.
    Keys,
    /// `OBJECT_VALUES(object)`: the values of the fields.
    Values,
    /// `EXTEND(object, object, ...)`: the fields of all, later ones winning.
    Extend,
    /// `COALESCE(value, ...)`: the first that is neither null nor missing.
    Coalesce,
    /// `NULLIF(value, value)`: null if both are equal, else the first.
    NullIf,
    /// `IIF(condition, then, else)`: one or the other.
    If,
    /// `TYPEOF(value)`: missing, null, boolean, number, string, array or object.
    TypeOf,
    /// `IS_NULL(value)`: whether it is null or missing.
    IsNull,
    /// `IS_MISSING(value)`: whether it is missing.
    IsMissing,
    /// `IS_NUMBER(value)`: whether it is a number.
    IsNumber,
    /// `IS_INTEGER(value)`: whether it is a whole number.
    IsInteger,
    /// `IS_STRING(value)`: whether it is text.
    IsString,
    /// `IS_BOOLEAN(value)`: whether it is true or false.
    IsBoolean,
    /// `IS_ARRAY(value)`: whether it is an array.
    IsArray,
    /// `IS_OBJECT(value)`: whether it is an object.
    IsObject,
    /// `IS_DATE(value)`: whether it is text that is a date.
    IsDate,
    /// `NUMBER(value)`: the number that it is or says; null if it says none.
    ToNumber,
    /// `INTEGER(value)`: the same without what follows the point.
    ToInteger,
    /// `STRING(value)`: as text; arrays and objects as JSON.
    ToString,
    /// `BOOLEAN(value)`: true or false that it is or says; null if it says none.
    ToBoolean,
    /// `JSON(text)`: the value that the text is in JSON; null if it is none.
    Json,
    /// `NEWID()`: an id that no other row gets.
    NewId,
}

/// What a function takes and gives, for checking and for people.
#[derive(Debug)]
pub struct Signature {
    /// Which function.
    pub function: Function,
    /// Its names in capitals, its own first.
    pub names: &'static [&'static str],
    /// The fewest values that it takes.
    pub arguments_min: usize,
    /// The most values that it takes.
    pub arguments_max: usize,
    /// What they are called, in their order; `?` after one that may be left out.
    pub arguments: &'static str,
    /// What it gives.
    pub gives: &'static str,
}

/// Every function, by kind.
#[rustfmt::skip]
pub const FUNCTIONS: &[Signature] = &[
    Signature { function: Function::Upper, names: &["UPPER", "UCASE"], arguments_min: 1, arguments_max: 1,
        arguments: "text", gives: "the text in capitals" },
    Signature { function: Function::Lower, names: &["LOWER", "LCASE"], arguments_min: 1, arguments_max: 1,
        arguments: "text", gives: "the text in small letters" },
    Signature { function: Function::Trim, names: &["TRIM"], arguments_min: 1, arguments_max: 2,
        arguments: "text, characters?", gives: "the text without white space, or the characters given, at both ends" },
    Signature { function: Function::LeftTrim, names: &["LTRIM"], arguments_min: 1, arguments_max: 2,
        arguments: "text, characters?", gives: "the same at the beginning" },
    Signature { function: Function::RightTrim, names: &["RTRIM"], arguments_min: 1, arguments_max: 2,
        arguments: "text, characters?", gives: "the same at the end" },
    Signature { function: Function::LeftPad, names: &["LPAD"], arguments_min: 2, arguments_max: 3,
        arguments: "text, length, with?", gives: "the text filled up to a length at the beginning" },
    Signature { function: Function::RightPad, names: &["RPAD"], arguments_min: 2, arguments_max: 3,
        arguments: "text, length, with?", gives: "the same at the end" },
    Signature { function: Function::Length, names: &["LENGTH", "LEN", "CHAR_LENGTH"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "characters of a text, items of an array, fields of an object" },
    Signature { function: Function::Substring, names: &["SUBSTRING", "SUBSTR"], arguments_min: 2, arguments_max: 3,
        arguments: "text, start, length?", gives: "a part of the text; the first character is 1, a negative start counts from the end" },
    Signature { function: Function::Left, names: &["LEFT"], arguments_min: 2, arguments_max: 2,
        arguments: "text, length", gives: "the first characters" },
    Signature { function: Function::Right, names: &["RIGHT"], arguments_min: 2, arguments_max: 2,
        arguments: "text, length", gives: "the last characters" },
    Signature { function: Function::Replace, names: &["REPLACE"], arguments_min: 3, arguments_max: 3,
        arguments: "text, part, with", gives: "the text with every such part replaced" },
    Signature { function: Function::Reverse, names: &["REVERSE"], arguments_min: 1, arguments_max: 1,
        arguments: "text or array", gives: "the same backwards" },
    Signature { function: Function::Repeat, names: &["REPEAT"], arguments_min: 2, arguments_max: 2,
        arguments: "text, times", gives: "the text so many times" },
    Signature { function: Function::Concat, names: &["CONCAT"], arguments_min: 1, arguments_max: 64,
        arguments: "value, ...", gives: "the texts one after the other, arrays into one array; null and missing are left out" },
    Signature { function: Function::StartsWith, names: &["STARTSWITH", "STARTS_WITH"], arguments_min: 2, arguments_max: 2,
        arguments: "text, part", gives: "whether the text begins so" },
    Signature { function: Function::EndsWith, names: &["ENDSWITH", "ENDS_WITH"], arguments_min: 2, arguments_max: 2,
        arguments: "text, part", gives: "whether the text ends so" },
    Signature { function: Function::Contains, names: &["CONTAINS"], arguments_min: 2, arguments_max: 2,
        arguments: "text or array, value", gives: "whether the text has the part, or the array the item" },
    Signature { function: Function::IndexOf, names: &["INDEXOF"], arguments_min: 2, arguments_max: 3,
        arguments: "text or array, value, from?", gives: "where the part or item first is, from 0; -1 where it is not" },
    Signature { function: Function::Position, names: &["INSTR", "STRPOS"], arguments_min: 2, arguments_max: 2,
        arguments: "text, part", gives: "where the part first is, from 1; 0 where it is not" },
    Signature { function: Function::Split, names: &["SPLIT"], arguments_min: 2, arguments_max: 2,
        arguments: "text, separator", gives: "the parts between separators, as an array" },
    Signature { function: Function::Join, names: &["JOIN", "STRING_JOIN"], arguments_min: 1, arguments_max: 2,
        arguments: "array, separator?", gives: "the items as one text" },
    Signature { function: Function::Format, names: &["FORMAT"], arguments_min: 2, arguments_max: 2,
        arguments: "date or number, pattern", gives: "a date by yyyy MM dd HH mm ss fff, a number by 0.00, #,##0.00 or N2" },
    Signature { function: Function::Abs, names: &["ABS"], arguments_min: 1, arguments_max: 1,
        arguments: "number", gives: "the number without its sign" },
    Signature { function: Function::Sign, names: &["SIGN"], arguments_min: 1, arguments_max: 1,
        arguments: "number", gives: "-1, 0 or 1" },
    Signature { function: Function::Round, names: &["ROUND"], arguments_min: 1, arguments_max: 2,
        arguments: "number, places?", gives: "rounded, halves away from zero" },
    Signature { function: Function::Floor, names: &["FLOOR"], arguments_min: 1, arguments_max: 1,
        arguments: "number", gives: "the greatest whole number that is not greater" },
    Signature { function: Function::Ceil, names: &["CEIL", "CEILING"], arguments_min: 1, arguments_max: 1,
        arguments: "number", gives: "the least whole number that is not less" },
    Signature { function: Function::Truncate, names: &["TRUNC", "TRUNCATE"], arguments_min: 1, arguments_max: 2,
        arguments: "number, places?", gives: "without the digits after" },
    Signature { function: Function::Modulo, names: &["MOD"], arguments_min: 2, arguments_max: 2,
        arguments: "number, divisor", gives: "what a division leaves, with the sign of the number" },
    Signature { function: Function::Power, names: &["POWER", "POW"], arguments_min: 2, arguments_max: 2,
        arguments: "number, exponent", gives: "the number to a whole power, exactly; to another, to 15 digits" },
    Signature { function: Function::SquareRoot, names: &["SQRT"], arguments_min: 1, arguments_max: 1,
        arguments: "number", gives: "the square root" },
    Signature { function: Function::Least, names: &["LEAST", "MIN"], arguments_min: 2, arguments_max: 64,
        arguments: "value, value, ...", gives: "the least of the values that are not null" },
    Signature { function: Function::Greatest, names: &["GREATEST", "MAX"], arguments_min: 2, arguments_max: 64,
        arguments: "value, value, ...", gives: "the greatest of the values that are not null" },
    Signature { function: Function::Now, names: &["NOW", "GETDATE", "NOW_UTC", "GETUTCDATE", "CURRENT_TIMESTAMP"], arguments_min: 0, arguments_max: 0,
        arguments: "", gives: "the moment at which the statement began, in UTC" },
    Signature { function: Function::Today, names: &["TODAY", "CURRENT_DATE"], arguments_min: 0, arguments_max: 0,
        arguments: "", gives: "the day on which the statement began, in UTC" },
    Signature { function: Function::Year, names: &["YEAR"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the year, in UTC" },
    Signature { function: Function::Month, names: &["MONTH"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the month, from 1" },
    Signature { function: Function::Day, names: &["DAY"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the day of the month" },
    Signature { function: Function::Hour, names: &["HOUR"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the hour" },
    Signature { function: Function::Minute, names: &["MINUTE"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the minute" },
    Signature { function: Function::Second, names: &["SECOND"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the second" },
    Signature { function: Function::Millisecond, names: &["MILLISECOND"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the thousandth of the second" },
    Signature { function: Function::Weekday, names: &["WEEKDAY", "DAYOFWEEK"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the day of the week, from 1 for Monday" },
    Signature { function: Function::DateTruncate, names: &["DATE_TRUNC"], arguments_min: 2, arguments_max: 2,
        arguments: "unit, date", gives: "the beginning of the year, quarter, month, week, day, hour, minute or second" },
    Signature { function: Function::DateAdd, names: &["DATEADD", "DATE_ADD"], arguments_min: 3, arguments_max: 3,
        arguments: "unit, number, date", gives: "a later or earlier date" },
    Signature { function: Function::DateDifference, names: &["DATEDIFF", "DATE_DIFF"], arguments_min: 3, arguments_max: 3,
        arguments: "unit, from, to", gives: "whole units between two dates" },
    Signature { function: Function::Date, names: &["DATE"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the day alone: 2026-07-30" },
    Signature { function: Function::DateTime, names: &["DATETIME", "TO_UTC"], arguments_min: 1, arguments_max: 1,
        arguments: "date", gives: "the moment in UTC: 2026-07-30T10:00:00Z" },
    Signature { function: Function::ArrayCount, names: &["ARRAY_COUNT"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "how many items are neither null nor missing; COUNT(path[*])" },
    Signature { function: Function::ArraySum, names: &["ARRAY_SUM"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "the exact sum of the items; SUM(path[*])" },
    Signature { function: Function::ArrayAverage, names: &["ARRAY_AVG"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "their average; AVG(path[*])" },
    Signature { function: Function::ArrayLeast, names: &["ARRAY_MIN"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "the least item; MIN(path[*])" },
    Signature { function: Function::ArrayGreatest, names: &["ARRAY_MAX"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "the greatest item; MAX(path[*])" },
    Signature { function: Function::First, names: &["FIRST"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "the first item" },
    Signature { function: Function::Last, names: &["LAST"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "the last item" },
    Signature { function: Function::Items, names: &["ITEMS", "ARRAY"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "an array as it is; anything else as an array of one" },
    Signature { function: Function::Map, names: &["MAP"], arguments_min: 2, arguments_max: 2,
        arguments: "array => value", gives: "what the value is for each item, which is called @; missing ones left out" },
    Signature { function: Function::Filter, names: &["FILTER"], arguments_min: 2, arguments_max: 2,
        arguments: "array => condition", gives: "the items, each called @, for which the condition is true" },
    Signature { function: Function::Field, names: &["FIELD"], arguments_min: 2, arguments_max: 2,
        arguments: "object or array, name or index", gives: "what stands there; @.Price is FIELD(@, 'Price')" },
    Signature { function: Function::Distinct, names: &["ARRAY_DISTINCT"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "each item once" },
    Signature { function: Function::Sort, names: &["ARRAY_SORT", "SORT"], arguments_min: 1, arguments_max: 1,
        arguments: "array", gives: "the items in order" },
    Signature { function: Function::Slice, names: &["ARRAY_SLICE"], arguments_min: 2, arguments_max: 3,
        arguments: "array, from, length?", gives: "a part of the array; the first item is 0" },
    Signature { function: Function::Union, names: &["ARRAY_UNION"], arguments_min: 2, arguments_max: 2,
        arguments: "array, array", gives: "the items of both, each once" },
    Signature { function: Function::Except, names: &["ARRAY_EXCEPT", "EXCEPT"], arguments_min: 2, arguments_max: 2,
        arguments: "array, array", gives: "the items of the first that the second lacks, each once" },
    Signature { function: Function::Keys, names: &["KEYS"], arguments_min: 1, arguments_max: 1,
        arguments: "object", gives: "the names of the fields" },
    Signature { function: Function::Values, names: &["OBJECT_VALUES"], arguments_min: 1, arguments_max: 1,
        arguments: "object", gives: "the values of the fields" },
    Signature { function: Function::Extend, names: &["EXTEND"], arguments_min: 2, arguments_max: 64,
        arguments: "object, object, ...", gives: "the fields of all, later ones winning" },
    Signature { function: Function::Coalesce, names: &["COALESCE", "IFNULL", "ISNULL", "NVL"], arguments_min: 1, arguments_max: 64,
        arguments: "value, ...", gives: "the first that is neither null nor missing" },
    Signature { function: Function::NullIf, names: &["NULLIF"], arguments_min: 2, arguments_max: 2,
        arguments: "value, value", gives: "null if both are equal, else the first" },
    Signature { function: Function::If, names: &["IIF", "IF"], arguments_min: 3, arguments_max: 3,
        arguments: "condition, then, else", gives: "one or the other" },
    Signature { function: Function::TypeOf, names: &["TYPEOF"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "missing, null, boolean, number, string, array or object" },
    Signature { function: Function::IsNull, names: &["IS_NULL"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is null or missing" },
    Signature { function: Function::IsMissing, names: &["IS_MISSING"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is missing" },
    Signature { function: Function::IsNumber, names: &["IS_NUMBER", "IS_DECIMAL", "IS_DOUBLE"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is a number" },
    Signature { function: Function::IsInteger, names: &["IS_INTEGER", "IS_INT32", "IS_INT64"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is a whole number" },
    Signature { function: Function::IsString, names: &["IS_STRING", "IS_TEXT"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is text" },
    Signature { function: Function::IsBoolean, names: &["IS_BOOLEAN"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is true or false" },
    Signature { function: Function::IsArray, names: &["IS_ARRAY"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is an array" },
    Signature { function: Function::IsObject, names: &["IS_OBJECT", "IS_DOCUMENT"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is an object" },
    Signature { function: Function::IsDate, names: &["IS_DATE", "IS_DATETIME"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "whether it is text that is a date" },
    Signature { function: Function::ToNumber, names: &["NUMBER", "TO_NUMBER", "DECIMAL", "DOUBLE"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "the number that it is or says; null if it says none" },
    Signature { function: Function::ToInteger, names: &["INTEGER", "INT", "INT32", "INT64"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "the same without what follows the point" },
    Signature { function: Function::ToString, names: &["STRING", "TO_STRING"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "as text; arrays and objects as JSON" },
    Signature { function: Function::ToBoolean, names: &["BOOLEAN", "TO_BOOLEAN"], arguments_min: 1, arguments_max: 1,
        arguments: "value", gives: "true or false that it is or says; null if it says none" },
    Signature { function: Function::Json, names: &["JSON"], arguments_min: 1, arguments_max: 1,
        arguments: "text", gives: "the value that the text is in JSON; null if it is none" },
    Signature { function: Function::NewId, names: &["NEWID", "UUID", "GUID"], arguments_min: 0, arguments_max: 0,
        arguments: "", gives: "an id that no other row gets" },
];

impl Function {
    /// The function of that name, in any case.
    pub fn named(name: &str) -> Option<&'static Signature> {
        FUNCTIONS.iter().find(|known| known.names.iter().any(|one| one.eq_ignore_ascii_case(name)))
    }

    /// Its own name, in capitals.
    pub fn name(self) -> &'static str {
        let signature = FUNCTIONS.iter().find(|known| known.function == self);
        signature.and_then(|known| known.names.first()).copied().unwrap_or_default()
    }

    /// Whether it looks at the items of an array one by one, as [`Kind::Element`](super::expression::Kind::Element).
    pub fn looks_at_items(self) -> bool {
        matches!(self, Self::Map | Self::Filter)
    }

    /// Whether it always gives an array.
    pub fn gives_array(self) -> bool {
        matches!(
            self,
            Self::Map
                | Self::Filter
                | Self::Distinct
                | Self::Sort
                | Self::Slice
                | Self::Union
                | Self::Except
                | Self::Items
                | Self::Split
                | Self::Keys
                | Self::Values
        )
    }

    /// Whether it can give another value for each row, whatever it is given.
    pub fn differs_by_row(self) -> bool {
        matches!(self, Self::NewId)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{FUNCTIONS, Function};

    #[test]
    fn every_name_belongs_to_one_function() {
        let mut seen = HashSet::new();
        for known in FUNCTIONS {
            assert!(!known.names.is_empty() && known.arguments_min <= known.arguments_max);
            for name in known.names {
                assert!(seen.insert(name), "{name} twice");
                assert_eq!(*name, name.to_ascii_uppercase());
                assert_eq!(
                    Function::named(&name.to_ascii_lowercase()).map(|found| found.function),
                    Some(known.function)
                );
            }
            assert_eq!(Some(&known.function.name()), known.names.first());
        }
    }
}
