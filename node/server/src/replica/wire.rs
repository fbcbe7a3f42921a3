//! Frames over a connection: read with a limit and a deadline, written by one task.
//!
//! Must stay true: a reader never waits for ever, and memory grows only with what has arrived; a writer that cannot write
//! for [`WRITE_WITHIN`] gives the connection up, so that a frozen follower holds nothing back.

use std::io;
use std::time::Duration;

use holdfast_core::replica::frame::{HEADER_BYTES, Header, Kind, NoFrame, header};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long the other side may be silent: its heartbeats come far more often.
pub const SILENT_WITHIN: Duration = Duration::from_secs(10);
/// How long a part of a frame may take to be written: a slow line may take its time for the whole, as long as something
/// goes out.
pub const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that are kept ready for a payload before any of it has arrived.
const PAYLOAD_ROOM: usize = 64 * 1024;
/// Bytes that are gathered before they go to the socket, and of a frame that are written at once.
const WRITE_ROOM: usize = 64 * 1024;

/// Reads of one connection.
pub type BoxedReader = Box<dyn AsyncRead + Send + Unpin>;
/// Writes of one connection.
pub type BoxedWriter = Box<dyn AsyncWrite + Send + Unpin>;

/// Why a connection ends.
#[derive(Debug, Error)]
pub enum WireError {
    /// The other side closed it, or the line broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is no frame.
    #[error(transparent)]
    Foreign(#[from] NoFrame),
    /// Nothing came, or nothing could be written, for too long.
    #[error("{0}")]
    Silent(&'static str),
}

impl WireError {
    /// Whether the other side has just gone.
    pub fn is_hung_up(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let gone = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
        matches!(self, Self::Broken(error) if gone.contains(&error.kind()))
    }
}

/// A frame as it was read.
#[derive(Debug)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Number of the sender's epoch.
    pub epoch: u64,
    /// Its content, whole.
    pub payload: Vec<u8>,
}

/// Reads one frame. Before both sides know each other, greetings alone.
pub async fn read_frame(from: &mut BoxedReader, is_known: bool, within: Duration) -> Result<Frame, WireError> {
    let mut bytes = [0; HEADER_BYTES];
    let reading = async {
        if is_known {
            from.read_exact(&mut bytes).await?;
        } else {
            let (first, rest) = bytes.split_at_mut(4);
            from.read_exact(first).await?;
            Header::begins(first.try_into().unwrap_or_default())?;
            from.read_exact(rest).await?;
        }
        Ok::<_, WireError>(())
    };
    timeout(within, reading).await.map_err(|_| WireError::Silent("nothing was heard in time"))??;
    let header = Header::read(&bytes, is_known)?;
    let mut payload = Vec::with_capacity(header.length.min(PAYLOAD_ROOM));
    let mut limited = from.take(header.length as u64);
    loop {
        // A slow line may take its time for a large frame, as long as something comes.
        let read = timeout(within, limited.read_buf(&mut payload));
        let count = read.await.map_err(|_| WireError::Silent("a frame was not finished in time"))??;
        if payload.len() == header.length {
            break;
        }
        if count == 0 {
            return Err(WireError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    header.check(&payload)?;
    Ok(Frame { kind: header.kind, epoch: header.epoch, payload })
}

/// A frame on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// What it is.
    pub kind: Kind,
    /// Its content.
    pub payload: Vec<u8>,
}

/// Writes one frame at once.
pub async fn write_frame(to: &mut BoxedWriter, epoch: u64, frame: &Outgoing) -> Result<(), WireError> {
    let head = header(frame.kind, epoch, &frame.payload)?;
    let writing = async {
        to.write_all(&head).await?;
        to.write_all(&frame.payload).await?;
        to.flush().await
    };
    timeout(WRITE_WITHIN, writing).await.map_err(|_| WireError::Silent("the other side takes nothing in"))??;
    Ok(())
}

/// Writes frames until nobody sends any more or it fails; `epoch` is asked for with each. Gives the bytes written.
pub async fn write_all(
    to: BoxedWriter,
    mut frames: mpsc::Receiver<Outgoing>,
    epoch: impl Fn() -> u64,
    written: impl Fn(u64),
) -> Result<(), WireError> {
    let mut to = BufWriter::with_capacity(WRITE_ROOM, to);
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            let head = header(frame.kind, epoch(), &frame.payload)?;
            for part in std::iter::once(head.as_slice()).chain(frame.payload.chunks(WRITE_ROOM)) {
                let writing = timeout(WRITE_WITHIN, to.write_all(part)).await;
                writing.map_err(|_| WireError::Silent("the other side takes nothing in"))??;
                written(part.len() as u64);
            }
            next = frames.try_recv().ok();
        }
        timeout(WRITE_WITHIN, to.flush()).await.map_err(|_| WireError::Silent("the other side takes nothing in"))??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pair() -> (BoxedReader, BoxedWriter) {
        let (one, other) = tokio::io::duplex(256);
        (Box::new(one), Box::new(other))
    }

    #[tokio::test]
    async fn frames_larger_than_the_line_arrive_whole() {
        let (mut reader, mut writer) = pair();
        let sent = Outgoing { kind: Kind::Stretch, payload: vec![7; 100_000] };
        let writing = tokio::spawn(async move { write_frame(&mut writer, 3, &sent).await.map(|()| writer) });
        let frame = read_frame(&mut reader, true, SILENT_WITHIN).await.unwrap();
        assert_eq!((frame.kind, frame.epoch, frame.payload.len()), (Kind::Stretch, 3, 100_000));
        drop(writing.await.unwrap().unwrap());
        assert!(matches!(read_frame(&mut reader, true, SILENT_WITHIN).await, Err(WireError::Broken(_))));
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_or_never_ends_is_given_up() {
        let (mut reader, mut writer) = pair();
        let head = header(Kind::Stretch, 1, &[1; 100]).unwrap();
        writer.write_all(&head).await.unwrap();
        writer.write_all(&[1; 99]).await.unwrap();
        let within = Duration::from_millis(50);
        assert!(matches!(read_frame(&mut reader, true, within).await, Err(WireError::Silent(_))));
        let (mut reader, mut writer) = pair();
        writer.write_all(&head).await.unwrap();
        drop(writer);
        assert!(matches!(read_frame(&mut reader, true, SILENT_WITHIN).await, Err(WireError::Broken(_))));
    }
}
