//! Query parameters, read strictly.
//!
//! ```ignore
//! #[derive(Deserialize)] struct Page { skip: Option<u64>, take: Option<u64> }
//! async fn list(Parameters(page): Parameters<Page>) { ... }
//! ```
//!
//! * Names are matched in any case, as older clients send them. `field_name` in Rust wants a
//!   `#[serde(rename_all = "camelCase")]` on the struct.
//! * An unknown parameter, a repeated one and one of the wrong type are each a 400 that names it, so that a
//!   typing mistake never silently reads the wrong page.
//! * An empty value of an optional parameter counts as absent, except where absence would drop a guard or
//!   change the answer's shape: see [`version`] and [`given`]. The cache, where scripts write, takes no empty value at all.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use holdfast_core::limits::LONG_POLL_MILLIS_MAX;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
};

use crate::http::error::{ApiError, quoted};
use crate::http::percent;

/// The most parameters one request may carry.
const MAX_PARAMETERS: usize = 64;

/// The parameters of a request as a struct of named fields.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<T>(pub T);

impl<S, T> FromRequestParts<S> for Parameters<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parse(parts.uri.query().unwrap_or_default()).map(Parameters)
    }
}

/// Reads the part of an address behind the `?`.
pub fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let mut pairs = Vec::new();
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        if pairs.len() == MAX_PARAMETERS {
            return Err(refused(format!("The address carries more than {MAX_PARAMETERS} parameters.")));
        }
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        pairs.push((decoded(name, name)?, decoded(value, name)?));
    }
    T::deserialize(Query { pairs }).map_err(|ParameterError(detail)| refused(detail))
}

/// Reads a version that is expected, for `#[serde(default, deserialize_with)]`. An empty one is refused: a script
/// whose variable is unset must not write unguarded.
pub fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Err(de::Error::custom("a version is expected; leave the parameter out to write whatever is there"));
    }
    Ok(Some(text))
}

/// Reads a value that counts as given even when it is empty, for `#[serde(default, deserialize_with)]`: what a script
/// whose variable is unset has left empty is not the same as what it leaves out.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads how long to wait for something new: `1500`, `1500ms`, `30s` or `1m`, cut to [`LONG_POLL_MILLIS_MAX`]. Whoever
/// asked for longer asks again.
pub fn wait(name: &str, text: Option<&str>) -> Result<Option<Duration>, ApiError> {
    let millis = text.map(|text| wait_millis(name, text)).transpose()?;
    Ok(millis.map(|millis| Duration::from_millis(millis.min(LONG_POLL_MILLIS_MAX))))
}

/// Reads how long to wait for something certain. More than [`LONG_POLL_MILLIS_MAX`] is refused: an answer that came
/// sooner would say that it has not happened.
pub fn timeout(name: &str, text: Option<&str>) -> Result<Option<Duration>, ApiError> {
    let millis = text.map(|text| wait_millis(name, text)).transpose()?;
    if millis.is_some_and(|millis| millis > LONG_POLL_MILLIS_MAX) {
        let seconds = LONG_POLL_MILLIS_MAX / 1_000;
        return Err(refused(format!("The parameter '{name}' can be at most {seconds}s. To wait longer, ask again.")));
    }
    Ok(millis.map(Duration::from_millis))
}

/// Reads a span of any length, in the same words.
pub fn span(name: &str, text: &str) -> Result<Duration, ApiError> {
    wait_millis(name, text).map(Duration::from_millis)
}

fn wait_millis(name: &str, text: &str) -> Result<u64, ApiError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let millis = unit.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(unit));
    millis.ok_or_else(|| refused(format!("The parameter '{name}' must be milliseconds such as 1500, or 30s, or 1m.")))
}

fn decoded<'a>(text: &'a str, name: &str) -> Result<Cow<'a, str>, ApiError> {
    let invalid = |wrong| refused(format!("The parameter {} {wrong}.", quoted(name)));
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent::decode(&spaced).map(|plain| Cow::Owned(plain.into_owned())).map_err(invalid);
    }
    percent::decode(text).map_err(invalid)
}

/// How many a caller gets in a page who asks for so many.
pub fn page_size(asked: Option<usize>, default: usize, max: usize) -> Result<usize, ApiError> {
    match asked {
        Some(0) => Err(refused("'limit' must be at least 1; leave it out for the usual number.".to_owned())),
        asked => Ok(asked.unwrap_or(default).min(max)),
    }
}

fn refused(detail: String) -> ApiError {
    ApiError::bad_request("invalid-parameter", detail)
}

/// What is wrong with the parameters, as a whole sentence.
#[derive(Debug)]
struct ParameterError(String);

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParameterError {}

impl de::Error for ParameterError {
    fn custom<T: fmt::Display>(message: T) -> ParameterError {
        ParameterError(message.to_string())
    }

    fn missing_field(field: &'static str) -> ParameterError {
        ParameterError(format!("The parameter '{field}' is required."))
    }
}

/// The decoded pairs, in order.
struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'de> de::Deserializer<'de> for Query<'_> {
    type Error = ParameterError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ParameterError> {
        let mut named: Vec<(&'static str, String)> = Vec::with_capacity(self.pairs.len());
        for (given, value) in self.pairs {
            let Some(field) = fields.iter().find(|field| field.eq_ignore_ascii_case(&given)) else {
                return Err(unknown(&given, fields));
            };
            if named.iter().any(|(known, _)| known == field) {
                return Err(ParameterError(format!("The parameter '{field}' is given twice. Send it once.")));
            }
            named.push((field, value.into_owned()));
        }
        visitor.visit_map(Fields { rest: named.into_iter(), value: None })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
        match self.pairs.first() {
            Some((given, _)) => Err(unknown(given, &[])),
            None => visitor.visit_unit(),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn unknown(given: &str, fields: &[&str]) -> ParameterError {
    let nearest = fields
        .iter()
        .map(|field| (strsim::damerau_levenshtein(&field.to_lowercase(), &given.to_lowercase()), field))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    let advice = match (nearest, fields) {
        (Some((_, field)), _) => format!("Did you mean '{field}'?"),
        (None, []) => "This route takes none.".to_owned(),
        (None, fields) => format!("This route knows {}.", fields.join(", ")),
    };
    ParameterError(format!("The parameter {} is unknown. {advice}", quoted(given)))
}

struct Fields {
    rest: std::vec::IntoIter<(&'static str, String)>,
    value: Option<(&'static str, String)>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = ParameterError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ParameterError> {
        let Some((field, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some((field, value));
        let name: StrDeserializer<'_, ParameterError> = field.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ParameterError> {
        let (field, text) = self.value.take().ok_or_else(|| ParameterError("A parameter has no value.".to_owned()))?;
        seed.deserialize(Text { text: &text }).map_err(|ParameterError(expected)| {
            ParameterError(format!("The parameter '{field}' cannot be {}: {expected}.", quoted(&text)))
        })
    }
}

/// One value, read as whatever its field wants.
struct Text<'a> {
    text: &'a str,
}

impl Text<'_> {
    fn number<N: std::str::FromStr>(&self, kind: &str) -> Result<N, ParameterError> {
        self.text.trim().parse().map_err(|_| ParameterError(format!("{kind} is expected")))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $kind:literal)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
            visitor.$visit(self.number($kind)?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Text<'_> {
    type Error = ParameterError;

    numbers! {
        deserialize_i8 visit_i8 "a whole number from -128 to 127"
        deserialize_i16 visit_i16 "a whole number from -32768 to 32767"
        deserialize_i32 visit_i32 "a whole number of at most 32 bits"
        deserialize_i64 visit_i64 "a whole number of at most 64 bits"
        deserialize_u8 visit_u8 "a whole number from 0 to 255"
        deserialize_u16 visit_u16 "a whole number from 0 to 65535"
        deserialize_u32 visit_u32 "a whole number from 0 of at most 32 bits"
        deserialize_u64 visit_u64 "a whole number from 0 of at most 64 bits"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
        match self.text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => visitor.visit_bool(true),
            "false" | "0" => visitor.visit_bool(false),
            _ => Err(ParameterError("true or false is expected".to_owned())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
        if self.text.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ParameterError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ParameterError> {
        let _ = name;
        let Some(variant) = variants.iter().find(|variant| variant.eq_ignore_ascii_case(self.text)) else {
            return Err(ParameterError(format!("one of {} is expected", variants.join(", "))));
        };
        let variant: StrDeserializer<'_, ParameterError> = (*variant).into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
        visitor.visit_str(self.text)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        skip: Option<i64>,
        take: Option<u16>,
        #[serde(default)]
        include_reserved_fields: bool,
        after: Option<String>,
        order: Option<Order>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Order {
        Rising,
        Falling,
    }

    fn refusal(query: &str) -> String {
        parse::<Page>(query).unwrap_err().detail().to_owned()
    }

    #[test]
    fn names_are_matched_in_any_case_and_values_decoded() {
        let page: Page = parse("SKIP=-1&take=5&IncludeReservedFields=True&after=a%2Fb+c&order=Falling").unwrap();
        assert_eq!(
            page,
            Page {
                skip: Some(-1),
                take: Some(5),
                include_reserved_fields: true,
                after: Some("a/b c".to_owned()),
                order: Some(Order::Falling),
            }
        );
    }

    #[test]
    fn nothing_and_empty_values_count_as_absent() {
        assert_eq!(parse::<Page>("").unwrap(), Page::default());
        assert_eq!(parse::<Page>("skip=&take&&after=").unwrap(), Page::default());
    }

    #[test]
    fn an_empty_value_counts_where_absence_means_something_else() {
        #[derive(Debug, Deserialize)]
        struct Guarded {
            #[serde(default, deserialize_with = "version")]
            version: Option<String>,
            #[serde(default, deserialize_with = "given")]
            after: Option<String>,
        }
        let read = parse::<Guarded>("version=v1&after=").unwrap();
        assert_eq!((read.version.as_deref(), read.after.as_deref()), (Some("v1"), Some("")));
        let read = parse::<Guarded>("").unwrap();
        assert_eq!((read.version, read.after), (None, None));
        for query in ["version=", "version", "version=%20"] {
            let refused = parse::<Guarded>(query).unwrap_err();
            assert!(refused.detail().contains("'version'") && refused.detail().contains("leave"), "{refused}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_named_with_the_one_that_was_meant() {
        assert_eq!(refusal("tkae=5"), "The parameter 'tkae' is unknown. Did you mean 'take'?");
        assert!(refusal("colour=red").contains("This route knows skip, take"));
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_parameter() {
        for (query, name, expected) in [
            ("take=ten", "'take'", "whole number"),
            ("take=70000", "'take'", "65535"),
            ("take=-1", "'take'", "whole number"),
            ("skip=1.5", "'skip'", "64 bits"),
            ("includeReservedFields=yes", "'includeReservedFields'", "true or false"),
            ("order=up", "'order'", "rising, falling"),
            ("take=1&TAKE=2", "'take'", "twice"),
            ("after=%FF", "'after'", "UTF-8"),
            ("after=50%+", "'after'", "%25"),
        ] {
            let detail = refusal(query);
            assert!(detail.contains(name) && detail.contains(expected), "{query}: {detail}");
        }
    }

    #[test]
    fn waits_are_read_with_and_without_a_unit_and_bounded() {
        for (text, millis) in
            [("0", 0), ("1500", 1_500), ("250ms", 250), ("30s", 30_000), ("1m", 60_000), ("9m", 60_000)]
        {
            assert_eq!(wait("wait", Some(text)).unwrap(), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["s", "-1", "1h", "1.5s", "18446744073709551615s"] {
            assert_eq!(wait("wait", Some(bad)).unwrap_err().code(), "invalid-parameter", "{bad}");
        }
    }

    #[test]
    fn a_timeout_that_is_too_long_is_refused_with_the_bound() {
        assert_eq!(timeout("timeout", Some("1m")).unwrap(), Some(Duration::from_secs(60)));
        assert_eq!(timeout("timeout", None).unwrap(), None);
        for bad in ["60001", "61s", "2m", "", "soon"] {
            assert_eq!(timeout("timeout", Some(bad)).unwrap_err().code(), "invalid-parameter", "{bad}");
        }
        assert!(timeout("timeout", Some("2m")).unwrap_err().detail().contains("at most 60s"));
    }

    #[test]
    fn more_parameters_than_anyone_needs_are_refused() {
        assert!(refusal(&"a=1&".repeat(MAX_PARAMETERS + 1)).contains("more than"));
    }

    #[test]
    fn a_route_without_parameters_refuses_any() {
        #[derive(Debug, Deserialize)]
        struct Nothing {}
        assert!(parse::<Nothing>("").is_ok());
        assert!(parse::<Nothing>("x=1").unwrap_err().detail().contains("takes none"));
    }
}
