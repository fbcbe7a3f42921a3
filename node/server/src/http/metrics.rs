//! `GET /metrics`: what the node counts, in Prometheus' text format.
//!
//! It needs a key, any key: without one, nobody learns which databases there are. A key sees the numbers of the
//! databases that it reaches, so a key without roles is enough for a collector of metrics.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::{OpenDatabase, Standing};
use crate::http::access::Caller;
use crate::http::app::App;
use crate::http::databases::{Contents, contents};
use crate::http::error::ApiError;
use crate::http::{query_metrics, replica_metrics, sync_metrics};
use crate::sync::status;
use crate::telemetry::histogram::Histogram;
use crate::telemetry::metrics::{self, Definition, Kind, Metrics};

const CONTENT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Shows what the node counts, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "Node",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn show(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let mut databases = Vec::new();
    for listing in app.databases.list() {
        if caller.grant().reaches(&listing.name) {
            databases.push(DatabaseNumbers {
                name: listing.name.to_string(),
                is_up: listing.standing == Standing::Open,
                contents: contents(&app, &listing).await?,
                open: app.databases.get(&listing.name).ok(),
            });
        }
    }
    let mut page = Page::default();
    page.family(metrics::BUILD_INFO, [(format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1)]);
    page.family(metrics::START_TIME, [(String::new(), seconds(u128::from(app.started_millis) * 1_000))]);
    put_requests(&mut page, &app.metrics);
    query_metrics::put(&mut page, &app);
    put_databases(&mut page, &databases);
    page.family(metrics::IDENTITY_EVENTS, [(String::new(), app.databases.identity().list().len())]);
    let sync = Arc::clone(&app.sync);
    let reached = app.scan(move || Ok(status::of(&sync))).await?;
    let is_reached = |name: &str| databases.iter().any(|database| database.name == name);
    sync_metrics::put(&mut page, reached, &is_reached);
    let group = Arc::clone(&app.group);
    // It measures what followers lack, in the log.
    let status = app.scan(move || Ok(group.status())).await?;
    replica_metrics::put(&mut page, &status, app.group.counts(), &is_reached);
    let mut response = page.text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    Ok(response)
}

/// What is known of one database.
struct DatabaseNumbers {
    name: String,
    is_up: bool,
    contents: Option<Contents>,
    open: Option<std::sync::Arc<OpenDatabase>>,
}

/// The page as it grows.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// Writes a metric with its samples: labels and value of each.
    pub(super) fn family<V: Display>(
        &mut self,
        definition: Definition,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        let kind = match definition.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {0} {1}\n# TYPE {0} {kind}", definition.name, definition.help);
        for (labels, value) in samples {
            let _ = writeln!(self.text, "{}{labels} {value}", definition.name);
        }
    }
}

fn put_requests(page: &mut Page, metrics: &Metrics) {
    let mut requests = Vec::new();
    let mut times = Vec::new();
    for (class, counts) in metrics.classes() {
        let name = class.name();
        for (status, count) in counts.statuses().filter(|(_, count)| *count > 0) {
            let status = if status == 0 { "other".to_owned() } else { status.to_string() };
            requests.push((format!("{{class=\"{name}\",status=\"{status}\"}}"), count));
        }
        if counts.aborted() > 0 {
            requests.push((format!("{{class=\"{name}\",status=\"aborted\"}}"), counts.aborted()));
        }
        times.extend(samples(&format!("class=\"{name}\""), counts.times()));
    }
    page.family(metrics::REQUESTS, requests);
    page.family(metrics::REQUESTS_RUNNING, [(String::new(), metrics.running())]);
    page.family(metrics::REQUEST_SECONDS, times);
}

fn put_databases(page: &mut Page, databases: &[DatabaseNumbers]) {
    // A database's name is letters, digits, '_' and '-': it needs no escaping in a label.
    let label = |database: &DatabaseNumbers| format!("{{database=\"{}\"}}", database.name);
    page.family(metrics::DATABASE_UP, databases.iter().map(|database| (label(database), u8::from(database.is_up))));
    type Writer = fn(&OpenDatabase) -> u64;
    let of_writer: [(Definition, Writer); 8] = [
        (metrics::COMMITS, |database| database.counts().commits.load(Ordering::Relaxed)),
        (metrics::OPERATIONS, |database| database.counts().operations.load(Ordering::Relaxed)),
        (metrics::CACHE_CHANGES, |database| database.counts().cache_changes.load(Ordering::Relaxed)),
        (metrics::WRITES_WAITING, |database| database.counts().waiting.load(Ordering::Relaxed)),
        (metrics::CONFLICTS_SETTLED, |database| database.counts().conflicts_settled.load(Ordering::Relaxed)),
        (metrics::REOPENED, |database| database.counts().reopened.load(Ordering::Relaxed)),
        (metrics::CACHE_FULL, |database| u64::from(database.counts().is_cache_full.load(Ordering::Relaxed))),
        (metrics::OUT_OF_ROOM, |database| u64::from(database.counts().is_out_of_room.load(Ordering::Relaxed))),
    ];
    for (definition, read) in of_writer {
        let samples = databases.iter().filter_map(|database| Some((label(database), read(database.open.as_deref()?))));
        page.family(definition, samples);
    }
    type Reader = fn(&Contents) -> u64;
    let of_contents: [(Definition, Reader); 8] = [
        (metrics::DOCUMENTS, |contents| contents.documents),
        (metrics::TOMBSTONES, |contents| contents.tombstones),
        (metrics::CONFLICTED, |contents| contents.conflicted),
        (metrics::DEAD_LETTERS, |contents| contents.dead_letters),
        (metrics::CACHE_KEYS, |contents| contents.cache_keys),
        (metrics::CACHE_BYTES, |contents| contents.cache_bytes),
        (metrics::LOG_POSITION, |contents| contents.newest_log_sequence),
        (metrics::LOG_OLDEST, |contents| contents.oldest_log_sequence),
    ];
    for (definition, read) in of_contents {
        let samples =
            databases.iter().filter_map(|database| Some((label(database), read(database.contents.as_ref()?))));
        page.family(definition, samples);
    }
    let files = databases.iter().filter_map(|database| {
        let contents = database.contents.as_ref()?;
        let file = |file: &str| format!("{{database=\"{}\",file=\"{file}\"}}", database.name);
        Some([(file("data"), contents.data_bytes), (file("log"), contents.log_bytes)])
    });
    page.family(metrics::FILE_BYTES, files.flatten());
}

/// The samples of a histogram with a label; none while nothing was counted.
pub(super) fn samples(label: &str, times: &Histogram) -> Vec<(String, String)> {
    // Read before the buckets, so that a time that is added meanwhile makes none of them larger than the whole.
    let count = times.count();
    if count == 0 {
        return Vec::new();
    }
    let bucket = |end: &str| format!("_bucket{{{label},le=\"{end}\"}}");
    let mut samples: Vec<(String, String)> = times
        .buckets()
        .map(|(end, within)| (bucket(&seconds(u128::from(end))), within.min(count).to_string()))
        .collect();
    samples.push((bucket("+Inf"), count.to_string()));
    samples.push((format!("_sum{{{label}}}"), seconds(u128::from(times.micros()))));
    samples.push((format!("_count{{{label}}}"), count.to_string()));
    samples
}

/// Microseconds as seconds, exactly.
pub(super) fn seconds(micros: u128) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:06}").trim_end_matches('0').to_owned()
}
