//! Studio's files: open to everybody, and strict about what a browser may do with them.
//!
//! These tests hold with Studio and without it: where it could not be built, a plain page takes its place.

use crate::node::{Answer, Node};

async fn open(node: &Node, path: &str) -> Answer {
    node.ask("GET", path).without_key().without_database().send().await
}

/// The paths of this node that a page loads.
fn loaded(page: &str) -> Vec<&str> {
    page.split('"').filter(|text| text.starts_with("/studio/")).collect()
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_need_no_key() {
    let node = Node::start().await;
    let page = open(&node, "/").await;
    assert_eq!(page.status.as_u16(), 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-cache");
    assert_eq!(open(&node, "/studio/").await.text, page.text);
    for path in loaded(&page.text) {
        let file = open(&node, path).await;
        assert_eq!(file.status.as_u16(), 200, "{path}");
        let ending = path.rsplit('.').next().unwrap();
        let kind = ["text/javascript; charset=utf-8", "text/css; charset=utf-8", "image/svg+xml"]
            [["js", "css", "svg"].iter().position(|known| *known == ending).unwrap()];
        assert_eq!(file.header("content-type"), kind);
        assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable");
        assert!(!file.text.contains("https://"), "{path} names another machine");
    }
}

#[tokio::test]
async fn browsers_may_load_only_what_the_node_serves_and_guess_no_types() {
    let node = Node::start().await;
    let page = open(&node, "/").await;
    for path in [&["/"][..], &loaded(&page.text)].concat() {
        let file = open(&node, path).await;
        let policy = file.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
    }
    assert!(!page.text.contains("<style") && !page.text.contains("<script>"), "{}", page.text);
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let node = Node::start().await;
    let page = open(&node, "/").await;
    let tag = page.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 10, "{tag}");
    for asked in [tag.clone(), format!("\"x\", W/{tag}")] {
        let again = node.ask("GET", "/").without_key().header("If-None-Match", &asked).send().await;
        assert_eq!(again.status.as_u16(), 304, "{asked}");
        assert_eq!(again.text, "");
        assert_eq!(again.header("etag"), tag);
    }
    let other = node.ask("GET", "/").without_key().header("If-None-Match", "\"x\"").send().await;
    assert_eq!(other.status.as_u16(), 200);
}

#[tokio::test]
async fn other_paths_and_methods_are_told_apart_from_files() {
    let node = Node::start().await;
    for path in ["/studio/nothing.js", "/studio/../Cargo.toml", "/studio/%2e%2e%2findex.html", "/studio/assets/"] {
        open(&node, path).await.problem(404, "unknown-route");
    }
    node.post("/", "{}").await.problem(405, "method-not-allowed");
    let head = node.ask("HEAD", "/").without_key().send().await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
}
