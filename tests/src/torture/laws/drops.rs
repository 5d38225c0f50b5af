//! A law about callers: one that drops its future, after whichever poll, changes nothing about the run.
//!
//! Invariant: the run ends as it would have, and its effects begin once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use relive::Engine;
use relive_storage::MemoryStore;

use super::expect;
use crate::torture::program::Program;
use crate::torture::task::{Input, torture_run};
use crate::torture::witness::{Witness, WitnessLine, decoded};

/// More polls than any call needs.
const POLLS_MAX: u64 = 10_000;

/// Calls a run and lets go of it after no poll, after one, and so on until one ends by itself.
pub(super) async fn every_poll() -> relive::Result<()> {
    for polls in 0..POLLS_MAX {
        let number = u32::try_from(polls % 64).unwrap_or(0);
        if after(polls, number).await? {
            return Ok(());
        }
    }
    expect(false, || format!("{POLLS_MAX} polls are not enough"))
}

/// Drops the call after so many polls; says whether it had ended by then.
async fn after(polls: u64, number: u32) -> relive::Result<bool> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("witness");
    let engine = Engine::builder().provide(Witness::open(&path)?).open_store(Arc::new(MemoryStore::new())).await?;
    let call = || torture_run(Input { seed: 11, number }).id("dropped");
    let mut left = polls;
    let ended = {
        let mut future = pin!(engine.run(call()));
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            match future.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending if left == 0 => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    // Joins it, or begins it if nothing had begun.
    let result = engine.run(call()).await?;
    let expected = Program::draw(11, number).result();
    expect(result == expected, || format!("after {polls} polls: {result} instead of {expected}"))?;
    engine.shutdown().await?;
    let lines: Vec<WitnessLine> = decoded(&std::fs::read(&path)?)?;
    let mut keys: Vec<_> = lines.iter().filter(|line| line.begins).map(|line| &line.key).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    expect(keys.len() == count, || format!("after {polls} polls: {} effects began again", count - keys.len()))?;
    Ok(ended)
}
