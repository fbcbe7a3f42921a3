//! What is typed in, one text after the other: statements for the node, and commands about how it is asked.
//!
//! ```text
//!   text ─► \command ─► how to ask from now on
//!        └► statements ─► carry ─► rows, a line below them, and whether there are more
//!              └ interrupted: the connection closes, and the node stops
//! ```
//!
//! **What stays true.** Nothing that is typed ends the session but `\quit`. A statement that writes touches all that it
//! matches: the bound on rows is for those that are looked at.
//!
//! **What it does not do.** It knows no keyboard: see [`super::prompt`].

use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;

use holdfast_core::id::DatabaseName;
use holdfast_query::language::script::statements;
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::answer::Ask;
use super::carry::{Ended, Kind, carry};
use super::cell::screened;
use super::command::{Command, command, functions, help};
use super::sheet::{Shown, Target};
use crate::transfer::place::{NodeClient, PlaceError};

/// Rows that are shown at a time.
pub(super) const ROWS_AT_A_TIME: u64 = 1_000;
const COLLECTIONS: &str = "SELECT Collection, Count AS Documents FROM _collections ORDER BY Collection";
const INDEXES: &str =
    "SELECT Name, Collection, Paths, IsUnique, IsCaseInsensitive, State, Entries FROM _indexes ORDER BY Name";

/// Ends when whoever types has had enough of a statement.
pub(super) type Interrupt = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>>>;

/// Whether there is more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The next text.
    On,
    /// Nothing.
    Leave,
}

/// How a node is asked, as it was said so far.
pub(super) struct Session {
    handle: Handle,
    interrupt: Interrupt,
    client: NodeClient,
    shown: Shown,
    take: Option<u64>,
    parameters: Map<String, Value>,
    /// The statement whose rows go on.
    more: Option<Ask>,
}

impl Session {
    /// Begins with what the command line said.
    pub(super) fn new(handle: Handle, client: NodeClient, shown: Shown, interrupt: Interrupt) -> Self {
        let (take, parameters) = (Some(ROWS_AT_A_TIME), Map::new());
        Self { handle, interrupt, client, shown, take, parameters, more: None }
    }

    /// Gives parameters their values, and bounds the rows.
    pub(super) fn with(mut self, parameters: &[(String, Value)], take: Option<u64>) -> Self {
        self.parameters.extend(parameters.iter().cloned());
        self.take = take.or(self.take);
        self
    }

    /// The node, asked about the database that was said last.
    pub(super) fn client(&self) -> &NodeClient {
        &self.client
    }

    /// Does what a text says. What is to be read goes to `out`, a terminal with so many columns.
    pub(super) fn enter(&mut self, text: &str, room: Option<usize>, out: &mut dyn Write) -> io::Result<Next> {
        let mut rest = text;
        // What is pasted may hold several lines with a command each before a statement begins.
        while let Some((line, behind)) = rest.trim_start().split_once('\n').filter(|(line, _)| line.starts_with('\\')) {
            if self.enter(line, room, out)? == Next::Leave {
                return Ok(Next::Leave);
            }
            rest = behind;
        }
        let text = rest;
        match command(text) {
            None => {
                for piece in statements(text) {
                    let asked = self.asked(piece.text);
                    if !self.ask(asked, room, out)? {
                        break;
                    }
                }
            }
            Some(Err(refused)) => writeln!(out, "{}", screened(&refused))?,
            Some(Ok(Command::Quit)) => return Ok(Next::Leave),
            Some(Ok(command)) => self.obey(command, room, out)?,
        }
        out.flush()?;
        Ok(Next::On)
    }

    fn asked(&self, statement: &str) -> Ask {
        let take = self.take.filter(|_| Kind::of(statement) == Kind::Rows);
        Ask { statement: statement.to_owned(), parameters: self.parameters.clone(), take, cursor: None }
    }

    fn obey(&mut self, command: Command, room: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
        match command {
            Command::Help | Command::Quit => write!(out, "{}", help()),
            Command::Functions(word) => write!(out, "{}", functions(&word)),
            Command::Collections => self.ask(self.asked(COLLECTIONS), room, out).map(drop),
            Command::Indexes => self.ask(self.asked(INDEXES), room, out).map(drop),
            Command::Use(name) => match DatabaseName::parse(&name) {
                Ok(name) => {
                    self.client = self.client.with_database(name.as_str());
                    self.more = None;
                    Ok(())
                }
                Err(refusal) => writeln!(out, "{}", screened(&refusal.to_string())),
            },
            Command::Format(shown) => {
                self.shown = shown;
                Ok(())
            }
            Command::Take(take) => {
                self.take = take;
                Ok(())
            }
            Command::Set(name, value) => {
                self.parameters.insert(name, value);
                Ok(())
            }
            Command::More => match self.more.take() {
                Some(asked) => self.ask(Ask { take: self.take, ..asked }, room, out).map(drop),
                None => writeln!(out, "no rows follow"),
            },
        }
    }

    /// Asks, and shows what comes. False where it failed or was stopped.
    fn ask(&mut self, asked: Ask, room: Option<usize>, out: &mut dyn Write) -> io::Result<bool> {
        self.more = None;
        let Some(ended) = self.carried(&asked, room, out) else {
            writeln!(out, "\nstopped")?;
            return Ok(false);
        };
        let told = match ended {
            Ok(Ended::Done(told)) => told,
            Ok(Ended::NobodyReads) => return Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => {
                writeln!(out, "{}", screened(error.0.trim_end()))?;
                return Ok(false);
            }
        };
        writeln!(out, "{}", told.footer())?;
        for line in told.warnings("\\take", "\\more shows them, \\take all lets all through") {
            writeln!(out, "{line}")?;
        }
        self.more = told.summary.next_cursor.map(|cursor| Ask { cursor: Some(cursor), ..asked });
        Ok(true)
    }

    /// None where it was interrupted: what is dropped here closes the connection, and so the node stops.
    fn carried(&self, asked: &Ask, room: Option<usize>, out: &mut dyn Write) -> Option<Result<Ended, PlaceError>> {
        let target = Target { out, is_terminal: true, room };
        self.handle.block_on(async {
            tokio::select! {
                biased;
                () = (self.interrupt)() => None,
                ended = carry(&self.client, asked, self.shown, target) => Some(ended),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::http::HeaderMap;
    use axum::routing::post;
    use futures_util::stream;
    use serde_json::{Value, json};
    use tokio::runtime::Runtime;
    use tokio::sync::{mpsc, watch};

    use super::{Interrupt, Next, Session};
    use crate::cli::query::sheet::Shown;
    use crate::settings::secret::Secret;
    use crate::transfer::place::NodeClient;

    fn never() -> Interrupt {
        Box::new(|| Box::pin(std::future::pending()))
    }

    /// Tells when it is dropped.
    struct Rows(mpsc::UnboundedSender<()>);

    impl Drop for Rows {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    /// A session with a node of which only the route for queries is there.
    fn session(runtime: &Runtime, route: axum::routing::MethodRouter, interrupt: Interrupt) -> Session {
        // The program does this when it starts; whichever test comes first does it here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, Router::new().route("/api/query", route)).await });
        let client = NodeClient::new(&url, Secret::new("k"), Some("shop")).unwrap();
        Session::new(runtime.handle().clone(), client, Shown::Table, interrupt)
    }

    fn enter(session: &mut Session, text: &str) -> String {
        let mut out = Vec::new();
        assert_eq!(session.enter(text, Some(80), &mut out).unwrap(), Next::On, "{text}");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_typed_becomes_what_is_asked() {
        let runtime = Runtime::new().unwrap();
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let noted = Arc::clone(&asked);
        let route = post(move |headers: HeaderMap, body: String| async move {
            let mut body: Value = serde_json::from_str(&body).unwrap();
            body["database"] = json!(headers["Database"].to_str().unwrap());
            let cursor = if body.get("cursor").is_some() { json!(null) } else { json!("c1") };
            noted.lock().unwrap().push(body);
            format!("{}\n{}\n", json!({"a": 1}), json!({"$summary": {"ReturnedRows": 1, "NextCursor": cursor}}))
        });
        let mut session = session(&runtime, route, never());

        let shown = enter(&mut session, "SELECT a FROM c;");
        assert_eq!(
            shown,
            "a\n─\n1\n1 row\nthere are more rows than \\take asks for; \\more shows them, \\take all lets all through\n"
        );
        assert_eq!(enter(&mut session, "\\more"), "a\n─\n1\n1 row\n");
        assert_eq!(enter(&mut session, "\\more"), "no rows follow\n");
        assert_eq!(enter(&mut session, "\\take 5\n\n\\set store=17\n"), "");
        enter(&mut session, "SELECT a FROM c WHERE s = @store;\nDELETE FROM c;");
        enter(&mut session, "\\use other");
        assert!(enter(&mut session, "\\format ndjson").is_empty());
        assert!(enter(&mut session, "SELECT a FROM c;").starts_with("{\"a\":1}\n"));
        assert!(enter(&mut session, "\\use No Such").contains("name"));
        assert!(enter(&mut session, "\\help").contains("\\collections"));
        assert_eq!(enter(&mut session, "  "), "");

        let first = json!({"query": "SELECT a FROM c", "take": 1000, "database": "shop"});
        let more = json!({"query": "SELECT a FROM c", "take": 1000, "cursor": "c1", "database": "shop"});
        let with = json!({"store": 17});
        let third =
            json!({"query": "SELECT a FROM c WHERE s = @store", "take": 5, "parameters": with, "database": "shop"});
        // All that match, not the first five.
        let write = json!({"query": "DELETE FROM c", "parameters": with, "database": "shop"});
        let last = json!({"query": "SELECT a FROM c", "take": 5, "parameters": with, "database": "other"});
        assert_eq!(*asked.lock().unwrap(), [first, more, third, write, last]);
        assert_eq!(session.enter("\\quit", None, &mut Vec::new()).unwrap(), Next::Leave);
    }

    #[test]
    fn an_error_is_shown_and_ends_what_was_typed_with_it_but_not_the_session() {
        let runtime = Runtime::new().unwrap();
        let route = post(|body: String| async move {
            assert!(!body.contains("never"), "what follows a failure is not carried out");
            let problem = json!({"code": "query-syntax", "detail": "No\u{1b}.", "excerpt": "SELECT\n ^"});
            (axum::http::StatusCode::BAD_REQUEST, problem.to_string())
        });
        let mut session = session(&runtime, route, never());
        assert_eq!(enter(&mut session, "SELECT; SELECT never;"), "No\\u001b.\nSELECT\n ^\n");
        assert_eq!(enter(&mut session, "SELECT;"), "No\\u001b.\nSELECT\n ^\n");
    }

    #[test]
    fn an_interrupt_closes_the_connection_and_the_session_goes_on() {
        let runtime = Runtime::new().unwrap();
        let (begun, is_begun) = watch::channel(false);
        let (gone, mut has_gone) = mpsc::unbounded_channel();
        // Rows without end; the node tells when it drops them, because nobody reads any more.
        let route = post(move || {
            let (begun, rows) = (begun.clone(), Rows(gone.clone()));
            async move {
                Body::from_stream(stream::unfold(rows, move |rows| {
                    begun.send_replace(true);
                    async move {
                        tokio::task::yield_now().await;
                        Some((Ok::<_, Infallible>(Bytes::from_static(b"{\"a\":1}\n")), rows))
                    }
                }))
            }
        });
        let interrupt: Interrupt = Box::new(move || {
            let mut is_begun = is_begun.clone();
            Box::pin(async move { drop(is_begun.wait_for(|begun| *begun).await) })
        });
        let mut session = session(&runtime, route, interrupt);
        assert!(enter(&mut session, "SELECT a FROM c;").ends_with("\nstopped\n"));
        assert_eq!(enter(&mut session, "\\take 3"), "");
        let stopped = async { tokio::time::timeout(Duration::from_secs(30), has_gone.recv()).await };
        assert_eq!(runtime.block_on(stopped), Ok(Some(())), "the node goes on");
    }
}
