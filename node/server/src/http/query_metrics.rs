//! What `GET /metrics` tells of queries.

use crate::http::app::App;
use crate::http::metrics::{Page, samples};
use crate::telemetry::metrics;

/// Writes the metrics of queries.
pub(super) fn put(page: &mut Page, app: &App) {
    let (mut ended, mut times) = (Vec::new(), Vec::new());
    for (kind, counts) in app.metrics.queries.kinds() {
        let name = kind.name();
        for (outcome, count) in counts.outcomes().filter(|(_, count)| *count > 0) {
            ended.push((format!("{{kind=\"{name}\",outcome=\"{outcome}\"}}"), count));
        }
        times.extend(samples(&format!("kind=\"{name}\""), counts.times()));
    }
    page.family(metrics::QUERIES, ended);
    page.family(metrics::QUERY_SECONDS, times);
    page.family(metrics::QUERY_EXAMINED, [(String::new(), app.metrics.queries.examined())]);
    page.family(metrics::QUERY_ROWS, [(String::new(), app.metrics.queries.rows())]);
    page.family(metrics::QUERIES_RUNNING, [(String::new(), app.queries().running())]);
    page.family(metrics::QUERIES_WAITING, [(String::new(), app.queries().waiting())]);
}
