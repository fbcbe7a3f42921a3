//! Each statement takes the role that the other routes take for the same.

use holdfast::settings::sections::RoleSettings;

use super::fill;
use crate::node::{NO_ROLES, Node, key};

#[tokio::test]
async fn a_statement_takes_its_role_and_no_other_will_do() {
    let roles = [
        ("reader", RoleSettings { read_document: true, ..NO_ROLES }),
        ("writer", RoleSettings { write_document: true, ..NO_ROLES }),
        ("updater", RoleSettings { update_document: true, ..NO_ROLES }),
        ("deleter", RoleSettings { delete_document: true, ..NO_ROLES }),
        ("indexer", RoleSettings { manage_index: true, ..NO_ROLES }),
    ];
    let keys = roles.map(|(name, roles)| key(name, &["shop"], roles)).to_vec();
    let node = Node::start_with(keys, |_| {}).await;
    fill(&node, 3).await;
    let mut number = 0;
    for (text, who) in [
        ("SELECT * FROM things", "reader"),
        ("SELECT 1", "reader"),
        ("SELECT * FROM _conflicts", "reader"),
        ("SELECT * FROM _operations", "reader"),
        ("SELECT * FROM _collections", "reader"),
        ("SELECT * FROM _indexes", "reader"),
        ("EXPLAIN SELECT * FROM things", "reader"),
        ("EXPLAIN ANALYZE DELETE FROM things", "reader"),
        ("EXPLAIN CREATE INDEX i ON things (n)", "reader"),
        ("INSERT INTO things VALUES {Id: NEWID()}", "writer"),
        ("UPDATE things SET seen = true", "updater"),
        ("UPDATE things SET n = n + 1 WHERE Id = 't000001'", "updater"),
        ("DELETE FROM things WHERE Id = 't000002'", "deleter"),
        ("CREATE INDEX by_n ON things (n)", "indexer"),
        ("DROP INDEX by_n", "indexer"),
    ] {
        for (name, _) in roles.iter().filter(|(name, _)| *name != who).chain(roles.iter().filter(|it| it.0 == who)) {
            number += 1;
            let question = node.ask("POST", "/api/query").key(&format!("{name}-key-of-the-tests"));
            let answer = question.body(serde_json::json!({ "query": text }).to_string()).send().await;
            if *name == who {
                answer.expect(200);
            } else {
                answer.problem(403, "role-missing");
            }
        }
    }
    assert_eq!(number, 75);
}

#[tokio::test]
async fn whoever_may_not_read_learns_nothing_by_what_a_condition_matches() {
    let keys = vec![
        key("blind", &["shop"], RoleSettings { update_document: true, delete_document: true, ..NO_ROLES }),
        key(
            "seeing",
            &["shop"],
            RoleSettings { read_document: true, update_document: true, delete_document: true, ..NO_ROLES },
        ),
    ];
    let node = Node::start_with(keys, |_| {}).await;
    fill(&node, 10).await;
    for text in [
        "UPDATE things SET seen = true WHERE n > 5",
        "UPDATE things SET seen = n",
        "UPDATE things SET {copy: kind}",
        "DELETE FROM things WHERE kind LIKE 'k%'",
    ] {
        let body = serde_json::json!({ "query": text }).to_string();
        let blind = node.ask("POST", "/api/query").key("blind-key-of-the-tests").body(body.clone()).send().await;
        assert!(blind.problem(403, "role-missing")["detail"].as_str().unwrap().contains("READ_DOCUMENT"));
        node.ask("POST", "/api/query").key("seeing-key-of-the-tests").body(body).send().await.expect(200);
    }
}

#[tokio::test]
async fn without_a_key_or_beyond_its_databases_nothing_is_told() {
    let node =
        Node::start_with(vec![key("reader", &["other"], RoleSettings { read_document: true, ..NO_ROLES })], |_| {})
            .await;
    fill(&node, 1).await;
    let body = r#"{"query":"SELECT * FROM things"}"#;
    let ask = || node.ask("POST", "/api/query").body(body);
    ask().without_key().send().await.problem(401, "key-required");
    ask().key("nobody").send().await.problem(401, "unknown-key");
    ask().key("reader-key-of-the-tests").send().await.problem(403, "database-not-allowed");
    ask().without_database().send().await.problem(400, "database-required");
    // A mistake in the statement tells less than the missing right.
    let wrong = node.ask("POST", "/api/query").without_key().body(r#"{"query":"SELEC"}"#);
    wrong.send().await.problem(401, "key-required");
}
