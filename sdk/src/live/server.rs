//! Listens on the socket while an engine is open.
//!
//! A thread takes connections, and one more per connection does what is asked: no task of the runtime's, so that a program
//! whose runtime is busy can still be asked to cancel a run. They do not keep the engine open.
//!
//! Invariants: at most [`CONNECTIONS_MAX`] at once; a stale socket is replaced only by who holds the directory's lock; and only the
//! socket that is the engine's own is removed, and woken, whatever is at its path by then.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use relive_engine::engine::WeakEngine;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_storage::HeldDirectory;

use super::perform;
use super::place;
use super::protocol::{LINE_BYTES_MAX, Reply, Request};
use crate::engine::Engine;

/// Most commands under way at once: 16, as people and scripts give them.
const CONNECTIONS_MAX: usize = 16;

/// How long a request may take to arrive, and a reply to be taken: 10 s.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be taken: 100 ms.
const RETRY: Duration = Duration::from_millis(100);

/// How long a shutdown waits for the thread that was woken: 10 s. It does nothing but end, so that is for a machine that is busy;
/// and where it cannot be woken, it ends with the process.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// The socket of an open engine. Closed and removed when it is dropped.
pub(crate) struct Listener {
    path: PathBuf,
    /// What `path` is reached through.
    _directory: HeldDirectory,
    closing: Arc<AtomicBool>,
    open: parking_lot::Mutex<Option<Open>>,
}

/// What there is until the socket is closed.
struct Open {
    /// The listening socket once more. As long as it is open, its file's number is no other file's.
    socket: UnixStream,
    /// Which file it is.
    identity: (u64, u64),
    thread: JoinHandle<()>,
    /// Ends when the thread does.
    ended: mpsc::Receiver<()>,
}

impl Listener {
    /// Listens for an engine that holds this directory. `None`, with a warning, where there can be no socket.
    pub(crate) fn open(directory: HeldDirectory, engine: WeakEngine) -> Option<Arc<Self>> {
        match Self::listen(directory.clone(), engine) {
            Ok(listener) => Some(Arc::new(listener)),
            Err(error) => {
                let directory = directory.shown().display();
                tracing::warn!(%directory, %error, "the engine has no socket: `relive cancel` and others cannot reach it");
                None
            }
        }
    }

    fn listen(directory: HeldDirectory, engine: WeakEngine) -> io::Result<Self> {
        let path = place::socket(&directory, true)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // The directory it is in lets nobody else in while this is not done yet.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let identity = identity(&path)?;
        // A stream in name only: it can be shut down, as a listener cannot.
        let socket = UnixStream::from(OwnedFd::from(listener.try_clone()?));
        let closing = Arc::new(AtomicBool::new(false));
        let (sender, ended) = mpsc::channel();
        let (flag, runtime) = (Arc::clone(&closing), tokio::runtime::Handle::current());
        let thread = std::thread::Builder::new().name("relive-socket".to_owned()).spawn(move || {
            let _ended: mpsc::Sender<()> = sender;
            accept(&listener, &flag, &engine, &runtime);
        })?;
        let open = parking_lot::Mutex::new(Some(Open { socket, identity, thread, ended }));
        Ok(Self { path, _directory: directory, closing, open })
    }

    /// Takes no more commands, and removes the socket. Those under way go on.
    pub(crate) fn close(&self) {
        let Some(Open { socket, identity: own, thread, ended }) = self.open.lock().take() else { return };
        self.closing.store(true, Ordering::Release);
        let is_own = || identity(&self.path).is_ok_and(|is| is == own);
        // Wakes the thread on Linux; elsewhere, who connects does.
        let _ = socket.shutdown(Shutdown::Both);
        if !cfg!(target_os = "linux") && is_own() {
            let _ = UnixStream::connect(&self.path);
        }
        match ended.recv_timeout(END_TIMEOUT) {
            Err(mpsc::RecvTimeoutError::Disconnected) => drop(thread.join()),
            _ => tracing::warn!("the engine's socket cannot be closed before the process ends"),
        }
        // Where the directory was moved or its lock replaced, another engine's may be at this path.
        if is_own() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Which file is at a path.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

fn accept(listener: &UnixListener, closing: &AtomicBool, engine: &WeakEngine, runtime: &tokio::runtime::Handle) {
    let under_way = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if closing.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else {
            // Too many files are open, perhaps: somebody closes one.
            std::thread::park_timeout(RETRY);
            continue;
        };
        if under_way.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            under_way.fetch_sub(1, Ordering::AcqRel);
            let why = format!("{CONNECTIONS_MAX} commands are under way in this engine: try again");
            answer(&stream, Err(Error::new(ErrorKind::Unsupported, why)));
            continue;
        }
        let (count, engine, runtime) = (Arc::clone(&under_way), engine.clone(), runtime.clone());
        let serve = move || {
            let _leaves = Leaves(count);
            serve(&stream, &engine, &runtime);
        };
        if let Err(error) = std::thread::Builder::new().name("relive-command".to_owned()).spawn(serve) {
            tracing::warn!(%error, "a command could not be taken: no thread can be started");
        }
    }
}

/// Counts a connection as over, however it ends.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(stream: &UnixStream, engine: &WeakEngine, runtime: &tokio::runtime::Handle) {
    if stream.set_read_timeout(Some(TIMEOUT)).is_err() {
        return;
    }
    let request = read(stream);
    let result = request.and_then(|request| {
        let engine = engine.upgrade().ok_or_else(|| Error::new(ErrorKind::Closed, "the engine was shut down"))?;
        runtime.block_on(perform(&Engine::unlistened(engine), request.command))
    });
    answer(stream, result);
}

/// # Errors
/// If no line of this protocol arrives in time.
fn read(stream: &UnixStream) -> Result<Request> {
    let mut line = Vec::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        let why = format!("the request has no end within {LINE_BYTES_MAX} bytes and {} s", TIMEOUT.as_secs());
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    Request::read(&line)
}

/// Who is gone needs no answer.
fn answer(mut stream: &UnixStream, result: Result<serde_json::Value>) {
    let Ok(mut line) = serde_json::to_vec(&Reply::of(result)) else { return };
    line.push(b'\n');
    if stream.set_write_timeout(Some(TIMEOUT)).is_ok() {
        let _ = stream.write_all(&line);
    }
}
