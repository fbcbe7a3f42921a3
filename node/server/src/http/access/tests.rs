//! Requests with right, wrong and missing keys, through a router as clients meet it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::get;
use holdfast_core::access::grant::KeyRate;
use holdfast_core::access::key_ring::KeySpec;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

fn spec(name: &str, databases: &[&str], roles: &[Role]) -> KeySpec {
    KeySpec {
        name: name.to_owned(),
        key: format!("{name}-key-0123456789abcdef"),
        databases: databases.iter().map(|&name| name.to_owned()).collect(),
        roles: roles.iter().copied().collect(),
        rate: KeyRate::default(),
    }
}

fn ring() -> KeyRing {
    let keys =
        [spec("reader", &["shop"], &[Role::ReadDocument]), spec("clerk", &["*"], &[Role::AddDb, Role::UpdateDocument])];
    KeyRing::build("root", &keys).unwrap()
}

fn control(limits: RateLimits) -> Arc<AccessControl> {
    let replication = ReplicationKey::parse("I_AM_ONE_OF_YOU").unwrap();
    Arc::new(AccessControl::new(ring(), replication, limits))
}

async fn ask(control: &Arc<AccessControl>, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let app = Router::new()
        .route("/who", get(|caller: Caller| async move { caller.grant().name().to_owned() }))
        .route("/read", get(|may: MayRead| async move { may.database.to_string() }))
        .route("/write", get(|may: MayWrite| async move { may.database.to_string() }))
        .route("/add", get(|_: MayAddDatabase| async {}))
        .route("/delete", get(|_: MayDelete| async {}))
        .route("/root", get(|_: IsRoot| async {}))
        .route("/node", get(|_: MayReplicate| async {}))
        .route("/operate", get(|_: MayOperate| async {}))
        .with_state(Arc::clone(control));
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

const READER: (&str, &str) = ("ApiKey", "reader-key-0123456789abcdef");
const CLERK: (&str, &str) = ("ApiKey", "clerk-key-0123456789abcdef");

#[tokio::test]
async fn the_database_is_normalised_and_the_key_kept() {
    let control = control(RateLimits::OFF);
    let (status, body) = ask(&control, "/read", &[("ApiKey", "root"), ("Database", " TestApp ")]).await;
    assert_eq!((status, body), (StatusCode::OK, "testapp".into()));
    assert_eq!(ask(&control, "/who", &[READER]).await.1, "reader");
}

#[tokio::test]
async fn a_request_without_a_key_is_401_whatever_else_is_wrong_with_it() {
    let control = control(RateLimits::OFF);
    for headers in [&[][..], &[("ApiKey", " ")], &[("Database", "no good")], &[("Authorization", "Basic eDp5")]] {
        let (status, body) = ask(&control, "/read", headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{headers:?}");
        assert_eq!(body["code"], "key-required");
        assert_eq!(body["Error"], "ApiKey header is required. (Parameter 'apiKey')");
    }
}

#[tokio::test]
async fn an_unknown_key_is_401_and_says_invalid() {
    let (status, body) = ask(&control(RateLimits::OFF), "/read", &[("ApiKey", "nobody"), ("Database", "shop")]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(body["error"], "ApiKey is invalid.");
    assert!(!body.to_string().contains("nobody"));
}

#[tokio::test]
async fn a_missing_or_malformed_database_is_400() {
    let control = control(RateLimits::OFF);
    let (status, body) = ask(&control, "/read", &[READER]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["code"], "database-required");
    let (status, body) = ask(&control, "/read", &[READER, ("Database", "../etc")]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["code"], "invalid-database-name");
}

#[tokio::test]
async fn a_key_reaches_its_own_databases_and_roles_only() {
    let control = control(RateLimits::OFF);
    assert_eq!(ask(&control, "/read", &[READER, ("Database", "Shop")]).await.0, StatusCode::OK);
    let (status, body) = ask(&control, "/read", &[READER, ("Database", "books")]).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(body["Error"], "ApiKey does not have access to database 'books'.");
    let (status, body) = ask(&control, "/add", &[READER, ("Database", "shop")]).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(body["Error"], "ApiKey is not allowed to create database 'shop'.");
    let (status, body) = ask(&control, "/delete", &[CLERK, ("Database", "shop")]).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(body["Error"], "ApiKey is not allowed to delete documents.");
    assert_eq!(ask(&control, "/add", &[CLERK, ("Database", "new")]).await.0, StatusCode::OK);
    assert_eq!(ask(&control, "/write", &[CLERK, ("Database", "new")]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_bearer_token_is_as_good_as_the_header_and_two_different_keys_are_refused() {
    let control = control(RateLimits::OFF);
    let bearer = ("Authorization", "bearer root");
    assert_eq!(ask(&control, "/who", &[bearer]).await.1, "root");
    assert_eq!(ask(&control, "/who", &[bearer, ("ApiKey", "root")]).await.1, "root");
    assert_eq!(ask(&control, "/who", &[("Authorization", "Basic eDp5"), READER]).await.1, "reader");
    for headers in [[bearer, READER], [READER, CLERK]] {
        let (status, body) = ask(&control, "/who", &headers).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["code"], "contradictory-headers");
    }
}

#[tokio::test]
async fn only_the_root_key_is_root_and_only_the_secret_replicates() {
    let control = control(RateLimits::OFF);
    let (root, secret) = (("ApiKey", "root"), ("ReplicationApiKey", "I_AM_ONE_OF_YOU"));
    assert_eq!(ask(&control, "/root", &[root]).await.0, StatusCode::OK);
    assert_eq!(ask(&control, "/root", &[READER]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&control, "/node", &[secret]).await.0, StatusCode::OK);
    for headers in [&[][..], &[root], &[("ReplicationApiKey", "root")]] {
        let (status, body) = ask(&control, "/node", headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(body["Error"], "ReplicationApiKey is invalid.");
    }
    assert_eq!(ask(&control, "/operate", &[secret]).await.0, StatusCode::OK);
    assert_eq!(ask(&control, "/operate", &[root]).await.0, StatusCode::OK);
    assert_eq!(ask(&control, "/operate", &[READER]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&control, "/operate", &[]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_reload_takes_effect_at_once_and_also_for_those_who_are_connected() {
    let control = control(RateLimits::OFF);
    let reader = control.authenticate(READER.1, None).unwrap();
    let clerk = control.authenticate(CLERK.1, None).unwrap();
    assert!(control.renew(&reader).is_some());
    let ring = KeyRing::build("new-root", &[spec("clerk", &["shop"], &[Role::ReadDocument])]).unwrap();
    let replication = ReplicationKey::parse("new-secret").unwrap();
    control.reload(ring, replication, RateLimits::OFF);
    assert!(control.renew(&reader).is_none());
    let renewed = control.renew(&clerk).unwrap();
    let shop = DatabaseName::parse("shop").unwrap();
    assert!(renewed.require(Role::AddDb, &shop).is_err());
    assert!(renewed.require(Role::ReadDocument, &shop).is_ok());
    assert_eq!(ask(&control, "/who", &[("ApiKey", "root")]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&control, "/who", &[("ApiKey", "new-root")]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_key_that_asks_too_often_gets_429_and_a_reload_gives_it_no_fresh_burst() {
    let limits = RateLimits { enabled: true, requests_per_second: 1, burst: 2 };
    let control = control(limits);
    for _ in 0..2 {
        assert_eq!(ask(&control, "/who", &[READER]).await.0, StatusCode::OK);
    }
    let replication = ReplicationKey::parse("I_AM_ONE_OF_YOU").unwrap();
    control.reload(ring(), replication, limits);
    let (status, body) = ask(&control, "/who", &[READER]).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(body["code"], "too-many-requests");
    assert_eq!(ask(&control, "/who", &[CLERK]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn guessing_is_slowed_and_good_keys_still_work_meanwhile() {
    let control = control(RateLimits::OFF);
    let mut last = StatusCode::OK;
    for guess in 0..40 {
        last = ask(&control, "/who", &[("ApiKey", &format!("guess-{guess}"))]).await.0;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(&control, "/who", &[READER]).await.0, StatusCode::OK);
    assert_eq!(ask(&control, "/who", &[("ApiKey", "root")]).await.0, StatusCode::TOO_MANY_REQUESTS);
}
