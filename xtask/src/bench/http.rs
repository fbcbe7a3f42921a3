//! The wire side of the load generator: requests built once, answers read with as little work as possible.
//!
//! ```text
//! Template ── copied once per connection ──► bytes, digits patched in place ──► socket
//! socket ──► Connection::exchange ──► status, body (valid until the next exchange)
//! ```
//!
//! What stays true: one request is in flight per connection, and an answer is read to its last
//! byte before the next request is sent, so connections are kept alive and never out of step.
//!
//! What it does not do: redirects, TLS, HTTP/2, answers without a length. A generator shares its
//! machine with what it measures, so each cycle spent here is taken from the server.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Digits of a number in a request; ten of them hold every document number the benchmark uses.
const DIGITS: usize = 10;
/// Stands for the number while a template is being written; never part of a real request.
const MARK: &str = "##########";
/// No answer is read beyond this; the largest expected ones are bulk results of about 1 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a single question waits for its answer.
const ASK_WITHIN: Duration = Duration::from_secs(30);

/// A whole request as bytes, with the places where the document's number goes.
#[derive(Clone, Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// Documents in one request; the next request's number is this much higher.
    pub(super) documents: u64,
}

/// Where a number goes, and what is added to the request's number there.
#[derive(Clone, Copy, Debug)]
struct Slot {
    at: usize,
    add: u64,
}

/// The place of the document's number in a path or body.
pub(super) const fn mark() -> &'static str {
    MARK
}

impl Template {
    /// A request with one document; `headers` are whole lines without line ends.
    pub(super) fn single(method: &str, path: &str, headers: &[&str], body: &str) -> Self {
        Self::bulk(method, path, headers, body, 1)
    }

    /// A request whose body is `line` once per document, each with its own number.
    pub(super) fn bulk(method: &str, path: &str, headers: &[&str], line: &str, documents: u64) -> Self {
        let mut slots = Vec::new();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        let body_bytes = line.len() as u64 * documents;
        if body_bytes > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "Content-Length: {body_bytes}\r\n");
        }
        text.push_str("\r\n");
        slots.extend(marks(&text, 0, 0));
        for add in 0..documents {
            slots.extend(marks(line, text.len(), add));
            text.push_str(line);
        }
        Self { bytes: text.into_bytes(), slots, documents }
    }

    /// A request whose body is a list of `item`, each with its own number, between what opens and what closes it.
    pub(super) fn list(method: &str, path: &str, headers: &[&str], parts: [&str; 3], items: u64) -> Self {
        let [open, item, close] = parts;
        let between = items.saturating_sub(1);
        let body_bytes = (open.len() + close.len()) as u64 + item.len() as u64 * items + between;
        let length = format!("Content-Length: {body_bytes}");
        let headers: Vec<&str> = headers.iter().copied().chain([length.as_str()]).collect();
        let Self { bytes, mut slots, .. } = Self::single(method, path, &headers, "");
        let mut text = String::from_utf8(bytes).unwrap_or_default() + open;
        for add in 0..items {
            if add > 0 {
                text.push(',');
            }
            slots.extend(marks(item, text.len(), add));
            text.push_str(item);
        }
        text.push_str(close);
        Self { bytes: text.into_bytes(), slots, documents: items }
    }

    /// The request for document `number` and those after it.
    pub(super) fn fill(&mut self, number: u64) -> &[u8] {
        for slot in &self.slots {
            if let Some(digits) = self.bytes.get_mut(slot.at..slot.at + DIGITS) {
                write_digits(digits, number + slot.add);
            }
        }
        &self.bytes
    }
}

/// Every place of [`MARK`] in `text`, as it will be once `text` stands at `offset`.
fn marks(text: &str, offset: usize, add: u64) -> impl Iterator<Item = Slot> + '_ {
    text.match_indices(MARK).map(move |(at, _)| Slot { at: offset + at, add })
}

/// Writes `number` right-aligned with leading zeros.
fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// One kept-alive connection with its read buffer.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

/// Asks once on a connection of its own; for questions whose speed does not matter.
pub(super) fn ask(address: SocketAddr, template: &Template) -> Result<(u16, Vec<u8>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        let (status, body) = connection.exchange(&template.bytes).await?;
        Ok((status, body.to_vec()))
    };
    runtime
        .block_on(async { tokio::time::timeout(ASK_WITHIN, exchange).await })
        .map_err(|_| format!("no answer within {} s", ASK_WITHIN.as_secs()))?
}

/// Where an answer's parts are in the buffer.
#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    end: usize,
    body: Body,
}

/// How the answer says where it ends.
#[derive(Clone, Copy, Debug)]
enum Body {
    Length(usize),
    Chunked,
}

impl Connection {
    /// Connects without Nagle's delay.
    pub(super) async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream =
            TcpStream::connect(address).await.map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("cannot set TCP_NODELAY: {error}"))?;
        Ok(Self { stream, buffer: vec![0; 16 << 10], filled: 0 })
    }

    /// Sends one request and reads its answer: the status, and the body as it came
    /// (a chunked one with its chunk sizes still in it).
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8]), String> {
        self.filled = 0;
        self.stream.write_all(request).await.map_err(|error| format!("cannot send the request: {error}"))?;
        let head = loop {
            self.read_more().await?;
            if let Some(head) = parse_head(self.read())? {
                break head;
            }
        };
        let end = match head.body {
            Body::Length(length) => head.end + length,
            Body::Chunked => loop {
                let body = self.read().get(head.end..).unwrap_or_default();
                if let Some(length) = chunked_length(body)? {
                    break head.end + length;
                }
                self.read_more().await?;
            },
        };
        if end > ANSWER_BYTES_MAX {
            return Err(format!("the answer has {end} bytes, too many to read"));
        }
        while self.filled < end {
            self.read_more().await?;
        }
        let body = self.buffer.get(head.end..end).unwrap_or_default();
        Ok((head.status, body))
    }

    fn read(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    async fn read_more(&mut self) -> Result<(), String> {
        if self.filled == self.buffer.len() {
            if self.filled >= ANSWER_BYTES_MAX {
                return Err("the answer does not end".to_owned());
            }
            self.buffer.resize(self.filled * 2, 0);
        }
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match self.stream.read(free).await {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(count) => {
                self.filled += count;
                Ok(())
            }
            Err(error) => Err(format!("cannot read the answer: {error}")),
        }
    }
}

/// Parses the status line and the one header that matters; `None` while the head is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = bytes.get(..end).unwrap_or_default();
    let mut lines = head.split(|byte| *byte == b'\n');
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or("the answer is not HTTP/1.1")?;
    let mut body = Body::Length(0);
    for line in lines {
        if let Some(value) = header_value(line, b"content-length:") {
            let length = value.parse().map_err(|_| "bad Content-Length")?;
            body = Body::Length(length);
        } else if header_value(line, b"transfer-encoding:") == Some("chunked") {
            body = Body::Chunked;
        }
    }
    Ok(Some(Head { status, end: end + 4, body }))
}

/// The value of a header line if its name (lower case, with colon) is `name`.
fn header_value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let (start, value) = line.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    std::str::from_utf8(value).ok().map(str::trim)
}

/// The length of a whole chunked body with its framing; `None` while it is incomplete.
fn chunked_length(body: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = rest
            .get(..line)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
            .filter(|size| *size <= ANSWER_BYTES_MAX)
            .ok_or("bad chunk size")?;
        at += line + 2 + size + 2;
        if at > body.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_template_puts_each_documents_number_in_its_place() {
        let line = format!("{{\"Id\":\"{}\"}}\n", mark());
        let mut template = Template::bulk("POST", "/bulk", &["A: b"], &line, 2);
        let text = String::from_utf8(template.fill(41).to_vec()).unwrap();
        assert_eq!(
            text,
            "POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\nContent-Length: 40\r\n\r\n\
             {\"Id\":\"0000000041\"}\n{\"Id\":\"0000000042\"}\n"
        );
    }

    #[test]
    fn a_list_has_its_items_between_its_ends_and_says_its_length() {
        let mut template = Template::list("PUT", "/list", &["A: b"], ["[", &format!("\"{}\"", mark()), "]"], 2);
        let text = String::from_utf8(template.fill(7).to_vec()).unwrap();
        let body = "[\"0000000007\",\"0000000008\"]";
        let head = format!("PUT /list HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(text, head + body);
    }

    #[test]
    fn a_head_is_read_only_when_it_is_whole() {
        let text = b"HTTP/1.1 404 Not Found\r\nContent-LENGTH: 12\r\n\r\nabc";
        assert!(parse_head(&text[..30]).unwrap().is_none());
        let head = parse_head(text).unwrap().unwrap();
        assert_eq!(head.status, 404);
        assert!(matches!(head.body, Body::Length(12)));
        assert!(parse_head(b"garbage\r\n\r\n").is_err());
    }

    #[test]
    fn a_chunked_body_ends_at_its_empty_chunk() {
        let body = b"3\r\nabc\r\n0\r\n\r\n";
        for cut in 0..body.len() {
            assert_eq!(chunked_length(&body[..cut]).unwrap(), None);
        }
        assert_eq!(chunked_length(body).unwrap(), Some(body.len()));
        assert!(chunked_length(b"zz\r\n").is_err());
    }
}
