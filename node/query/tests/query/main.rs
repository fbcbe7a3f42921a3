//! Statements and what comes of them: golden scripts, plans that must not change answers, writes, limits, pages.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod golden;
mod indexes;
mod limits;
mod pages;
mod real;
mod shop;
mod sqlite;
mod writes;
