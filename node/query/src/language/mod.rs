//! The query language: from text to a [`Statement`] that says what is wanted, and nothing of how.
//!
//! **What stays true.** Every part of a statement knows where it stood in the text, so that whoever finds something
//! wrong with it later can still point at it. Two statements are equal if they say the same, wherever it stands.
//!
//! **What it does not do.** It knows no collection, index or document: a statement that parses may still name things
//! that are not there.

pub mod function;
pub mod expression;
pub mod statement;
mod word;
mod print;

pub use expression::{Expression, Kind, PathExpression, PathStep};
pub use statement::{Select, Statement};
