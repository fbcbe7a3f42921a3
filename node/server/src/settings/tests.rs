//! Settings as people write them, and what they are told when they err.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use super::keys::KEYS;
use super::sections::{ConflictResolutionPolicy, LogFormat};
use super::{CommandLineOverrides, CommandLineValue, Loaded, Settings, SettingsProblems, Sources, load_from};

/// Loads settings from a directory's files, variables and `--set` values.
fn load(
    files: &[(&str, &str)],
    variables: &[(&str, &str)],
    values: &[(&str, &str)],
) -> Result<Loaded, SettingsProblems> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let overrides = CommandLineOverrides {
        values: values
            .iter()
            .map(|(key, value)| CommandLineValue {
                key: (*key).to_owned(),
                value: (*value).to_owned(),
                flag: "--set".to_owned(),
            })
            .collect(),
        ..CommandLineOverrides::default()
    };
    load_from(&Sources {
        directory: directory.path().to_owned(),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        overrides: &overrides,
    })
}

/// Checks that a file is refused, and that each text is in the report.
fn check_refused(text: &str, expected: &[&str]) -> SettingsProblems {
    let problems = load(&[("appsettings.json", text)], &[], &[]).unwrap_err();
    let shown = problems.to_string();
    for part in expected {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    problems
}

#[test]
fn the_file_that_is_shipped_holds_every_key_at_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../appsettings.json");
    let text = fs::read_to_string(path).unwrap();
    let loaded = load(&[("appsettings.json", &text)], &[], &[]).unwrap();
    assert_eq!(serde_json::to_value(&loaded.settings).unwrap(), serde_json::to_value(Settings::default()).unwrap(),);
    // Secrets serialise as placeholders, so they are compared by themselves.
    assert_eq!(loaded.settings.auth.root_api_key.expose(), super::DEFAULT_ROOT_API_KEY);
    assert_eq!(loaded.settings.node.replication_api_key.expose(), super::DEFAULT_REPLICATION_API_KEY);
    let written: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in KEYS.iter().filter(|key| !key.path.contains('#')) {
        let pointer = format!("/{}", key.path.replace(':', "/"));
        assert!(written.pointer(&pointer).is_some(), "{} is missing", key.path);
    }
}

#[test]
fn later_layers_win_and_every_value_knows_its_source() {
    let loaded = load(
        &[
            (
                "appsettings.json",
                r#"{"Node": {"NodeId": "a", "ReplicationBatchSize": 1, "PeerLeaseDays": 1, "SweepIntervalSeconds": 1}}"#,
            ),
            (
                "appsettings.Production.json",
                r#"{"node": {"replicationbatchsize": 2, "PeerLeaseDays": "2", "SweepIntervalSeconds": 2}}"#,
            ),
        ],
        &[
            ("HOLDFAST__NODE__PEERLEASEDAYS", "3"),
            ("HOLDFAST__Node__SweepIntervalSeconds", "3"),
        ],
        &[("Node:SweepIntervalSeconds", "4")],
    )
    .unwrap();
    let node = &loaded.settings.node;
    assert_eq!(node.node_id, "a");
    assert_eq!(node.replication_batch_size, 2);
    assert_eq!(node.peer_lease_days, 3);
    assert_eq!(node.sweep_interval_seconds, 4);
    let source = |key: &str| loaded.origins[key].clone();
    assert!(source("Node:NodeId").ends_with("appsettings.json"));
    assert!(source("Node:ReplicationBatchSize").ends_with("appsettings.Production.json"));
    assert_eq!(source("Node:PeerLeaseDays"), "environment HOLDFAST__NODE__PEERLEASEDAYS");
    assert_eq!(source("Node:SweepIntervalSeconds"), "command line --set");
    assert!(!loaded.origins.contains_key("Urls"));
    assert_eq!(loaded.files.iter().filter(|file| file.is_found).count(), 2);
}

#[test]
fn the_environment_chooses_the_second_file() {
    let files = [("appsettings.Shop.json", r#"{"Node:NodeId": "till"}"#)];
    let loaded = load(&files, &[("HOLDFAST_ENVIRONMENT", "Shop")], &[]).unwrap();
    assert_eq!(loaded.settings.node.node_id, "till");
    assert_eq!(load(&files, &[], &[]).unwrap().settings.node.node_id, "node-1");
    let shown = load(&files, &[("HOLDFAST_ENVIRONMENT", "../x")], &[]).unwrap_err().to_string();
    assert!(shown.contains("HOLDFAST_ENVIRONMENT = ../x"), "{shown}");
}

#[test]
fn lists_are_written_by_index_and_merged_by_index() {
    let loaded = load(
        &[(
            "appsettings.json",
            r#"{"Auth": {"ApiKeys": [
                {"Name": "till", "Key": "k-1", "Databases": ["shop"], "Roles": {"READ_DOCUMENT": true}},
                {"Name": "office", "Key": "k-2", "Databases": ["*"], "Roles": {"ADD_DB": true}}
            ]}}"#,
        )],
        &[
            ("HOLDFAST__Auth__ApiKeys__0__Roles__WRITE_DOCUMENT", "True"),
            ("HOLDFAST__Auth__ApiKeys__1__Key", "k-3"),
            ("HOLDFAST__Auth__ApiKeys__1__RateLimit__RequestsPerSecond", "5"),
            ("HOLDFAST__Node__SeedPeers__0__NodeId", "node-2"),
            ("HOLDFAST__Node__SeedPeers__0__BaseUrl", "http://10.0.0.2:1446"),
        ],
        &[],
    )
    .unwrap();
    let keys = &loaded.settings.auth.api_keys;
    assert_eq!(keys.len(), 2);
    assert!(keys[0].roles.read_document && keys[0].roles.write_document && !keys[0].roles.add_db);
    assert_eq!(keys[1].key.expose(), "k-3");
    assert_eq!(keys[1].rate_limit.requests_per_second, Some(5));
    let peer = &loaded.settings.node.seed_peers[0];
    assert!(peer.is_active && peer.databases.is_none());
}

#[test]
fn a_collection_has_one_policy_that_exists() {
    check_refused(
        r#"{"Node": {"CollectionConflictPolicies": [
            {"Collection": "stock", "Policy": "MergeFields"},
            {"Collection": "stock", "Policy": "KeepLocal"},
            {"Collection": "stock", "Database": "Sh op", "Policy": "Latest"},
            {"Colection": "x"}
        ]}}"#,
        &[
            "Node:CollectionConflictPolicies:1:Collection = stock",
            "keep one of them",
            "Node:CollectionConflictPolicies:2:Database",
            "Node:CollectionConflictPolicies:2:Policy = Latest",
            "one of LastWriterWins, MergeFields, ApplyIncoming, KeepLocal",
            "did you mean Node:CollectionConflictPolicies:3:Collection?",
        ],
    );
}

#[test]
fn every_problem_is_reported_at_once_with_source_and_advice() {
    let problems = check_refused(
        r#"{
            "Nod": {"NodeId": "x"},
            "Node": {"NodId": "x", "ReplicationBatchSize": 99999, "OperationLogPruningEnabled": "yes",
                     "ConflictResolutionPolicy": "Latest", "NodeId": "a b", "PeerLeaseDays": 1.5},
            "Auth": {"RootApiKye": "very-private", "ApiKeys": [{"Name": "a", "Key": " private "}, {"Key": ""}]},
            "Logging": {"Level": "debgu"},
            "Urls": "localhost:1446"
        }"#,
        &[
            "17 problems",
            "Nod:NodeId (",
            "did you mean Node:NodeId?",
            "Node:ReplicationBatchSize = 99999 (",
            "must be a whole number from 1 to 10000; write for example 1000",
            "Node:OperationLogPruningEnabled = yes",
            "must be true or false",
            "one of LastWriterWins, MergeFields, ApplyIncoming, KeepLocal",
            "Node:NodeId = a b",
            "Node:PeerLeaseDays = 1.5",
            "did you mean Auth:RootApiKey?",
            "Auth:ApiKeys:0:Key",
            "blanks around it",
            "Auth:ApiKeys:1:Name",
            "Auth:ApiKeys:1:Key",
            "HOLDFAST__Auth__ApiKeys__1__Key",
            "did you mean debug?",
            "http://",
            "appsettings.json",
        ],
    );
    assert!(!problems.to_string().contains("private"), "{problems}");
}

#[test]
fn contradictions_are_found() {
    check_refused(r#"{"Urls": "https://localhost:1446"}"#, &["Tls:CertificateFile", "Tls:PrivateKeyFile", "is needed"]);
    check_refused(
        r#"{"Tls": {"CertificateFile": "a.pem"}}"#,
        &["has no use", "Tls:PrivateKeyFile (default): is needed"],
    );
    check_refused(r#"{"Urls": "http://localhost:1;http://localhost:1"}"#, &["port 1 of one address twice"]);
    check_refused(r#"{"Urls": ";"}"#, &["names no address"]);
    check_refused(r#"{"RateLimit": {"Burst": 10}}"#, &["RateLimit:Burst = 10", "at least 1000"]);
    check_refused(
        r#"{"Limits": {"RequestBytesMax": 1024}}"#,
        &["Limits:DocumentBytesMax = 8388608 (default)", "Limits:RequestBytesMax (1024)"],
    );
    check_refused(
        r#"{"Node": {"SeedPeers": [
            {"NodeId": "b", "BaseUrl": "http://b:1"}, {"NodeId": "b", "BaseUrl": "b:1", "Databases": ["a b"]}, {"BaseUrl": ""}]}}"#,
        &[
            "4 problems",
            "already the name of Node:SeedPeers:0",
            "Node:SeedPeers:1:BaseUrl = b:1",
            "Node:SeedPeers:1:Databases:0 = a b",
            "Node:SeedPeers:2:NodeId",
        ]
        .map(|text| if text == "4 problems" { "5 problems" } else { text }),
    );
    check_refused(
        r#"{"Auth": {"ApiKeys": [{"Name": "a", "Key": "root"}, {"Name": "a", "Key": "k"}, {"Name": "c", "Key": "k"}]}}"#,
        &["is the same as Auth:RootApiKey", "is already the name of", "is the same as Auth:ApiKeys:1:Key"],
    );
    check_refused(
        r#"{"Studio": {"CorsOrigins": ["studio.example.org", "https://ok.example", "https://x.example/"]}}"#,
        &["2 problems", "Studio:CorsOrigins:0", "Studio:CorsOrigins:2"],
    );
    check_refused(r#"{"Node": {"NodeId": "a", "nodeid": "b"}}"#, &["is given twice"]);
    check_refused(r#"{"Logging": {"Level": "Information"}}"#, &["did you mean info?"]);
    check_refused("{", &["1 problem with", "not valid JSON"]);
}

#[test]
fn a_gap_in_a_list_is_named() {
    let problems = load(&[], &[("HOLDFAST__Studio__CorsOrigins__1", "http://a.example")], &[]).unwrap_err();
    assert!(problems.to_string().contains("Studio:CorsOrigins:0"), "{problems}");
    assert!(problems.to_string().contains("without gaps"), "{problems}");
}

#[test]
fn default_keys_are_for_this_machine_only() {
    let exposed = r#"{"Urls": "http://0.0.0.0:1446"}"#;
    check_refused(
        exposed,
        &[
            "2 problems",
            "Auth:RootApiKey (default)",
            "Node:ReplicationApiKey (default)",
            "HOLDFAST__Auth__RootApiKey",
            "HOLDFAST__Node__ReplicationApiKey",
            "holdfast keys new",
        ],
    );
    let own = [("Auth:RootApiKey", "own-1"), ("Node:ReplicationApiKey", "own-2")];
    assert!(load(&[("appsettings.json", exposed)], &[], &own).is_ok());
    let told = [("Auth:AllowInsecureDefaults", "true")];
    assert!(load(&[("appsettings.json", exposed)], &[], &told).is_ok());
}

#[test]
fn words_are_taken_in_any_case() {
    let values = [
        ("node:conflictresolutionpolicy", "keeplocal"),
        ("Logging:Format", "JSON"),
        ("Logging:Level", "info,holdfast=debug"),
        ("Tls:CertificateFile", "a.pem"),
        ("Tls:PrivateKeyFile", "a.pem"),
        ("Urls", "HTTPS://LOCALHOST:1"),
    ];
    let settings = load(&[], &[], &values).unwrap().settings;
    assert_eq!(settings.node.conflict_resolution_policy, ConflictResolutionPolicy::KeepLocal);
    assert_eq!(settings.logging.format, LogFormat::Json);
}

#[test]
fn a_named_settings_file_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut overrides = CommandLineOverrides {
        settings_path: Some(directory.path().join("shop.json")),
        ..CommandLineOverrides::default()
    };
    let load = |overrides: &CommandLineOverrides| {
        load_from(&Sources { directory: "/nowhere".into(), variables: Vec::new(), overrides })
    };
    assert!(load(&overrides).unwrap_err().to_string().contains("there is no file"));
    fs::write(directory.path().join("shop.json"), r#"{"Node": {"NodeId": "a"}}"#).unwrap();
    fs::write(directory.path().join("shop.Production.json"), r#"{"Node": {"PeerLeaseDays": 5}}"#).unwrap();
    let loaded = load(&overrides).unwrap();
    assert_eq!(loaded.settings.node.node_id, "a");
    assert_eq!(loaded.settings.node.peer_lease_days, 5);
    overrides.settings_path = Some(directory.path().to_owned());
    assert!(load(&overrides).unwrap_err().to_string().contains("appsettings.json"));
}

#[test]
fn a_key_that_the_node_would_not_start_with_is_found_with_all_others() {
    let keys = r#"{"Auth": {"ApiKeys": [
        {"Name": "a", "Key": "a-long-enough-key-for-a", "Databases": ["*"], "Roles": {}},
        {"Name": "b", "Key": "sha256:zz", "Databases": ["*"], "Roles": {"READ_DOCUMENT": true}},
        {"Name": "c", "Key": "a-long-enough-key-for-c", "Roles": {"READ_DOCUMENT": true}}
    ]}, "Node": {"ReplicationApiKey": "sha256:zz"}}"#;
    check_refused(
        keys,
        &[
            "Auth:ApiKeys:0:Roles (default): grants nothing",
            "Auth:ApiKeys:1:Key (",
            "Auth:ApiKeys:2:Databases (default): is missing",
            "Node:ReplicationApiKey (",
        ],
    );
}

#[test]
fn an_unknown_section_is_found_although_it_is_empty() {
    check_refused(r#"{"Auht": {}}"#, &["Auht (", "did you mean Auth?"]);
    check_refused(r#"{"Zebra": []}"#, &["Zebra (", "is unknown; remove it"]);
    let known =
        r#"{"Auth": {"ApiKeys": []}, "Node": {"SeedPeers": []}, "Tls": {"CertificateFile": null}, "Logging": {}}"#;
    load(&[("appsettings.json", known)], &[], &[]).unwrap();
}

#[test]
fn a_key_that_stands_twice_in_a_file_is_found() {
    check_refused(r#"{"Node": {"NodeId": "a", "NodeId": "b"}}"#, &["Node:NodeId", "is given twice"]);
    check_refused(r#"{"Node": {"NodeId": "a"}, "Node": {"nodeid": "b"}}"#, &["Node:NodeId", "is given twice"]);
}

#[test]
fn a_leader_and_a_follower_are_told_what_they_lack() {
    check_refused(r#"{"Replication": {"Role": "boss"}}"#, &["Replication:Role = boss", "none, leader, follower"]);
    check_refused(r#"{"replication": {"role": "follower"}}"#, &["Replication:LeaderHost (default): is needed"]);
    check_refused(r#"{"Replication": {"LeaderHost": "a"}}"#, &["LeaderHost = a", "Replication:Role is none"]);
    check_refused(
        r#"{"replication": {"role": "follower", "leaderHost": "http://leader:5500"}}"#,
        &["Replication:LeaderHost = http://leader:5500", "Replication:LeaderPort"],
    );
    check_refused(
        r#"{"Replication": {"Role": "leader", "Port": 1446, "BindAddress": "0.0.0.0"}}"#,
        &["2 problems", "Replication:Port = 1446", "Replication:Secret (default): is missing", "other machines"],
    );
    check_refused(r#"{"Replication": {"BindAddress": "leader.internal"}}"#, &["BindAddress = leader.internal"]);
    check_refused(
        r#"{"Replication": {"Role": "follower", "LeaderHost": "localhost", "LeaderPort": 1446}}"#,
        &["Replication:LeaderPort = 1446", "this node's own Urls"],
    );
    check_refused(
        r#"{"Replication": {"Role": "follower", "LeaderHost": "127.0.0.1", "Port": 5500}}"#,
        &["Replication:LeaderPort = 5500 (default)", "follow itself"],
    );
    check_refused(
        r#"{"Replication": {"Role": "leader", "Tls": {"Enabled": true}, "Webhook": "ops:1?key=private"}}"#,
        &["3 problems", "Replication:Tls:CertificatePath", "Replication:Tls:KeyPath", "Replication:Webhook"],
    );
    check_refused(r#"{"Replication": {"Tls": {"CaPath": "ca.pem"}}}"#, &["Replication:Tls:Enabled", "write true"]);
    check_refused(
        r#"{"Replication": {"Role": "follower", "LeaderHost": "a", "AutoFailover": {"SilenceSeconds": 9, "NewLeaderPort": 1446}}}"#,
        &["Replication:AutoFailover:NewLeaderPort = 1446", "Urls too"],
    );
}

#[test]
fn a_follower_beside_its_leader_needs_no_port_of_its_own() {
    let file = r#"{"replication": {"role": "follower", "leaderHost": "localhost", "leaderPort": 5500,
        "minSyncReplicas": 1, "autoFailover": {"silenceSeconds": 10}}}"#;
    let replication = load(&[("appsettings.json", file)], &[], &[]).unwrap().settings.replication;
    assert_eq!(replication.role, super::sections::ReplicationRole::Follower);
    assert!(replication.is_auto_failover());
    assert_eq!((replication.leader_port, replication.port_after_failover()), (5_500, 5_500));
    assert!(replication.secret.is_blank() && !replication.tls.enabled && replication.min_sync_replicas == 1);
}

/// Loads settings with a `node.json` beside them, and flags.
fn load_node(node: &str, variables: &[(&str, &str)], port: Option<&str>) -> Result<Loaded, SettingsProblems> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.json");
    fs::write(&path, node).unwrap();
    fs::write(directory.path().join("appsettings.json"), r#"{"Node": {"NodeId": "a"}, "Replication": {"Port": 5600}}"#)
        .unwrap();
    let overrides = CommandLineOverrides {
        config_path: Some(path),
        port: port.map(str::to_owned),
        ..CommandLineOverrides::default()
    };
    load_from(&Sources {
        directory: directory.path().to_owned(),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        overrides: &overrides,
    })
}

#[test]
fn a_node_file_says_in_short_what_a_node_is() {
    let file = r#"{
        "nodeName": "replica-1", "port": 5010, "dataDir": "/var/lib/dfdb/replica",
        "security": {"replicationSecret": "repl_shared_xyz"},
        "replication": {"role": "follower", "leaderHost": "leader.internal", "leaderPort": 5500,
                        "minSyncReplicas": 2, "syncTimeoutSeconds": 9,
                        "autoFailover": {"silenceSeconds": 10, "newLeaderPort": 5501}},
        "network": {"publicBaseUrl": "http://replica-1:5010"}
    }"#;
    let loaded = load_node(file, &[], None).unwrap();
    let (settings, replication) = (&loaded.settings, &loaded.settings.replication);
    assert_eq!((settings.node.node_id.as_str(), settings.urls.as_str()), ("replica-1", "http://localhost:5010"));
    assert_eq!(settings.node.data_directory, Path::new("/var/lib/dfdb/replica"));
    assert_eq!((replication.leader_host.as_str(), replication.leader_port), ("leader.internal", 5_500));
    assert_eq!((replication.min_sync_replicas, replication.sync_timeout_seconds), (2, 9));
    assert_eq!((replication.auto_failover.silence_seconds, replication.port_after_failover()), (10, 5_501));
    assert_eq!((replication.secret.expose(), replication.port), ("repl_shared_xyz", 5_600));
    assert_eq!(replication.public_base_url, "http://replica-1:5010");
    assert!(loaded.origins["Replication:LeaderHost"].ends_with("node.json"));
    assert!(loaded.files.iter().any(|file| file.is_found && file.path.ends_with("node.json")));
    // The environment stands over it, and what is said on the command line over both.
    let loaded = load_node(file, &[("HOLDFAST_NODE_NAME", "b"), ("HOLDFAST_PORT", "6000")], Some("7000")).unwrap();
    assert_eq!((loaded.settings.node.node_id.as_str(), loaded.settings.urls.as_str()), ("b", "http://localhost:7000"));
    assert_eq!(loaded.origins["Urls"], "command line --port");
}

#[test]
fn a_node_file_that_opens_every_interface_opens_the_port_for_followers_too() {
    let file = r#"{"NODENAME": "hq", "bindAllInterfaces": true, "port": 5000,
        "security": {"apiKey": "env:ROOT", "replicationSecret": "env:SHARED"}, "replication": {"role": "leader", "port": 5500}}"#;
    let variables = [("ROOT", "own-root"), ("SHARED", "own-shared"), ("HOLDFAST__Node__ReplicationApiKey", "own")];
    let settings = load_node(file, &variables, None).unwrap().settings;
    assert_eq!((settings.urls.as_str(), settings.replication.bind_address.as_str()), ("http://*:5000", "*"));
    assert_eq!((settings.auth.root_api_key.expose(), settings.replication.secret.expose()), ("own-root", "own-shared"));
    let shown = load_node(file, &[("ROOT", "own-root")], None).unwrap_err().to_string();
    for part in ["security.replicationSecret (", "environment variable SHARED", "Replication:Secret", "default that"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn a_node_file_is_told_what_is_unknown_in_it() {
    let shown = load_node(
        r#"{"nodName": "a", "zebra": 1, "replication": {"leaderHots": "b"}, "security": {"apikee": "hush",
            "tls": {"certPath": "a.pfx"}, "scopedKeys": [{"key": "hush", "scopes": ["*"]}]}, "network": {}, "port": "x"}"#,
        &[],
        None,
    )
    .unwrap_err()
    .to_string();
    for part in [
        "nodName (",
        "did you mean nodeName?",
        "zebra (",
        "remove it",
        "did you mean Replication:LeaderHost?",
        "did you mean security.apiKey?",
        "security.tls.certPath (",
        "PEM files",
        "Auth:ApiKeys",
        "Urls = x (",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("hush"), "{shown}");
    let overrides = CommandLineOverrides { config_path: Some("/nowhere/node.json".into()), ..Default::default() };
    let sources = Sources { directory: "/nowhere".into(), variables: Vec::new(), overrides: &overrides };
    assert!(
        load_from(&sources).unwrap_err().to_string().contains("command line --config /nowhere/node.json: there is no")
    );
}

#[test]
fn short_variables_set_what_their_long_names_do_and_give_way_to_them() {
    let variables = [
        ("DFDB_NODE_NAME", "old"),
        ("DFDB_REPLICATION_ROLE", "FOLLOWER"),
        ("DFDB_LEADER_HOST", "old.internal"),
        ("DFDB_LEADER_PORT", "5501"),
        ("DFDB_AUTO_FAILOVER_SECONDS", "7"),
        ("HOLDFAST_LEADER_HOST", "leader.internal"),
        ("HOLDFAST_REPLICATION_PORT", "5502"),
        ("HOLDFAST_AUTO_FAILOVER_NEW_PORT", "5503"),
        ("HOLDFAST_REPLICATION_SECRET", "very-private"),
        ("HOLDFAST_DATA_DIR", "/data"),
        ("HOLDFAST_PORT", "5010"),
        ("HOLDFAST_MIN_SYNC_REPLICAS", ""),
        ("HOLDFAST_PUBLIC_BASE_URL", "http://a:1"),
        ("HOLDFAST__Replication__Port", "5504"),
    ];
    let loaded = load(
        &[("appsettings.json", r#"{"Urls": "http://0.0.0.0:1446"}"#)],
        &variables,
        &[("Auth:RootApiKey", "own-1"), ("Node:ReplicationApiKey", "own-2")],
    )
    .unwrap();
    let (settings, replication) = (&loaded.settings, &loaded.settings.replication);
    assert_eq!((settings.node.node_id.as_str(), settings.urls.as_str()), ("old", "http://0.0.0.0:5010"));
    assert_eq!((replication.leader_host.as_str(), replication.leader_port), ("leader.internal", 5_501));
    assert_eq!((replication.port, replication.port_after_failover()), (5_504, 5_503));
    assert_eq!((replication.auto_failover.silence_seconds, replication.min_sync_replicas), (7, 0));
    assert_eq!((replication.secret.expose(), settings.node.data_directory.to_str()), ("very-private", Some("/data")));
    assert_eq!(loaded.origins["Replication:LeaderHost"], "environment HOLDFAST_LEADER_HOST");
    assert_eq!(loaded.origins["Replication:LeaderPort"], "environment DFDB_LEADER_PORT");

    let refused =
        |files: &[(&str, &str)], variables: &[(&str, &str)]| load(files, variables, &[]).unwrap_err().to_string();
    let shown = refused(&[], &[("DFDB_PORT", "70000"), ("HOLDFAST_REPLICATION_ROLE", "boss")]);
    assert!(shown.contains("Urls = 70000 (environment DFDB_PORT): must be a number"), "{shown}");
    assert!(shown.contains("Replication:Role = boss (environment HOLDFAST_REPLICATION_ROLE)"), "{shown}");
    let two = [("appsettings.json", r#"{"Urls": "http://localhost:1;http://localhost:2"}"#)];
    assert!(refused(&two, &[("HOLDFAST_PORT", "3")]).contains("Urls names several"));
}

#[test]
fn a_followers_own_port_must_not_be_the_one_of_http_for_it_listens_there_too() {
    let follower = |more: &str| format!(r#"{{"Replication": {{"Role": "follower", "LeaderHost": "a"{more}}}}}"#);
    check_refused(&follower(r#", "Port": 1446"#), &["Replication:Port = 1446", "Urls too"]);
    let failover = r#", "LeaderPort": 1446, "AutoFailover": {"SilenceSeconds": 9}"#;
    check_refused(&follower(failover), &["Replication:AutoFailover:NewLeaderPort = 1446", "Urls too"]);
    // Where it leads on the leader's port, it opens no other.
    let file = follower(r#", "Port": 1446, "AutoFailover": {"SilenceSeconds": 9}"#);
    assert!(load(&[("appsettings.json", &file)], &[], &[]).is_ok());
}

#[test]
fn names_of_other_makes_set_what_does_the_same_here_and_the_others_are_refused_with_what_does() {
    let loaded = load_node("{}", &[("DFDB_API_KEY", "old"), ("HOLDFAST_API_KEY", "own")], None).unwrap();
    assert_eq!(loaded.settings.auth.root_api_key.expose(), "own");
    assert_eq!(loaded.origins["Auth:RootApiKey"], "environment HOLDFAST_API_KEY");
    let refused = load_node("{}", &[("DFDB_INSECURE_DEV_MODE", "true")], None).unwrap_err().to_string();
    assert!(refused.contains("DFDB_INSECURE_DEV_MODE") && refused.contains("holdfast keys new"), "{refused}");
    assert!(load_node("{}", &[("DFDB_INSECURE_DEV_MODE", "false")], None).is_ok());
    // What is left out or switched off asks for nothing.
    assert!(
        load_node(r#"{"insecureDevMode": false, "security": {"tls": null, "scopedKeys": null}}"#, &[], None).is_ok()
    );
    let refused = load_node(r#"{"insecureDevMode": true}"#, &[], None).unwrap_err().to_string();
    assert!(refused.contains("insecureDevMode") && refused.contains("holdfast keys new"), "{refused}");
}

#[test]
fn opening_every_interface_on_the_command_line_opens_the_port_for_followers_too() {
    let all = |variables: &[(&str, &str)]| {
        let overrides = CommandLineOverrides { binds_all: true, ..CommandLineOverrides::default() };
        let own = [("HOLDFAST_API_KEY", "own-root"), ("HOLDFAST__Node__ReplicationApiKey", "own-nodes")];
        let variables = own.iter().chain(variables);
        load_from(&Sources {
            directory: "/nowhere".into(),
            variables: variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            overrides: &overrides,
        })
        .map(|loaded| (loaded.settings.urls, loaded.settings.replication.bind_address))
    };
    assert_eq!(all(&[]).unwrap(), ("http://*:1446".to_owned(), "*".to_owned()));
    let (urls, address) = all(&[("HOLDFAST__Replication__BindAddress", "10.0.0.7"), ("HOLDFAST_PORT", "99")]).unwrap();
    assert_eq!((urls.as_str(), address.as_str()), ("http://*:99", "10.0.0.7"));
    // With a role, whoever connects must know a secret.
    assert!(all(&[("HOLDFAST_REPLICATION_ROLE", "leader")]).unwrap_err().to_string().contains("Replication:Secret"));
}
