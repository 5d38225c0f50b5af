//! Runs that submit batches at the same time, callers that wait for a write, a thread that blocks, a disk that fails.
//!
//! Invariant: who is told that something is durable finds it on the disk.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use relive_storage::{Durability, Outcome};
use shuttle::future::{block_on, spawn};
use shuttle::rand::Rng;

use super::disk::{Disk, new_row, row};
use super::explore;
use crate::commit::{Acknowledged, Commits, Committer, CommitterThread, Submission, Waiter};
use crate::event::{Event, SignalReceived};
use crate::id::{RunId, Sequence, Timestamp};
use crate::observe::Metrics;
use crate::payload::Payload;
use crate::run::Mailbox;

/// Batches of each run: two that are submitted together, twice.
const BATCHES: u64 = 4;

/// What `on_durable` was told. Never held while another thread goes on.
type Told = Arc<Mutex<BTreeSet<(RunId, Sequence)>>>;

fn key(run: RunId, batch: u64) -> Vec<u8> {
    [run.as_bytes().as_slice(), &batch.to_be_bytes()].concat()
}

fn acknowledged(run: RunId, batch: u64) -> Acknowledged {
    let value = Payload::encode(&()).expect("nothing can be encoded");
    let event = Event::SignalReceived(SignalReceived { name: "batch".to_owned(), value, at: Timestamp(0) });
    Acknowledged { run, sequence: Sequence(batch), event }
}

/// A committer over a disk; `on_durable` looks whether it is told the truth.
fn start(disk: &Arc<Disk>, told: &Told) -> (Committer, CommitterThread) {
    let (listening, heard) = (Arc::clone(disk), Arc::clone(told));
    let on_durable = move |acknowledged: &Acknowledged| {
        let (run, sequence) = (acknowledged.run, acknowledged.sequence);
        assert!(
            listening.holds(&key(run, sequence.0)),
            "on_durable was told of {run} {sequence} before it was durable"
        );
        heard.lock().insert((run, sequence));
    };
    let metrics = Arc::new(Metrics::new(&crate::definition::Registry::default()));
    let commits = Commits::new(Arc::clone(disk) as _, Durability::Sync, Some(Arc::new(on_durable)), metrics);
    Committer::start(commits).expect("the thread starts")
}

/// A run and what it looks at.
#[derive(Clone)]
struct Writer {
    run: RunId,
    mailbox: Arc<Mailbox>,
    committer: Committer,
    disk: Arc<Disk>,
    told: Told,
}

impl Writer {
    fn new(number: u8, committer: &Committer, disk: &Arc<Disk>, told: &Told) -> Self {
        Self {
            run: RunId::from_bytes([number; 16]),
            mailbox: Arc::default(),
            committer: committer.clone(),
            disk: Arc::clone(disk),
            told: Arc::clone(told),
        }
    }

    fn submit(&self, batch: u64) {
        self.committer.submit(Submission {
            write: row(&key(self.run, batch)),
            bytes: 1,
            events: vec![acknowledged(self.run, batch)],
            waiter: Waiter::run(Arc::clone(&self.mailbox), batch, false),
            sync: false,
        });
    }

    /// All up to this batch must be on the disk, and `on_durable` must know.
    fn check(&self, batch: u64) {
        let told = self.told.lock().clone();
        for batch in 1..=batch {
            assert!(self.disk.holds(&key(self.run, batch)), "{} was told too early of batch {batch}", self.run);
            assert!(told.contains(&(self.run, Sequence(batch))), "{} was told before on_durable", self.run);
        }
    }

    /// Waits as a run's loop does. `false` if the commit failed.
    async fn durable(&self, batch: u64) -> bool {
        poll_fn(|cx| {
            let received = self.mailbox.receive(cx.waker());
            self.check(received.durable);
            match received.failure {
                Some(_) => Poll::Ready(false),
                None if received.durable >= batch => Poll::Ready(true),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Submits all batches, two at a time. `false` if a commit failed.
    async fn write(self) -> bool {
        for batch in 1..=BATCHES {
            self.submit(batch);
            if batch.is_multiple_of(2) && !self.durable(batch).await {
                return false;
            }
        }
        true
    }
}

fn runs_write_at_the_same_time() {
    let (disk, told) = (Disk::new(None), Told::default());
    let (committer, thread) = start(&disk, &told);
    let writers: Vec<_> = (1..=3).map(|number| Writer::new(number, &committer, &disk, &told)).collect();
    // A plain function of the first run waits on its thread, as for a barrier.
    let blocking = {
        let writer = writers[0].clone();
        shuttle::thread::spawn(move || {
            assert!(writer.mailbox.block_until(BATCHES), "nothing failed");
            writer.check(BATCHES);
        })
    };
    // An effect of the second waits for its own start.
    let barrier = {
        let writer = writers[1].clone();
        spawn(async move {
            poll_fn(|cx| if writer.mailbox.is_durable(1, cx.waker()) { Poll::Ready(()) } else { Poll::Pending }).await;
            writer.check(1);
        })
    };
    let writing: Vec<_> = writers.iter().map(|writer| spawn(writer.clone().write())).collect();
    for run in writing {
        assert!(block_on(run).expect("it does not panic"), "nothing failed");
    }
    blocking.join().expect("it does not panic");
    block_on(barrier).expect("it does not panic");
    committer.close();
    thread.join().expect("the committer does not panic");
    for writer in &writers {
        writer.check(BATCHES);
    }
}

fn callers_race_for_a_row() {
    let (disk, told) = (Disk::new(None), Told::default());
    let (committer, thread) = start(&disk, &told);
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let committer = committer.clone();
            spawn(async move { committer.commit(new_row(b"one")).await.expect("nothing failed") })
        })
        .collect();
    let outcomes: Vec<_> = callers.into_iter().map(|caller| block_on(caller).expect("it does not panic")).collect();
    let applied = outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count();
    assert_eq!(applied, 1, "a row is new once: {outcomes:?}");
    committer.close();
    thread.join().expect("the committer does not panic");
}

fn a_commit_fails() {
    let fails_at = shuttle::rand::thread_rng().gen_range(0..4);
    let (disk, told) = (Disk::new(Some(fails_at)), Told::default());
    let (committer, thread) = start(&disk, &told);
    let writers: Vec<_> = (1..=2).map(|number| Writer::new(number, &committer, &disk, &told)).collect();
    let blocking = {
        let writer = writers[0].clone();
        shuttle::thread::spawn(move || {
            if writer.mailbox.block_until(BATCHES) {
                writer.check(BATCHES);
            }
        })
    };
    let writing: Vec<_> = writers.iter().map(|writer| spawn(writer.clone().write())).collect();
    let ended: Vec<_> = writing.into_iter().map(|run| block_on(run).expect("it does not panic")).collect();
    blocking.join().expect("it does not panic");
    if disk.commit_count() > fails_at {
        assert!(committer.failure().is_some() && ended.contains(&false), "the failure was told to nobody");
        // Nothing more is tried, whoever asks.
        block_on(committer.commit(row(b"late"))).expect_err("nothing is taken after a commit that failed");
        assert_eq!(disk.commit_count(), fails_at + 1, "something was written after a commit that failed");
    } else {
        assert!(ended.iter().all(|written| *written), "nothing has failed, and somebody was told so");
    }
    committer.close();
    thread.join().expect("the committer does not panic");
}

fn the_committer_is_closed_under_its_callers() {
    let (disk, told) = (Disk::new(None), Told::default());
    let (committer, thread) = start(&disk, &told);
    let callers: Vec<_> = [b"a", b"b", b"c"]
        .map(|key| {
            let (committer, disk) = (committer.clone(), Arc::clone(&disk));
            spawn(async move {
                let told = committer.commit(row(key)).await;
                assert_eq!(told.is_ok(), disk.holds(key), "{told:?}");
            })
        })
        .into();
    committer.close();
    // Every one of them is told.
    callers.into_iter().for_each(|caller| block_on(caller).expect("it does not panic"));
    thread.join().expect("the committer does not panic");
}

fn the_committer_is_closed_under_its_runs() {
    let (disk, told) = (Disk::new(None), Told::default());
    let (committer, thread) = start(&disk, &told);
    let writers: Vec<_> = (1..=2).map(|number| spawn(Writer::new(number, &committer, &disk, &told).write())).collect();
    committer.close();
    // Every one of them is told, of all batches or that no more will be written.
    for writer in writers {
        let _written: bool = block_on(writer).expect("it does not panic");
    }
    thread.join().expect("the committer does not panic");
}

#[test]
fn a_run_is_told_whenever_the_committer_is_closed() {
    explore(the_committer_is_closed_under_its_runs);
}

#[test]
fn whoever_is_told_that_a_batch_is_durable_finds_it_on_the_disk() {
    explore(runs_write_at_the_same_time);
}

#[test]
fn one_of_those_who_race_for_a_row_gets_it() {
    explore(callers_race_for_a_row);
}

#[test]
fn a_commit_that_fails_is_told_to_everyone_and_is_the_last() {
    explore(a_commit_fails);
}

#[test]
fn a_caller_is_answered_whenever_the_committer_is_closed() {
    explore(the_committer_is_closed_under_its_callers);
}
