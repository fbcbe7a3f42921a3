//! The floor: what this machine gives a program that does nothing but the unavoidable.
//!
//! ```text
//! PUT /{id} ──► queue ──► writer thread: data filled, log filled, log fsync, data commit ──► 204
//! GET /constant ──► the same 350 bytes
//! ```
//!
//! What stays true: an answer to a PUT is given after its log commit is durable, as the node does it.
//!
//! What it deliberately does not do: parse, check, authorise, version, replay, free pages by a durable data commit.
//! The node does all of these, so the ratio of the two is what the node's own work costs.

use super::documents;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as PathParameter, State};
use axum::http::{StatusCode, header};
use axum::routing::{get, put};
use axum::serve::ListenerExt;
use redb::{Database, Durability, TableDefinition};
use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

const DOCUMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("documents");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Writes that may wait for the writer thread; more wait in their handlers.
const QUEUE_WRITES_MAX: usize = 4096;
/// Writes in one commit.
const BATCH_WRITES_MAX: usize = 1024;

/// Where the floor keeps its two files.
#[derive(Debug, clap::Args)]
pub(super) struct FloorArgs {
    /// An empty directory for the two files.
    #[arg(long)]
    directory: PathBuf,
}

/// One accepted write and who waits for it.
struct PendingWrite {
    id: String,
    body: Bytes,
    answer: oneshot::Sender<()>,
}

/// Serves on a free loopback port, prints it as the only line of standard output, and ends
/// when standard input closes, so that it never outlives the benchmark.
pub(super) fn serve(args: &FloorArgs) -> Result<(), Box<dyn Error>> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let (sender, receiver) = mpsc::channel(QUEUE_WRITES_MAX);
    let writer = Writer::open(&args.directory)?;
    std::thread::spawn(move || {
        if let Err(error) = writer.run(receiver) {
            eprintln!("floor: the writer stopped: {error}");
            std::process::exit(1);
        }
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(listen(sender))?;
    Ok(())
}

async fn listen(sender: mpsc::Sender<PendingWrite>) -> std::io::Result<()> {
    let constant: &'static str = Box::leak(documents::one(1).into_boxed_str());
    let router = Router::new()
        .route("/{id}", put(put_document))
        .route("/constant", get(move || async move { ([(header::CONTENT_TYPE, "application/json")], constant) }))
        .with_state(sender);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush()?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await
}

async fn put_document(
    State(sender): State<mpsc::Sender<PendingWrite>>,
    PathParameter(id): PathParameter<String>,
    body: Bytes,
) -> StatusCode {
    let (answer, answered) = oneshot::channel();
    let write = PendingWrite { id, body, answer };
    if sender.send(write).await.is_err() || answered.await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    StatusCode::NO_CONTENT
}

/// The two files and the next position in the log.
struct Writer {
    data: Database,
    log: Database,
    position: u64,
}

impl Writer {
    fn open(directory: &Path) -> Result<Self, redb::Error> {
        let data = Database::create(directory.join("data.redb"))?;
        let log = Database::create(directory.join("log.redb"))?;
        Ok(Self { data, log, position: 0 })
    }

    /// Commits everything it finds waiting as one batch, until nobody can send any more.
    fn run(mut self, mut receiver: mpsc::Receiver<PendingWrite>) -> Result<(), redb::Error> {
        let mut batch = Vec::with_capacity(BATCH_WRITES_MAX);
        while receiver.blocking_recv_many(&mut batch, BATCH_WRITES_MAX) > 0 {
            self.commit(&batch)?;
            for write in batch.drain(..) {
                // A caller that has gone does not need the answer.
                let _ = write.answer.send(());
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: &[PendingWrite]) -> Result<(), redb::Error> {
        let mut data = self.data.begin_write()?;
        data.set_durability(Durability::None)?;
        let mut log = self.log.begin_write()?;
        log.set_durability(Durability::Immediate)?;
        {
            let mut documents = data.open_table(DOCUMENTS)?;
            let mut operations = log.open_table(LOG)?;
            for write in batch {
                self.position += 1;
                documents.insert(write.id.as_str(), write.body.as_ref())?;
                operations.insert(self.position, write.body.as_ref())?;
            }
        }
        log.commit()?;
        data.commit()?;
        Ok(())
    }
}
