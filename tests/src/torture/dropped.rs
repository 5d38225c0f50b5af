//! A run whose own future is dropped after its kth poll, for every k: as by a runtime that ends under it.
//!
//! On a store in memory, where the power goes at the same time. What the life before acknowledged, and what its effects told
//! the witness, the oracle compares with the log after the next life, as after a kill; but here no moment is left out.
//!
//! Invariant: each k has a store of its own; the last k is one that the run does not come to.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use relive::{Builder, Engine, Error, ErrorKind};
use relive_engine::options::RunTask;
use relive_storage::{FaultStore, Read};

use super::campaign::logs_in;
use super::child::run_id;
use super::oracle::{History, Life, RunExpectation, Violation, check};
use super::pipe::{AcknowledgedLine, Line};
use super::program::Program;
use super::task::{Input, torture_run};
use super::witness::{Witness, decoded, tick};

/// More polls than any of the programs takes.
const POLLS_MAX: usize = 100_000;

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct DropReport {
    /// Moments at which the run was dropped.
    pub moments: usize,
    /// Events that lives which ended so had acknowledged.
    pub acknowledged: usize,
    /// What must not be, and after how many polls.
    pub violations: Vec<(usize, Violation)>,
}

/// A task that ends, without having ended, after so many polls.
struct Dropped {
    task: Option<RunTask>,
    polls_left: usize,
    was_dropped: Arc<AtomicBool>,
}

impl Future for Dropped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.polls_left > 0 {
            this.polls_left -= 1;
            let polled = this.task.as_mut().map_or(Poll::Ready(()), |task| task.as_mut().poll(cx));
            if polled.is_ready() || this.polls_left > 0 {
                return polled;
            }
        }
        this.was_dropped.store(true, Ordering::Release);
        this.task = None;
        Poll::Ready(())
    }
}

/// Runs a program, its future dropped after no poll, after one, and so on until it ends by itself.
///
/// # Errors
/// If an engine cannot be opened or closed, or the run does not end when nothing happens to it.
pub async fn dropped(seed: u64, number: u32) -> relive::Result<DropReport> {
    let directory = tempfile::tempdir()?;
    let expected = vec![RunExpectation { number, result: Program::draw(seed, number).result() }];
    let mut report = DropReport::default();
    for polls in 0..POLLS_MAX {
        let store = FaultStore::new();
        let was_dropped = Arc::new(AtomicBool::new(false));
        let (flag, wrap) = (Arc::clone(&was_dropped), move |builder: Builder| {
            let was_dropped = Arc::clone(&was_dropped);
            builder.run_wrapper(Arc::new(move |task| {
                let (task, was_dropped) = (Some(task), Arc::clone(&was_dropped));
                Box::pin(Dropped { task, polls_left: polls, was_dropped })
            }))
        });
        let witness = |life: usize| directory.path().join(format!("witness-{polls}-{life}"));
        let first = live(&witness(0), &store, Input { seed, number }, wrap).await?;
        if !flag.load(Ordering::Acquire) {
            return Ok(report);
        }
        report.moments += 1;
        report.acknowledged += first.pipe.iter().filter(|line| matches!(line, Line::Acknowledged(_))).count();
        let left = FaultStore::over(&store.surviving());
        let second = live(&witness(1), &left, Input { seed, number }, |builder| builder).await?;
        let mut violations = Vec::new();
        let logs = logs_in(&(Arc::new(left.surviving()) as Arc<dyn Read>), &mut violations)?;
        violations.extend(check(&History { lives: vec![first, second], logs, expected: expected.clone() }).violations);
        report.violations.extend(violations.into_iter().map(|violation| (polls, violation)));
    }
    Err(Error::msg(format!("{POLLS_MAX} polls are not enough")))
}

/// One life: has the run end, or hears that it will not. Closes the engine in order, which must not hang either way.
async fn live(
    witness: &Path,
    store: &FaultStore,
    input: Input,
    wrap: impl FnOnce(Builder) -> Builder,
) -> relive::Result<Life> {
    let pipe: Arc<Mutex<Vec<Line>>> = Arc::default();
    let listener = Arc::clone(&pipe);
    let builder = Engine::builder().provide(Witness::open(witness)?).on_durable(move |acknowledged| {
        let (run, sequence, event) = (acknowledged.run, acknowledged.sequence, acknowledged.event.clone());
        listener.lock().push(Line::Acknowledged(AcknowledgedLine { tick: tick(), run, sequence, event }));
    });
    let engine = wrap(builder).open_store(Arc::new(store.clone())).await?;
    match engine.start(torture_run(input).id(run_id(input.number))).await {
        Ok(handle) => {
            pipe.lock().push(Line::Started(input.number, handle.id()));
            match handle.await {
                Ok(result) => pipe.lock().push(Line::Ended(input.number, Ok(result))),
                Err(error) if error.kind() == ErrorKind::Panicked => {}
                Err(error) => pipe.lock().push(Line::Ended(input.number, Err(error.to_string()))),
            }
        }
        // It was dropped before it began.
        Err(error) if error.kind() == ErrorKind::Panicked => {}
        Err(error) => return Err(error),
    }
    engine.shutdown().await?;
    let witness = if witness.exists() { decoded(&std::fs::read(witness)?)? } else { Vec::new() };
    let pipe = std::mem::take(&mut *pipe.lock());
    Ok(Life { pipe, witness })
}
