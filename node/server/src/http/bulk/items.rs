//! From a body to changes: lines or the elements of an array, cut into chunks, each item checked on its own.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::json::{ID_FIELD, malformed, parse_object};
use holdfast_storage::request::{Action, Change, Expect};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::next_piece;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::BYTE_ORDER_MARK;
use crate::http::writes::{document_text, is_increment_only, own_id, read_patch};

/// Items and bytes after which a chunk is full.
const CHUNK_ITEMS: usize = 1_000;
const CHUNK_BYTES: usize = 2 * 1024 * 1024;

/// What to do with each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Store it, whether it is there or not.
    Put,
    /// Store it, if it is not there.
    Insert,
    /// Merge it into what is there.
    Patch,
    /// Delete the document of its id.
    Delete,
}

/// How a body is cut into items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One per line.
    Lines,
    /// By its first character: `[` begins an array, anything else lines.
    ByFirstCharacter,
}

impl Format {
    /// The format that a request names.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Self::ByFirstCharacter) };
        let kind = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Ok(Self::Lines)
            }
            "" | "application/json" | "text/json" => Ok(Self::ByFirstCharacter),
            _ => Err(ApiError::unsupported_media_type(
                "Bulk writes read lines of JSON (Content-Type: application/x-ndjson) or an array (application/json).",
            )),
        }
    }
}

/// The place of an item in its body.
#[derive(Debug, Clone, Default)]
pub(super) struct Item {
    /// From 0, blank lines not counted.
    pub(super) index: u64,
    /// From 1; `None` in an array.
    pub(super) line: Option<u64>,
    /// Its document, where that could be read.
    pub(super) id: Option<DocumentId>,
}

/// An item that never reached the writer.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) item: Item,
    pub(super) error: ApiError,
}

/// Some items of a body, not yet parsed.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    items: Vec<(Item, Text)>,
    bytes: usize,
}

#[derive(Debug)]
enum Text {
    Whole(Bytes),
    TooLong,
}

impl Chunk {
    fn push(&mut self, item: Item, text: Text) {
        self.bytes += if let Text::Whole(bytes) = &text { bytes.len() } else { 0 };
        self.items.push((item, text));
    }

    fn is_full(&self) -> bool {
        self.items.len() >= CHUNK_ITEMS || self.bytes >= CHUNK_BYTES
    }

    /// Parses and checks each item.
    pub(super) fn parse(
        self,
        app: &App,
        collection: &CollectionName,
        verb: Verb,
        expect: &Expect,
    ) -> Vec<(Result<Item, Refused>, Option<Change>)> {
        let limit = app.settings.limits.document_bytes_max;
        let parse_one = |(mut item, text): (Item, Text)| {
            let parsed = match text {
                Text::Whole(text) => parse(app, &text, verb, &mut item.id),
                Text::TooLong => {
                    let detail = format!("The line has more than {limit} bytes, the most a document may have.");
                    Err(ApiError::too_large(detail))
                }
            };
            match parsed {
                Ok((id, action)) => {
                    item.id = Some(id.clone());
                    let is_merge = matches!(action, Action::Patch { .. }) && !is_increment_only(&action);
                    let expect = if is_merge { Expect::Any } else { expect.clone() };
                    (Ok(item), Some(Change { collection: collection.clone(), id, action, expect }))
                }
                Err(error) => (Err(Refused { item, error }), None),
            }
        };
        self.items.into_iter().map(parse_one).collect()
    }
}

/// Reads one item; leaves its id where that much could be read.
fn parse(app: &App, text: &[u8], verb: Verb, seen: &mut Option<DocumentId>) -> Result<(DocumentId, Action), ApiError> {
    if verb == Verb::Delete
        && let Ok(id) = serde_json::from_slice::<String>(text)
    {
        return Ok((DocumentId::parse(&id)?, Action::Delete));
    }
    if std::str::from_utf8(text).is_err() {
        return Err(ApiError::bad_request("invalid-utf8", "The item is not valid UTF-8. Send JSON in UTF-8."));
    }
    let mut object = parse_object(text).map_err(|refusal| match refusal {
        Refusal::Invalid { code: "not-an-object", .. } => {
            ApiError::bad_request("not-an-object", "Each item must be a JSON object.")
        }
        // The place within the item would be read as a place in the body.
        Refusal::Invalid { code: "malformed-json", .. } => {
            ApiError::bad_request("malformed-json", "The item is not valid JSON. Write each as one whole object.")
        }
        refusal => refusal.into(),
    })?;
    let id = own_id(&object)
        .ok_or_else(|| ApiError::bad_request("id-required", "Each item must include an 'Id' string field."))??;
    *seen = Some(id.clone());
    let action = match verb {
        Verb::Put | Verb::Insert => Action::Put(document_text(app, object, &id)?),
        Verb::Patch => {
            object.shift_remove(ID_FIELD);
            read_patch(object)?
        }
        Verb::Delete => Action::Delete,
    };
    Ok((id, action))
}

/// Cuts a body into chunks as it arrives.
pub(super) struct Reader {
    body: BodyDataStream,
    format: Format,
    line_bytes_max: usize,
    array_bytes_max: usize,
    /// What has arrived of a line that has not ended.
    partial: Vec<u8>,
    is_skipping: bool,
    /// What has arrived and was not looked at.
    piece: Bytes,
    index: u64,
    line: u64,
    array: Option<std::vec::IntoIter<Bytes>>,
    is_begun: bool,
    is_ended: bool,
}

impl Reader {
    pub(super) fn new(body: Body, format: Format, line_bytes_max: usize, array_bytes_max: usize) -> Self {
        Self {
            body: body.into_data_stream(),
            format,
            line_bytes_max,
            array_bytes_max,
            partial: Vec::new(),
            is_skipping: false,
            piece: Bytes::new(),
            index: 0,
            line: 0,
            array: None,
            is_begun: false,
            is_ended: false,
        }
    }

    /// The next items; `None` at the end of the body.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<Chunk>, ApiError> {
        if !self.is_begun {
            self.is_begun = true;
            self.begin().await?;
        }
        let mut chunk = Chunk::default();
        if self.array.is_some() {
            self.fill_from_array(&mut chunk);
        } else {
            self.fill_from_lines(&mut chunk).await?;
        }
        Ok((!chunk.items.is_empty()).then_some(chunk))
    }

    /// Looks at the first character, and reads an array whole.
    async fn begin(&mut self) -> Result<(), ApiError> {
        while let Some(piece) = next_piece(&mut self.body).await? {
            if piece.iter().all(u8::is_ascii_whitespace) {
                // Blanks before the first item; their lines count.
                self.line += piece.split(|byte| *byte == b'\n').skip(1).count() as u64;
                continue;
            }
            let mut piece = piece;
            if piece.starts_with(BYTE_ORDER_MARK) {
                let _ = piece.split_to(BYTE_ORDER_MARK.len());
            }
            let first = piece.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
            let is_array = self.format == Format::ByFirstCharacter && piece.get(first) == Some(&b'[');
            self.piece = piece;
            return if is_array { self.read_array().await } else { Ok(()) };
        }
        self.is_ended = true;
        Err(ApiError::bad_request("body-required", "Send items: one JSON object per line, or an array of objects."))
    }

    async fn read_array(&mut self) -> Result<(), ApiError> {
        let mut text = Vec::from(std::mem::take(&mut self.piece));
        while text.len() <= self.array_bytes_max
            && let Some(piece) = next_piece(&mut self.body).await?
        {
            text.extend_from_slice(&piece);
        }
        if text.len() > self.array_bytes_max {
            return Err(ApiError::too_large(format!(
                "An array may have {} bytes. Send lines of JSON instead: they are read as they arrive.",
                self.array_bytes_max
            )));
        }
        let whole = Bytes::from(text);
        let text = std::str::from_utf8(&whole)
            .map_err(|_| ApiError::bad_request("invalid-utf8", "The body is not valid UTF-8. Send JSON in UTF-8."))?;
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| ApiError::from(malformed(&error)))?;
        let items: Vec<Bytes> = items.into_iter().map(|item| whole.slice_ref(item.get().as_bytes())).collect();
        self.array = Some(items.into_iter());
        Ok(())
    }

    fn fill_from_array(&mut self, chunk: &mut Chunk) {
        while !chunk.is_full() {
            let Some(text) = self.array.as_mut().and_then(Iterator::next) else { return };
            chunk.push(Item { index: self.index, line: None, id: None }, Text::Whole(text));
            self.index += 1;
        }
    }

    async fn fill_from_lines(&mut self, chunk: &mut Chunk) -> Result<(), ApiError> {
        while !chunk.is_full() && !self.is_ended {
            if self.piece.is_empty() {
                match next_piece(&mut self.body).await? {
                    Some(piece) => self.piece = piece,
                    None => {
                        self.is_ended = true;
                        let rest = Bytes::from(std::mem::take(&mut self.partial));
                        self.end_line(chunk, rest);
                    }
                }
                continue;
            }
            match self.piece.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let head = self.piece.split_to(end);
                    // The line feed itself.
                    let _ = self.piece.split_to(1);
                    let line = if self.partial.is_empty() {
                        head
                    } else {
                        self.keep(&head);
                        Bytes::from(std::mem::take(&mut self.partial))
                    };
                    self.end_line(chunk, line);
                }
                None => {
                    let rest = std::mem::take(&mut self.piece);
                    self.keep(&rest);
                }
            }
        }
        Ok(())
    }

    /// Keeps the beginning of a line, unless it is too long already.
    fn keep(&mut self, bytes: &[u8]) {
        if self.is_skipping || self.partial.len() + bytes.len() > self.line_bytes_max {
            self.is_skipping = true;
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self, chunk: &mut Chunk, text: Bytes) {
        self.line += 1;
        let is_too_long = std::mem::take(&mut self.is_skipping) || text.len() > self.line_bytes_max;
        if !is_too_long && text.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let item = Item { index: self.index, line: Some(self.line), id: None };
        self.index += 1;
        chunk.push(item, if is_too_long { Text::TooLong } else { Text::Whole(text) });
    }
}
