//! What the node tells about itself while it runs.

pub mod logging;
pub mod histogram;
pub mod metrics;
pub mod query_metrics;
pub mod seldom;
pub mod panics;
