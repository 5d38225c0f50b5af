//! Group commit: one thread makes the writes of all runs durable together.
//!
//! Submissions come in through a channel; the thread takes all that wait, commits them with one sync, tells
//! `on_durable`, and wakes the waiters. It needs no async runtime. In tests, who submits a write may commit it by itself
//! instead, in place.
//!
//! Invariants: nobody is told before the commit returned; the batches of one run become durable in their order; after a
//! failed commit everyone of its group and everyone after gets the error, and the engine is told, who tells all the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use relive_storage::planted::{Planted, planted};
use relive_storage::{Durability, KeyRange, Keyspace, Outcome, Store, Write};
use tokio::sync::oneshot;

use crate::clock::{Clock, SystemClock};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::event::Event;
use crate::id::{RunId, Sequence};
use crate::observe::{Counted, Metrics};
use crate::panic::{catch, drop_quietly};
use crate::run::Mailbox;
use crate::sync::channel::{Receiver, Sender, TryRecvError, unbounded};
use crate::sync::{Mutex, thread};

/// Largest group: 8 MiB, so that the first waiter of a group does not wait for a long write of others.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Largest group in writes.
const GROUP_WRITES_MAX: usize = 8192;

/// How long the committer looks for more before it sleeps: 50 µs, about what waking it takes. Costs at most as much
/// processor time per group, and saves a sequential trace about a tenth (`make bench`).
const SPIN: Duration = if cfg!(feature = "shuttle") { Duration::ZERO } else { Duration::from_micros(50) };

/// An event that is durable: what `on_durable` is told.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The run it belongs to.
    pub run: RunId,
    /// Its position there.
    pub sequence: Sequence,
    /// The event.
    pub event: Event,
}

/// Called for every event once it is durable, before anyone who waits for it is woken.
pub type OnDurable = Arc<dyn Fn(&Acknowledged) + Send + Sync>;

/// A write and who waits for it.
pub(crate) struct Submission {
    pub(crate) write: Write,
    pub(crate) bytes: usize,
    /// For `on_durable`; empty if nobody listens.
    pub(crate) events: Vec<Acknowledged>,
    pub(crate) waiter: Waiter,
    /// It is synced also where durability is buffered.
    pub(crate) sync: bool,
}

/// Who is told what became of a write.
pub(crate) enum Waiter {
    /// A run.
    Run(RunWaiter),
    /// Somebody who awaits it.
    Once(oneshot::Sender<Result<Outcome>>),
    /// Is called by the committer, whoever awaits what; or dropped, if nothing is written any more.
    Call(Box<dyn FnOnce(Result<Outcome>) + Send>),
}

/// A run that waits: told behind which position its log is durable, or that nothing more will be. Never neither: what was sent
/// in the moment in which the thread ended is dropped with the channel.
pub(crate) struct RunWaiter {
    /// `None` once it is told.
    mailbox: Option<Arc<Mailbox>>,
    batch: u64,
    /// The run is over with it.
    is_last: bool,
}

impl RunWaiter {
    fn tell(mut self, write: Write, result: std::result::Result<Outcome, &String>) {
        let Some(mailbox) = self.mailbox.take() else { return };
        match result {
            Ok(Outcome::Applied) if self.is_last => mailbox.ended(self.batch, write.operations),
            Ok(Outcome::Applied) => mailbox.durable(self.batch, write.operations),
            Ok(Outcome::Refused { .. }) => mailbox.refused(),
            Err(why) => mailbox.failed(why),
        }
    }
}

impl Drop for RunWaiter {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.unwritten();
        }
    }
}

/// What the committer's thread is sent.
enum Message {
    /// And that it is counted as submitted: also if it is dropped with the channel, that is over then.
    Submit(Submission, Counted),
    Close,
}

/// The way to the committer's thread. Cloned freely; the thread ends when it is closed, or when the last is gone.
#[derive(Clone)]
pub(crate) struct Committer {
    way: Way,
    failure: Arc<Failure>,
    metrics: Arc<Metrics>,
    /// The thread has it; gone with that.
    store: Weak<dyn Store>,
}

/// The first commit that failed.
#[derive(Default)]
struct Failure {
    why: Mutex<Option<String>>,
    /// Who tells those that wait for something else than a commit.
    engine: OnceLock<Weak<Inner>>,
}

/// How a write gets committed.
#[derive(Clone)]
enum Way {
    Thread(Sender<Message>),
    /// By who submits it; and whether that is over.
    InPlace(Arc<(Commits, AtomicBool)>),
}

/// The thread, to be waited for at the end.
pub(crate) type CommitterThread = thread::JoinHandle<()>;

impl Committer {
    /// Starts the thread.
    pub(crate) fn start(commits: Commits) -> Result<(Self, CommitterThread)> {
        // Unbounded, because the body's thread must not block: each run has at most 1 MiB here (`run`), and runs are
        // bounded.
        let (sender, receiver) = unbounded();
        let (failure, metrics) = (Arc::clone(&commits.failure), Arc::clone(&commits.metrics));
        let store = Arc::downgrade(&commits.store);
        let worker = Worker { commits, receiver };
        let thread =
            thread::Builder::new().name("relive-commit".to_owned()).spawn(move || worker.work()).map_err(|error| {
                Error::new(ErrorKind::Storage, "the committer's thread cannot be started").caused_by(error)
            })?;
        Ok((Self { way: Way::Thread(sender), failure, metrics, store }, thread))
    }

    /// Has every write committed by who submits it.
    pub(crate) fn in_place(commits: Commits) -> Self {
        let (failure, metrics) = (Arc::clone(&commits.failure), Arc::clone(&commits.metrics));
        let store = Arc::downgrade(&commits.store);
        Self { way: Way::InPlace(Arc::new((commits, AtomicBool::new(false)))), failure, metrics, store }
    }

    /// A committer that commits nothing: who submits is told that the engine does not write.
    pub(crate) fn closed(metrics: Arc<Metrics>) -> Self {
        let (sender, _) = unbounded();
        let store: Weak<dyn Store> = Weak::<relive_storage::MemoryStore>::new();
        Self { way: Way::Thread(sender), failure: Arc::default(), metrics, store }
    }

    /// Gives a write to the committer. Its waiter is told, also if the committer is gone or ends in this moment.
    pub(crate) fn submit(&self, submission: Submission) {
        match &self.way {
            Way::Thread(sender) => {
                // If the thread is gone, who is dropped is told.
                drop(sender.send(Message::Submit(submission, self.metrics.submitted())));
            }
            // Who is dropped is told.
            Way::InPlace(place) if place.1.load(Ordering::Acquire) => drop(submission),
            Way::InPlace(place) => {
                let Submission { write, events, waiter, sync, .. } = submission;
                let mut counted = vec![self.metrics.submitted()];
                place.0.commit(&mut vec![write], &mut vec![(waiter, events)], &mut counted, sync);
            }
        }
    }

    /// Gives a write to the committer and waits for what becomes of it.
    pub(crate) async fn commit(&self, write: Write) -> Result<Outcome> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Submission { write, bytes: 0, events: Vec::new(), waiter: Waiter::Once(sender), sync: false });
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Gives a write to the committer that nobody waits for.
    pub(crate) fn leave(&self, write: Write) {
        let (sender, _) = oneshot::channel();
        self.submit(Submission { write, bytes: 0, events: Vec::new(), waiter: Waiter::Once(sender), sync: false });
    }

    /// An error if what was committed is no longer where it will be looked for.
    pub(crate) fn check(&self) -> Result<()> {
        match self.store.upgrade() {
            Some(store) => store.check().map_err(storage_error),
            None => Ok(()),
        }
    }

    /// Gives space back that is not used any more. Blocks, for as long as it takes to rewrite the range.
    pub(crate) fn reclaim(&self, keyspace: Keyspace, range: &KeyRange) -> Result<()> {
        match self.store.upgrade() {
            Some(store) => store.reclaim(keyspace, range).map_err(storage_error),
            None => Ok(()),
        }
    }

    /// Has the thread end, after what was submitted before.
    pub(crate) fn close(&self) {
        match &self.way {
            // If it is gone already, that is what was wanted.
            Way::Thread(sender) => drop(sender.send(Message::Close)),
            Way::InPlace(place) => place.1.store(true, Ordering::Release),
        }
    }

    /// Why nothing is written any more, if so.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.why.lock().as_deref().map(failed)
    }

    /// The same, without the words around it.
    pub(crate) fn failure_reason(&self) -> Option<String> {
        self.failure.why.lock().clone()
    }

    /// Has an engine told of the first failure, on the thread that commits. It asks itself for one that was before this.
    pub(crate) fn tell(&self, engine: Weak<Inner>) {
        // Set once: a committer has one engine.
        let _ = self.failure.engine.set(engine);
    }
}

/// The error of everyone whose write came after the engine was closed: it is not made.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::Closed, "the engine was shut down: open it again")
}

/// The error of everyone whose write did not become durable.
pub(crate) fn failed(why: &str) -> Error {
    Error::new(
        ErrorKind::Storage,
        format!("a commit failed, and nothing is written until the engine is opened again: {why}"),
    )
}

impl Waiter {
    /// `is_last`: the run is over with this batch.
    pub(crate) fn run(mailbox: Arc<Mailbox>, batch: u64, is_last: bool) -> Self {
        Self::Run(RunWaiter { mailbox: Some(mailbox), batch, is_last })
    }

    /// `write` is what it was: a run gets its memory back.
    fn tell(self, write: Write, result: std::result::Result<Outcome, &String>) {
        match self {
            Self::Run(waiter) => waiter.tell(write, result),
            Self::Once(sender) => {
                // Nobody waits any more: the write is made all the same.
                let _ = sender.send(result.map_err(|why| failed(why)));
            }
            Self::Call(call) => call(result.map_err(|why| failed(why))),
        }
    }
}

/// Makes writes durable, and tells who waits for them.
pub(crate) struct Commits {
    store: Arc<dyn Store>,
    durability: Durability,
    on_durable: Option<OnDurable>,
    failure: Arc<Failure>,
    /// The system's, whatever the engine's: it times what commits take, and the thread's own waiting.
    clock: SystemClock,
    metrics: Arc<Metrics>,
}

struct Worker {
    commits: Commits,
    receiver: Receiver<Message>,
}

impl Worker {
    fn work(self) {
        let mut writes = Vec::new();
        let mut waiting = Vec::new();
        let mut counted = Vec::new();
        let mut closing = false;
        while !closing {
            let mut bytes = 0;
            let mut sync = false;
            let mut next = self.next();
            closing = next.is_none();
            while let Some(message) = next {
                let Message::Submit(submission, one) = message else {
                    closing = true;
                    break;
                };
                bytes += submission.bytes;
                sync = submission.sync || (sync && !planted(Planted::SyncOfLast));
                writes.push(submission.write);
                waiting.push((submission.waiter, submission.events));
                counted.push(one);
                let full = bytes >= GROUP_BYTES_MAX || writes.len() >= GROUP_WRITES_MAX;
                next = if full { None } else { self.receiver.try_recv().ok() };
            }
            if !writes.is_empty() {
                self.commits.commit(&mut writes, &mut waiting, &mut counted, sync);
            }
        }
    }

    /// Waits for a message; `None` when nobody can send any more. A run that works on its own comes back soon after it was
    /// woken, and sooner than this thread would wake: so it looks for a moment before it sleeps.
    fn next(&self) -> Option<Message> {
        let clock = &self.commits.clock;
        let began = clock.elapsed();
        while clock.elapsed().saturating_sub(began) < SPIN {
            match self.receiver.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => (0..32).for_each(|_| std::hint::spin_loop()),
            }
        }
        self.receiver.recv().ok()
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        drop_quietly(self.on_durable.take());
    }
}

/// Tells a waiter, whose waker may be the program's own.
pub(crate) fn wakes(wake: impl FnOnce()) {
    if let Err(why) = catch(wake) {
        tell(|| tracing::error!(%why, "the waker of who waits for a commit panicked"));
    }
}

/// Says something, whatever the listener does: this thread must go on.
fn tell(say: impl FnOnce()) {
    let _ = catch(say);
}

impl Commits {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        durability: Durability,
        on_durable: Option<OnDurable>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { store, durability, on_durable, failure: Arc::default(), clock: SystemClock::default(), metrics }
    }

    fn commit(
        &self,
        writes: &mut Vec<Write>,
        waiting: &mut Vec<(Waiter, Vec<Acknowledged>)>,
        counted: &mut Vec<Counted>,
        sync: bool,
    ) {
        let durability = if sync { Durability::Sync } else { self.durability };
        if planted(Planted::AcknowledgedEarly) {
            self.acknowledge_early(waiting);
        }
        if planted(Planted::LastGroupDropped) {
            counted.clear();
            return self.commit_behind(writes, waiting, durability);
        }
        // Taken out of its lock at once: a failure stays.
        let earlier = self.failure.why.lock().clone();
        let began = self.clock.elapsed();
        let is_first = earlier.is_none();
        let result = match earlier {
            Some(why) => Err(why),
            None => {
                let committed = catch(|| self.store.commit(writes, durability));
                match committed {
                    Ok(Ok(outcomes)) if outcomes.len() == waiting.len() => Ok(outcomes),
                    Ok(Ok(outcomes)) => Err(format!("{} writes had {} outcomes", writes.len(), outcomes.len())),
                    Ok(Err(error)) => Err(storage_error(error.error).to_string()),
                    Err(why) => Err(format!("the store panicked: {why}")),
                }
            }
        };
        // Before anybody is told, who may look.
        self.metrics.committed(writes.len(), self.clock.elapsed().saturating_sub(began));
        counted.clear();
        match result {
            Ok(outcomes) => {
                if let Some(on_durable) = &self.on_durable {
                    let applied = waiting.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Applied);
                    for acknowledged in applied.flat_map(|((_, events), _)| events) {
                        // A listener that panics must not take the commits of all runs with it.
                        if let Err(why) = catch(|| on_durable(acknowledged)) {
                            tell(|| tracing::error!(run = %acknowledged.run, %why, "the on_durable callback panicked"));
                        }
                    }
                }
                for (((waiter, _), write), outcome) in waiting.drain(..).zip(writes.drain(..)).zip(outcomes) {
                    wakes(|| waiter.tell(write, Ok(outcome)));
                }
            }
            Err(why) => {
                if is_first {
                    self.fails(&why);
                }
                for ((waiter, _), write) in waiting.drain(..).zip(writes.drain(..)) {
                    wakes(|| waiter.tell(write, Err(&why)));
                }
            }
        }
    }

    /// The first failure: kept, and told to all that wait for anything at all.
    fn fails(&self, why: &str) {
        tell(|| tracing::error!(%why, "a commit failed; nothing is written until the engine is opened again"));
        if planted(Planted::NotPoisoned) {
            return;
        }
        *self.failure.why.lock() = Some(why.to_owned());
        // It is kept before the engine looks who is there: whoever comes after that look finds it.
        if let Some(engine) = self.failure.engine.get().and_then(Weak::upgrade) {
            wakes(|| engine.commit_failed(why));
        }
    }

    /// A planted fault: everyone is told before the commit.
    fn acknowledge_early(&self, waiting: &[(Waiter, Vec<Acknowledged>)]) {
        if let Some(on_durable) = &self.on_durable {
            waiting.iter().flat_map(|(_, events)| events).for_each(|acknowledged| on_durable(acknowledged));
        }
    }

    /// A planted fault: a group is written when the next one comes.
    fn commit_behind(
        &self,
        writes: &mut Vec<Write>,
        waiting: &mut Vec<(Waiter, Vec<Acknowledged>)>,
        durability: Durability,
    ) {
        static BEHIND: parking_lot::Mutex<Vec<Write>> = parking_lot::Mutex::new(Vec::new());
        let behind = std::mem::replace(&mut *BEHIND.lock(), writes.clone());
        let _ = self.store.commit(&behind, durability);
        self.acknowledge_early(waiting);
        let told = waiting.drain(..).zip(writes.drain(..));
        told.for_each(|((waiter, _), write)| waiter.tell(write, Ok(Outcome::Applied)));
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
