//! The functions that there are: their names and how many values they take.
//!
//! **What it does not do.** It computes nothing.

/// A function of values of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `NEWID()`: an id that no other row gets.
    NewId,
}

impl Function {
    /// Its name, in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::NewId => "NEWID",
        }
    }

    /// Whether it can give another value for each row, whatever it is given.
    pub fn differs_by_row(self) -> bool {
        matches!(self, Self::NewId)
    }
}
