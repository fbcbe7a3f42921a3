//! What is written: orders of about 350 bytes, and a purchases file to import.
//!
//! What stays true: every document has the same length, so that a request can be patched in place.

use super::http::mark;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// Rows of the purchases file.
pub(super) const PURCHASES: u64 = 69_659;

/// An order with [`mark`] where its number goes.
pub(super) fn order() -> String {
    let number = mark();
    format!(
        "{{\"Id\":\"ord-{number}\",\"customer\":\"cust-{number}\",\"sku\":\"sku-00417-blue\",\
         \"quantity\":3,\"unitPrice\":11.77,\"total\":35.31,\"currency\":\"EUR\",\"paid\":true,\
         \"placed\":\"1997-01-12T09:30:00Z\",\"store\":\"harbour-street\",\"note\":\"Leave the parcel \
         with the neighbour on the second floor if nobody opens; the bell is broken, so please knock, and wait a minute.\"}}"
    )
}

/// The order with this number.
pub(super) fn one(number: u64) -> String {
    order().replace(mark(), &format!("{number:010}"))
}

/// Writes a file of the shape of the real purchases: `customer_id,date,quantity,amount`.
pub(super) fn write_purchases(path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, "customer_id,date,quantity,amount")?;
    let mut line = String::new();
    for row in 0..PURCHASES {
        line.clear();
        let (month, day) = (1 + row % 12, 1 + row % 28);
        let (quantity, euros, cents) = (1 + row % 5, 1 + row % 90, row % 100);
        let _ = write!(line, "{:05},1997-{month:02}-{day:02},{quantity},{euros}.{cents:02}", row / 3 + 1);
        writeln!(file, "{line}")?;
    }
    file.flush()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_json_of_about_350_bytes() {
        let order = one(7);
        assert!((330..=370).contains(&order.len()), "{} bytes", order.len());
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&order);
        assert!(parsed.is_ok_and(|value| value["Id"] == "ord-0000000007"));
    }
}
