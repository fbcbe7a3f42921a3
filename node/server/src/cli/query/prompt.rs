//! The keyboard: a line that is edited, with history and completion, until it is a whole text for the session.
//!
//! **What stays true.** What was typed is remembered in a file of the user's own that nobody else may read, up to a
//! limit; what begins with a blank, or is very long, is not. Completion waits no longer than a moment for the node.

use std::cell::RefCell;
use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use holdfast_core::limits::{QUERY_HISTORY_ENTRIES_MAX, QUERY_HISTORY_ENTRY_BYTES_MAX};
use holdfast_query::language::script::is_complete;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use serde_json::Value;
use tokio::runtime::Handle;

use super::answer::{Ask, Line, ask};
use super::carry::remark;
use super::command::command;
use super::completion::{Names, complete, quoted};
use super::fields::paths;
use super::session::{Next, Session};
use super::{BUFFER_BYTES, room};
use crate::transfer::place::{NodeClient, PlaceError};

/// Names the file of the history; empty for none.
const HISTORY_VARIABLE: &str = "HOLDFAST_HISTORY";
/// Documents whose fields are offered.
const SAMPLE_DOCUMENTS: u64 = 10;
/// How long completion waits for the node.
const NAMES_TIME_MAX: Duration = Duration::from_secs(2);
/// A file of history that is longer was not written here.
const HISTORY_BYTES_MAX: u64 = 2 * (QUERY_HISTORY_ENTRIES_MAX * QUERY_HISTORY_ENTRY_BYTES_MAX) as u64;

/// Asks what to do until whoever types leaves.
pub(super) fn converse(mut session: Session, handle: Handle) -> Result<(), PlaceError> {
    let no_keyboard = |error: ReadlineError| PlaceError::new(format!("the terminal cannot be used: {error}"));
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .history_ignore_space(true)
        .max_history_size(QUERY_HISTORY_ENTRIES_MAX)
        .map_err(no_keyboard)?
        .build();
    let known = Rc::new(Known::new(handle, session.client().clone()));
    let mut editor: Editor<Keyboard, FileHistory> = Editor::with_config(config).map_err(no_keyboard)?;
    editor.set_helper(Some(Keyboard { known: Rc::clone(&known) }));
    let mut history = History::open(&mut editor);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
    let _ = writeln!(out, "{}; \\help tells what can be typed", session.client().url()).and_then(|()| out.flush());
    loop {
        let prompt = format!("{}> ", session.client().database().unwrap_or_default());
        let text = match editor.readline(&prompt) {
            Ok(text) => text,
            // What was begun is dropped; the session is not.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(no_keyboard(error)),
        };
        history.remember(&mut editor, &text);
        let next = session.enter(&text, room(true), &mut out);
        known.forget(session.client());
        match next {
            Ok(Next::On) => {}
            Ok(Next::Leave) => return Ok(()),
            Err(error) => return Err(PlaceError::new(format!("nothing can be shown: {error}"))),
        }
    }
}

/// What helps while a line is edited.
struct Keyboard {
    known: Rc<Known>,
}

impl Helper for Keyboard {}

impl Highlighter for Keyboard {}

impl Hinter for Keyboard {
    type Hint = String;
}

impl Validator for Keyboard {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_whole(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// Whether Enter sends a text; otherwise it begins the next line of it.
fn is_whole(text: &str) -> bool {
    command(text).is_some() || is_complete(text)
}

impl Completer for Keyboard {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line, at, &*self.known))
    }
}

/// The names of the database, as far as they were asked for.
struct Known {
    handle: Handle,
    client: RefCell<NodeClient>,
    collections: RefCell<Option<Vec<String>>>,
    fields: RefCell<HashMap<String, Vec<String>>>,
}

impl Known {
    fn new(handle: Handle, client: NodeClient) -> Self {
        Self { handle, client: RefCell::new(client), collections: RefCell::default(), fields: RefCell::default() }
    }

    /// A statement may have changed everything.
    fn forget(&self, client: &NodeClient) {
        *self.client.borrow_mut() = client.clone();
        *self.collections.borrow_mut() = None;
        self.fields.borrow_mut().clear();
    }

    /// The first rows of a statement; none where the node does not answer in time.
    fn rows(&self, statement: String, take: u64) -> Vec<Value> {
        let client = self.client.borrow().clone();
        let asked = Ask { statement, take: Some(take), ..Ask::default() };
        let rows = async {
            let mut rows = Vec::new();
            let mut answer = ask(&client, &asked).await.ok()?;
            while let Line::Row(row) = answer.next().await.ok()? {
                rows.push(serde_json::from_str(row.get()).ok()?);
            }
            Some(rows)
        };
        let rows = self.handle.block_on(async { tokio::time::timeout(NAMES_TIME_MAX, rows).await });
        rows.ok().flatten().unwrap_or_default()
    }
}

impl Names for Known {
    fn collections(&self) -> Vec<String> {
        if let Some(names) = self.collections.borrow().as_ref() {
            return names.clone();
        }
        let rows = self.rows("SELECT Collection FROM _collections".to_owned(), super::session::ROWS_AT_A_TIME);
        let name = |row: &Value| Some(row.get("Collection")?.as_str()?.to_owned());
        let names: Vec<String> = rows.iter().filter_map(name).collect();
        *self.collections.borrow_mut() = Some(names.clone());
        names
    }

    fn fields(&self, collection: &str) -> Vec<String> {
        if let Some(fields) = self.fields.borrow().get(collection) {
            return fields.clone();
        }
        let fields = paths(&self.rows(format!("SELECT * FROM {}", quoted(collection)), SAMPLE_DOCUMENTS));
        self.fields.borrow_mut().insert(collection.to_owned(), fields.clone());
        fields
    }
}

/// What was typed, in a file.
struct History {
    /// None where nothing is kept.
    path: Option<PathBuf>,
}

impl History {
    /// Reads what was typed in earlier sessions.
    fn open(editor: &mut Editor<Keyboard, FileHistory>) -> Self {
        let Some(path) = history_file(|name| env::var_os(name), env::home_dir()) else { return Self { path: None } };
        let length = fs::metadata(&path).map_or(0, |found| found.len());
        let read = match (prepared(&path), length) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(()), 0) => Ok(()),
            (Ok(()), length) if length > HISTORY_BYTES_MAX => Err(format!("it has {length} bytes")),
            (Ok(()), _) => editor.load_history(&path).map_err(|error| error.to_string()),
        };
        match read {
            Ok(()) => Self { path: Some(path) },
            Err(why) => {
                remark(&format!(
                    "what is typed is not remembered: {} is of no use, {why}. Remove it, or name another file in \
                     {HISTORY_VARIABLE}",
                    path.display()
                ));
                Self { path: None }
            }
        }
    }

    fn remember(&mut self, editor: &mut Editor<Keyboard, FileHistory>, text: &str) {
        if text.len() > QUERY_HISTORY_ENTRY_BYTES_MAX || text.trim().is_empty() {
            return;
        }
        let is_added = editor.add_history_entry(text).unwrap_or(false);
        if let Some(path) = self.path.as_ref().filter(|_| is_added)
            && let Err(error) = editor.append_history(path)
        {
            remark(&format!("what is typed is no longer remembered: {} cannot be written: {error}", path.display()));
            self.path = None;
        }
    }
}

/// Where the history is kept: where it is said, or where the system keeps what programs remember of their user.
fn history_file(variable: impl Fn(&str) -> Option<std::ffi::OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(path) = variable(HISTORY_VARIABLE) {
        return (!path.is_empty()).then(|| PathBuf::from(path));
    }
    let named = if cfg!(windows) { variable("LOCALAPPDATA") } else { variable("XDG_STATE_HOME") };
    let named = named.map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match named {
        Some(path) => path,
        None if cfg!(windows) => home?.join("AppData").join("Local"),
        None => home?.join(".local").join("state"),
    };
    Some(base.join("holdfast").join("query_history"))
}

/// Makes the directory of a file, for its user alone.
fn prepared(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use super::{HISTORY_VARIABLE, history_file, is_whole};

    #[test]
    fn enter_sends_what_is_whole() {
        for text in ["", "SELECT 1;", "\\help", "quit", "-- nothing"] {
            assert!(is_whole(text), "{text}");
        }
        assert!(!is_whole("SELECT 1") && !is_whole("SELECT 1;\nSELECT 'quit"));
    }

    #[test]
    #[cfg(not(windows))]
    fn the_history_is_where_it_is_said_or_in_the_users_own_state() {
        let home = Some(PathBuf::from("/home/a"));
        let with = |set: &'static [(&str, &str)]| {
            let value =
                move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
            history_file(value, home.clone())
        };
        assert_eq!(with(&[]).as_deref(), Some(Path::new("/home/a/.local/state/holdfast/query_history")));
        assert_eq!(with(&[("XDG_STATE_HOME", "/s")]).as_deref(), Some(Path::new("/s/holdfast/query_history")));
        assert_eq!(with(&[("XDG_STATE_HOME", "s")]), with(&[]));
        assert_eq!(with(&[(HISTORY_VARIABLE, "/x/y")]).as_deref(), Some(Path::new("/x/y")));
        assert_eq!(with(&[(HISTORY_VARIABLE, "")]), None);
        assert_eq!(history_file(|_| None, None), None);
    }
}
