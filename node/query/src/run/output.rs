//! What a row shows: JSON text, made of the text of documents where that is possible.
//!
//! **What stays true.** A row is one JSON object, and no name stands in it twice. Numbers keep the text that they were
//! written with. A column whose value is missing is null; a field of an object whose value is missing is left out.

use std::io::Write as _;

use holdfast_storage::scan::ScannedDocument;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::plan::{ColumnPlan, Options};
use crate::run::row::{Body, Readers, Row, Term, write_value};
use crate::value::Compute;

/// How rows are written.
#[derive(Debug)]
pub(crate) enum Output {
    /// The document of a source as it is.
    Document(Term),
    /// The document of this source with the fields that the node keeps.
    WithReserved(Term, usize),
    /// Names with their values, nothing else.
    Values(Vec<(Vec<u8>, Term)>),
    /// Anything, put together from values.
    Mixed(Vec<Part>),
}

/// A part of a mixed row.
#[derive(Debug)]
pub(crate) enum Part {
    /// The fields of an object.
    Fields(Term),
    /// A value under a name.
    Value(String, Term),
}

impl Output {
    pub(crate) fn of(columns: &[ColumnPlan], source_names: &[String], readers: &mut Readers, options: Options) -> Self {
        let optimises = options.optimises;
        if let [ColumnPlan::Everything(source)] = columns {
            let whole = Term::Whole(*source);
            return if options.shows_reserved_fields {
                Self::WithReserved(whole, *source)
            } else {
                Self::Document(whole)
            };
        }
        let parts: Vec<Part> = columns
            .iter()
            .flat_map(|column| match column {
                ColumnPlan::Everything(source) => vec![Part::Fields(Term::Whole(*source))],
                ColumnPlan::AllSources => {
                    let each = source_names.iter().enumerate();
                    each.map(|(source, name)| Part::Value(name.clone(), Term::Whole(source))).collect()
                }
                ColumnPlan::Fields(expression) => vec![Part::Fields(Term::of(expression, readers, optimises))],
                ColumnPlan::Value { name, expression } => {
                    vec![Part::Value(name.clone(), Term::of(expression, readers, optimises))]
                }
            })
            .collect();
        if parts.iter().any(|part| matches!(part, Part::Fields(_))) {
            return Self::Mixed(parts);
        }
        let values = parts.into_iter().filter_map(|part| match part {
            Part::Value(name, term) => {
                let mut written = Vec::with_capacity(name.len() + 3);
                write_value(&Value::String(name), &mut written);
                written.push(b':');
                Some((written, term))
            }
            Part::Fields(_) => None,
        });
        Self::Values(values.collect())
    }

    /// Appends the row's JSON text.
    pub(crate) fn write(
        &self,
        row: &Row,
        readers: &Readers,
        compute: &Compute<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match self {
            Self::Document(term) => {
                if !term.write(row, readers, compute, out)? {
                    out.extend_from_slice(b"{}");
                }
            }
            Self::WithReserved(term, source) => {
                if !term.write(row, readers, compute, out)? {
                    out.extend_from_slice(b"{}");
                }
                if let Some(Body::Stored(document)) = row.get(*source).and_then(Option::as_ref).map(|row| &row.body) {
                    put_reserved_fields(document, out)?;
                }
            }
            Self::Values(values) => {
                out.push(b'{');
                for (place, (name, term)) in values.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(name);
                    if !term.write(row, readers, compute, out)? {
                        out.extend_from_slice(b"null");
                    }
                }
                out.push(b'}');
            }
            Self::Mixed(parts) => {
                let mut object = Map::new();
                for part in parts {
                    match part {
                        Part::Fields(term) => {
                            if let Some(Value::Object(fields)) = term.value(row, readers, compute)? {
                                object.extend(fields);
                            }
                        }
                        Part::Value(name, term) => {
                            object.insert(name.clone(), term.value(row, readers, compute)?.unwrap_or(Value::Null));
                        }
                    }
                }
                write_value(&Value::Object(object), out);
            }
        }
        Ok(())
    }

    /// Appends what tells rows apart that show different things.
    pub(crate) fn encode(
        &self,
        row: &Row,
        readers: &Readers,
        compute: &Compute<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match self {
            Self::Document(term) | Self::WithReserved(term, _) => term.encode(row, readers, compute, out),
            Self::Values(values) => {
                values.iter().try_for_each(|(_, term)| term.encode_shown(row, readers, compute, out))
            }
            Self::Mixed(parts) => parts.iter().try_for_each(|part| match part {
                Part::Fields(term) | Part::Value(_, term) => term.encode_shown(row, readers, compute, out),
            }),
        }
    }
}

/// Adds the fields that the node keeps to a document that was written last.
fn put_reserved_fields(document: &ScannedDocument, out: &mut Vec<u8>) -> Result<(), Failure> {
    // A stored document is an object with at least its id, and none of these names.
    if out.pop() != Some(b'}') {
        return Ok(());
    }
    out.extend_from_slice(b",\"_id\":");
    write_value(&Value::from(document.id()?), out);
    // Writing into memory cannot fail.
    let _ = write!(
        out,
        ",\"_sys_version\":\"{}\",\"_sys_deleted\":false,\"_sys_last_modified_utc\":\"{}\",\"_sys_conflicted\":{}}}",
        document.version,
        document.stamp.millis().to_utc_text(),
        document.is_conflicted
    );
    Ok(())
}
