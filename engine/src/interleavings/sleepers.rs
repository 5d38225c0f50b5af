//! Whole runs that leave memory while they wait, and others who want something of them at that moment.
//!
//! Invariant: whoever asks is answered, and by the log's own answer; a run that slept has its effects once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::future::{block_on, spawn, yield_now};
use shuttle::thread::JoinHandle;

use super::disk::Disk;
use super::explore;
use super::time::Time;
use crate::canonical::canonical;
use crate::definition::{CachePolicy, Registry, TaskDefinition, TaskPolicy, TraceDefinition, TracePolicy};
use crate::engine::{Engine, Request};
use crate::entropy::Entropy;
use crate::error::ErrorKind;
use crate::event::{ErrorRecord, Event, TaskOutcome};
use crate::handle::{Cancellation, Handle, RunStatus};
use crate::id::{CodeHash, RunId};
use crate::index::{Standing, UNFINISHED, UnfinishedRecord};
use crate::options::Options;
use crate::payload::{Encoding, Payload, PayloadError};
use crate::replay::{SIGNAL, SLEEP};
use crate::run::{Arguments, CallWork, Effect, Output, SignalWait, TraceCall, TraceFuture, provided};

/// A minute: in seconds.
const NAP: u64 = 60;

const fn trace(name: &'static str, line: u32) -> TraceDefinition {
    let code = CodeHash::from_bytes([1; 16]);
    let (file, module, policy) = (file!(), module_path!(), TracePolicy::DEFAULT);
    TraceDefinition { name, code, file, line, module, outside_call: false, policy }
}

const fn task(name: &'static str, line: u32, body: Body) -> TaskDefinition {
    TaskDefinition {
        name,
        code: CodeHash::from_bytes([2; 16]),
        file: file!(),
        line,
        module: module_path!(),
        cache: CachePolicy::DEFAULT,
        policy: TaskPolicy::DEFAULT,
        canonical: |input, _| canonical(&input.decode::<u64>()?),
        body,
    }
}

type Body = fn(&Payload) -> Result<crate::run::BoxedFuture, PayloadError>;

static NAPS: TraceDefinition = trace(SLEEP, line!());
static ANSWER: TraceDefinition = trace(SIGNAL, line!());
static STEP: TraceDefinition = trace("interleavings::step", line!());

/// Sleeps twice, with an effect between and behind.
static SLEEPER: TaskDefinition = task("interleavings::sleeper", line!(), |input| {
    let secs = input.decode::<u64>()?;
    Ok(Box::pin(async move {
        nap(secs).await?;
        step(1).await?;
        nap(secs).await?;
        step(2).await
    }))
});

/// Sleeps, and then waits for an answer.
static ASKER: TaskDefinition = task("interleavings::asker", line!(), |input| {
    let secs = input.decode::<u64>()?;
    Ok(Box::pin(async move {
        nap(secs).await?;
        let wait = SignalWait { name: "answer".to_owned(), accepts: |_| Ok(()), type_name: "u64" };
        call(&ANSWER, 0, CallWork::Signal(wait)).await
    }))
});

async fn call(definition: &'static TraceDefinition, argument: u64, work: CallWork) -> Output {
    let arguments = Arguments::of(&BTreeMap::from([("argument", argument)]), &Encoding::DEFAULT, &[]);
    let call = TraceCall { definition, arguments, file: file!(), line: line!(), work };
    TraceFuture::new(call).await.unwrap_or_else(|error| Err(error.to_record()))
}

async fn nap(secs: u64) -> Output {
    call(&NAPS, secs, CallWork::Sleep { duration: Duration::from_secs(secs), is_limit: false }).await
}

/// An effect that is counted.
async fn step(number: u64) -> Output {
    let effect = async move {
        provided::<Begun>().map_err(|error| error.to_record())?.0.fetch_add(1, Ordering::Relaxed);
        encode(number)
    };
    call(&STEP, number, CallWork::Effect(Effect::Once(Box::pin(effect)))).await
}

fn encode(number: u64) -> Output {
    Payload::encode(&number).map_err(|error| ErrorRecord::new(ErrorKind::Payload, error.to_string()))
}

/// How many effects have begun.
#[derive(Debug, Default)]
struct Begun(AtomicUsize);

/// Ids in the order in which they are drawn: the schedule decides everything.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), String> {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes.iter_mut().zip(number.into_iter().rev().cycle()).for_each(|(byte, number)| *byte = number);
        Ok(())
    }
}

/// An engine that puts to sleep whatever it can, over a disk, with a time of its own.
struct Life {
    engine: Engine,
    begun: Arc<Begun>,
    time: Time,
    flow: Option<JoinHandle<()>>,
}

impl Life {
    async fn open(disk: &Arc<Disk>) -> Self {
        let mut life = Self::open_still(disk).await;
        life.flow();
        life
    }

    /// Time stands still in it, until it is told to pass.
    async fn open_still(disk: &Arc<Disk>) -> Self {
        let (begun, time) = (Arc::new(Begun::default()), Time::default());
        let mut options = Options {
            strict: false,
            sleep_out_after: Duration::ZERO,
            clock: Arc::new(time.clone()),
            entropy: Arc::new(Counted::default()),
            // A turn is to be had for one run at a time.
            runs_max: 1,
            ..Options::default()
        };
        options.provide(Arc::clone(&begun));
        let registry = Registry::new([&SLEEPER, &ASKER], [&NAPS, &ANSWER, &STEP]).expect("the names differ");
        let engine = Engine::open(Arc::clone(disk) as _, registry, options).await.expect("the engine opens");
        Self { engine, begun, time, flow: None }
    }

    /// Waits until a run is put to sleep.
    async fn asleep(&self, run: RunId) {
        let key = crate::index::run_key(run);
        loop {
            let store = self.engine.store().expect("the engine is open");
            let row = store.get(UNFINISHED, &key).expect("memory does not fail").expect("it is unfinished");
            let record: UnfinishedRecord = crate::index::open(UNFINISHED, &key, &row).expect("the row is whole");
            if matches!(record.standing, Standing::Asleep { .. }) {
                return;
            }
            yield_now().await;
        }
    }

    /// From here on time passes.
    fn flow(&mut self) {
        self.flow = Some(self.time.flow());
    }

    fn effects(&self) -> usize {
        self.begun.0.load(Ordering::Relaxed)
    }

    /// What the log says that the run came to.
    fn recorded(&self, run: RunId) -> Option<TaskOutcome> {
        let store = self.engine.store().expect("the engine is open");
        match crate::log::last_event(store.as_ref(), run).expect("the log is whole") {
            Some((_, Event::TaskCompleted(completed))) => Some(completed.outcome),
            _ => None,
        }
    }

    /// The end: who has the engine besides must have ended.
    fn end(self) {
        drop(self.engine);
        self.time.end();
        self.flow.map(JoinHandle::join).transpose().expect("it does not panic");
    }
}

async fn start(engine: &Engine, definition: &'static TaskDefinition) -> Handle {
    let input = Payload::encode(&NAP).expect("a number can be encoded");
    let canonical = canonical(&NAP).expect("a number has a canonical form").into();
    let readable = |payload: &Payload| payload.decode::<u64>().is_ok();
    let (id, tags, child, refresh, cached) = (None, Vec::new(), None, false, false);
    let request = Request { definition, input, canonical, id, tags, child, refresh, cached, readable };
    engine.start(request).await.expect("it starts")
}

fn ok(number: u64) -> TaskOutcome {
    TaskOutcome::Ok(encode(number).expect("a number can be encoded"))
}

async fn cancelled_while_it_sleeps_and_wakes() {
    let life = Life::open(&Disk::new(None)).await;
    let handle = start(&life.engine, &SLEEPER).await;
    let cancelling = [(); 2].map(|()| {
        let (engine, run) = (life.engine.clone(), handle.run());
        spawn(async move { engine.cancel(run).await.expect("the engine is open") })
    });
    let outcome = handle.outcome().await.expect("it ends");
    for cancelling in cancelling {
        let reply = cancelling.await.expect("it does not panic");
        let is_cancelled = *outcome == TaskOutcome::Cancelled;
        assert_eq!(reply, if is_cancelled { Cancellation::Cancelled } else { Cancellation::AlreadyEnded });
    }
    assert!(life.effects() <= 2, "{} effects began", life.effects());
    assert_eq!(life.recorded(handle.run()), Some(TaskOutcome::clone(&outcome)));
    drop(handle);
    life.end();
}

async fn cancelled_while_time_stands_still() {
    let life = Life::open_still(&Disk::new(None)).await;
    let handle = start(&life.engine, &SLEEPER).await;
    let reply = life.engine.cancel(handle.run()).await.expect("the engine is open");
    assert_eq!(reply, Cancellation::Cancelled);
    assert_eq!(*handle.outcome().await.expect("it ends"), TaskOutcome::Cancelled);
    drop(handle);
    life.end();
}

async fn joined_while_it_sleeps_and_wakes() {
    let life = Life::open(&Disk::new(None)).await;
    let calls = [(); 3].map(|()| {
        let engine = life.engine.clone();
        spawn(async move {
            let handle = start(&engine, &SLEEPER).await;
            (handle.run(), handle.outcome().await.expect("it ends"))
        })
    });
    let mut runs = Vec::new();
    for call in calls {
        let (run, outcome) = call.await.expect("it does not panic");
        assert_eq!(*outcome, ok(2));
        runs.push(run);
    }
    assert!(runs.iter().all(|run| *run == runs[0]), "equal calls are one run: {runs:?}");
    assert_eq!(life.effects(), 2);
    life.end();
}

async fn looked_at_while_it_sleeps_and_wakes() {
    let life = Life::open(&Disk::new(None)).await;
    let run = start(&life.engine, &SLEEPER).await.run();
    let looking = [(); 3].map(|()| {
        let engine = life.engine.clone();
        spawn(async move {
            let look = || engine.handle(run).expect("it is known, asleep or awake");
            for _ in 0..4 {
                let status = look().status();
                let is_right = matches!(status, RunStatus::Queued | RunStatus::Running | RunStatus::Completed);
                assert!(is_right, "{status}");
            }
            assert_eq!(*look().outcome().await.expect("it ends"), ok(2));
        })
    });
    for looking in looking {
        looking.await.expect("it does not panic");
    }
    assert_eq!((life.effects(), life.recorded(run)), (2, Some(ok(2))));
    life.end();
}

async fn let_go_of_and_held_again() {
    let mut life = Life::open_still(&Disk::new(None)).await;
    let run = start(&life.engine, &SLEEPER).await.run();
    life.asleep(run).await;
    let holding = [(); 3].map(|()| {
        let engine = life.engine.clone();
        spawn(async move {
            let hold = || engine.handle(run).expect("it is known");
            drop(hold());
            assert_eq!(*hold().outcome().await.expect("it ends"), ok(2));
        })
    });
    life.flow();
    for holding in holding {
        holding.await.expect("it does not panic");
    }
    life.end();
}

async fn signalled_while_it_sleeps_and_wakes() {
    let life = Life::open(&Disk::new(None)).await;
    let handle = start(&life.engine, &ASKER).await;
    let signalling = {
        let (engine, run) = (life.engine.clone(), handle.run());
        spawn(async move { engine.signal(run, "answer", Payload::encode(&42_u64).expect("a number")).await })
    };
    assert_eq!(*handle.outcome().await.expect("it ends"), ok(42));
    signalling.await.expect("it does not panic").expect("the run takes it");
    drop(handle);
    life.end();
}

async fn signalled_before_it_wakes() {
    let mut life = Life::open_still(&Disk::new(None)).await;
    let handle = start(&life.engine, &ASKER).await;
    let answer = Payload::encode(&42_u64).expect("a number can be encoded");
    life.engine.signal(handle.run(), "answer", answer).await.expect("the run takes it");
    life.flow();
    assert_eq!(*handle.outcome().await.expect("it ends"), ok(42));
    drop(handle);
    life.end();
}

/// Three who signal, and one who cancels: whoever is first ends the run.
async fn signalled_and_cancelled_as_it_ends() {
    let life = Life::open(&Disk::new(None)).await;
    let handle = start(&life.engine, &ASKER).await;
    let run = handle.run();
    let signalling = [1_u64, 2, 3].map(|number| {
        let engine = life.engine.clone();
        spawn(async move { engine.signal(run, "answer", Payload::encode(&number).expect("a number")).await })
    });
    let cancelling = {
        let engine = life.engine.clone();
        spawn(async move { engine.cancel(run).await.expect("the engine is open") })
    };
    let outcome = handle.outcome().await.expect("it ends");
    let mut taken = 0;
    for signalling in signalling {
        match signalling.await.expect("it does not panic") {
            Ok(()) => taken += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Ended),
        }
    }
    let is_cancelled = cancelling.await.expect("it does not panic") == Cancellation::Cancelled;
    assert_eq!(is_cancelled, *outcome == TaskOutcome::Cancelled);
    let received = crate::inspect::events(life.engine.store().expect("the engine is open"), run)
        .filter(|logged| matches!(&logged.as_ref().expect("the log is whole").event, Event::SignalReceived(_)))
        .count();
    assert_eq!(received, taken, "what is acknowledged is in the log");
    assert_eq!(life.recorded(run), Some(TaskOutcome::clone(&outcome)), "behind it, the end");
    drop(handle);
    life.end();
}

async fn closed_while_it_sleeps_and_wakes() {
    let disk = Disk::new(None);
    let Life { engine, time, flow, begun } = Life::open(&disk).await;
    let handle = start(&engine, &SLEEPER).await;
    let run = handle.run();
    let closing = spawn(async move { drop(engine) });
    let outcome = handle.outcome().await;
    closing.await.expect("it does not panic");
    // The power goes.
    let left = disk.copy();
    time.end();
    flow.map(JoinHandle::join).transpose().expect("it does not panic");
    drop(handle);

    let life = Life::open(&left).await;
    let again = life.engine.handle(run).expect("what was started is there").outcome().await;
    assert_eq!(*again.expect("it goes on"), ok(2));
    match outcome {
        Ok(outcome) => assert_eq!((&*outcome, life.effects()), (&ok(2), 0), "what was told is on record"),
        // One effect may have been under way.
        Err(_) => assert!(life.effects() + begun.0.load(Ordering::Relaxed) <= 3),
    }
    life.end();
}

#[test]
fn a_cancellation_is_answered_as_the_run_ends() {
    explore(|| block_on(cancelled_while_it_sleeps_and_wakes()));
}

#[test]
fn a_cancellation_does_not_wait_for_the_run_to_be_due() {
    explore(|| block_on(cancelled_while_time_stands_still()));
}

#[test]
fn equal_calls_join_a_run_whether_it_sleeps_or_wakes() {
    explore(|| block_on(joined_while_it_sleeps_and_wakes()));
}

#[test]
fn a_run_is_known_whether_it_sleeps_or_wakes() {
    explore(|| block_on(looked_at_while_it_sleeps_and_wakes()));
}

#[test]
fn whoever_holds_a_run_that_sleeps_hears_of_its_end() {
    explore(|| block_on(let_go_of_and_held_again()));
}

#[test]
fn a_signal_reaches_a_run_whether_it_sleeps_or_wakes() {
    explore(|| block_on(signalled_while_it_sleeps_and_wakes()));
}

#[test]
fn a_run_that_was_signalled_in_its_sleep_wakes_when_it_is_due() {
    explore(|| block_on(signalled_before_it_wakes()));
}

#[test]
fn a_signal_that_is_acknowledged_as_its_run_ends_is_in_the_log() {
    explore(|| block_on(signalled_and_cancelled_as_it_ends()));
}

#[test]
fn whoever_waits_hears_of_a_close_and_the_next_life_goes_on() {
    explore(|| block_on(closed_while_it_sleeps_and_wakes()));
}
