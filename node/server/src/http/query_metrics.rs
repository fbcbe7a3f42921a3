//! What `GET /metrics` tells of queries.

use crate::http::app::App;
use crate::http::metrics::{Page, seconds};
use crate::telemetry::metrics;

/// Writes the metrics of queries.
pub(super) fn put(page: &mut Page, app: &App) {
    let (mut ended, mut times) = (Vec::new(), Vec::new());
    for (kind, counts) in app.metrics.queries.kinds() {
        let name = kind.name();
        let total: u64 = counts.outcomes().map(|(_, count)| count).sum();
        for (outcome, count) in counts.outcomes().filter(|(_, count)| *count > 0) {
            ended.push((format!("{{kind=\"{name}\",outcome=\"{outcome}\"}}"), count));
        }
        if total > 0 {
            for (end, count) in counts.buckets() {
                let end = seconds(u128::from(end));
                times.push((format!("_bucket{{kind=\"{name}\",le=\"{end}\"}}"), count.to_string()));
            }
            times.push((format!("_bucket{{kind=\"{name}\",le=\"+Inf\"}}"), total.to_string()));
            times.push((format!("_sum{{kind=\"{name}\"}}"), seconds(u128::from(counts.micros()))));
            times.push((format!("_count{{kind=\"{name}\"}}"), total.to_string()));
        }
    }
    page.family(metrics::QUERIES, ended);
    page.family(metrics::QUERY_SECONDS, times);
    page.family(metrics::QUERY_EXAMINED, [(String::new(), app.metrics.queries.examined())]);
    page.family(metrics::QUERY_ROWS, [(String::new(), app.metrics.queries.rows())]);
    page.family(metrics::QUERIES_RUNNING, [(String::new(), app.queries().running())]);
    page.family(metrics::QUERIES_WAITING, [(String::new(), app.queries().waiting())]);
}
