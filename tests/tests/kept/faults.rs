//! What is left when the store fails or the process dies while runs are deleted: each run is whole, or gone.

use std::sync::Arc;

use relive_engine::index::RUNS;
use relive_storage::{Fault, FaultStore, Survives};
use relive_storage::{MemoryStore, Store};
use relive_tests::manual_clock::ManualClock;

use super::support::{DAY, HOUR, Kept, brief, grandparent, is_whole, opened};
use super::system::{Probe, builder, guard, rows};

/// A store with runs, children and a run with two ids, whose time is over for whoever opens it next.
async fn filled(probe: &Probe) -> (MemoryStore, ManualClock) {
    let store = MemoryStore::new();
    let kept = Kept::open(&store, probe, ManualClock::default()).await;
    for label in ["a", "b", "c"] {
        kept.run(brief(label.to_owned()).id(format!("id of {label}")).tag("label", label)).await;
        kept.run(grandparent(label.to_owned(), label.to_owned())).await;
    }
    let handle = kept.engine.start(brief("held".to_owned()).id("one")).await.expect("the store works");
    probe.begun("held", 1).await;
    kept.engine.start(brief("held".to_owned()).id("another").cached()).await.expect("it joins");
    probe.open("held");
    guard(handle).await.expect("it ends");
    let clock = kept.clock.next_life(2 * DAY);
    kept.engine.shutdown().await.expect("it closes");
    (store, clock)
}

#[tokio::test]
async fn a_kill_between_any_two_deletions_leaves_no_half_run() {
    let probe = opened(&["a", "b", "c"]);
    let (filled, clock) = filled(&probe).await;
    let all = rows(&filled, RUNS).len();
    // The first commit of an engine counts the opening; those that follow delete.
    let (mut index, mut seen) = (1, Vec::new());
    loop {
        let mut left_before = usize::MAX;
        for count in 0.. {
            let store = FaultStore::over(&filled);
            store.fail(index, Fault::Unknown(Survives::First(count)));
            let clock = clock.next_life(HOUR);
            let engine = builder(&probe).keep(relive::Keep::age(DAY)).clock(clock.clone());
            let opened = engine.open_store(Arc::new(store.clone()) as Arc<dyn Store>).await;
            let engine = opened.expect("the engine opens");
            // It goes to sleep after its work, or its commit fails, and then nothing deletes any more.
            while clock.slept_count() == 0 && store.commit_count() <= index {
                tokio::task::yield_now().await;
            }
            let failed = engine.shutdown().await.is_err();
            let left = store.crash(Survives::All);
            is_whole(&left);
            seen.push(rows(&left, RUNS).len());
            if !failed {
                assert_eq!(seen.last(), Some(&0), "nothing was left to delete");
                assert!(seen.contains(&all) && seen.len() > all, "{seen:?}");
                return;
            }
            // The next life deletes the rest.
            let kept = Kept::open(&left, &probe, clock.next_life(HOUR)).await;
            assert_eq!(kept.runs(), []);
            is_whole(&left);
            kept.engine.shutdown().await.expect("it closes");
            let left = *seen.last().expect("it was seen just now");
            if left == left_before {
                break;
            }
            left_before = left;
        }
        index += 1;
    }
}

#[tokio::test]
async fn a_commit_that_fails_leaves_every_run_as_it_was() {
    let probe = opened(&["a", "b", "c"]);
    let (filled, clock) = filled(&probe).await;
    let store = FaultStore::over(&filled);
    store.fail(1, Fault::NotApplied);
    let engine = builder(&probe).clock(clock.clone()).open_store(Arc::new(store.clone()) as Arc<dyn Store>).await;
    let engine = engine.expect("the engine opens");
    while store.commit_count() <= 1 {
        tokio::task::yield_now().await;
    }
    assert!(engine.start(brief("x".to_owned())).await.is_err(), "the engine writes nothing any more");
    assert!(engine.shutdown().await.is_err());
    let left = store.crash(Survives::All);
    is_whole(&left);
    assert_eq!(rows(&left, RUNS).len(), rows(&filled, RUNS).len());
}
