//! Runs that others called: none goes before those that need it, and nothing that leads to one is left.

use std::sync::Arc;

use relive::{RunId, Sequence};
use relive_engine::index::IDS;
use relive_engine::log::LOG;
use relive_storage::MemoryStore;
use relive_tests::manual_clock::ManualClock;

use super::support::{
    DAY, HOUR, Kept, MINUTE, brief, counting, forever, grandparent, is_whole, newest, opened, parent, plain,
    short_parent,
};
use super::system::{guard, rows};

#[tokio::test]
async fn what_an_unfinished_run_called_stays_also_through_another() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a"]));
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    let handle = kept.engine.start(grandparent("a".to_owned(), "later".to_owned())).await?;
    let run = handle.id();
    probe.begun("later", 1).await;
    kept.after(1_000 * DAY).await;
    assert_eq!(kept.runs().len(), 3, "it, whom it called, and whom that called");
    // After a crash it goes on with what they found.
    let left = store.copy();
    let clock = kept.clock.next_life(DAY);
    drop(kept);
    drop(handle);
    probe.open("later");
    let kept = Kept::open(&left, &probe, clock).await;
    assert_eq!(guard(kept.engine.handle::<u32, relive::Error>(run)?).await?, 1);
    assert_eq!(probe.count("a"), 2, "each of the two steps once");
    // They go when it goes, though one says less, and one a day.
    kept.after(29 * MINUTE).await;
    assert_eq!(kept.runs().len(), 3);
    kept.after(MINUTE).await;
    assert_eq!(kept.runs(), []);
    is_whole(&left);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn a_child_that_is_to_be_kept_for_longer_stays_when_its_parent_goes() -> relive::Result<()> {
    let store = MemoryStore::new();
    let kept = Kept::open(&store, &opened(&["a"]), ManualClock::default()).await;
    kept.run(short_parent("a".to_owned())).await;
    assert_eq!(kept.runs().len(), 3);
    kept.after(11 * MINUTE).await;
    let left: Vec<_> = kept.engine.runs().map(|stored| stored.expect("it is whole").record.task).collect();
    assert_eq!(left, ["kept.forever"], "the other says nothing, and goes with its parent");
    is_whole(&store);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn a_run_that_an_unfinished_one_joined_stays_and_then_goes_with_all_its_names() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["b"]));
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    // A run of its own, joined by a call of a body, and under two ids.
    let joined = kept.engine.start(brief("shared".to_owned()).id("first")).await?;
    probe.begun("shared", 1).await;
    let caller = kept.engine.start(parent("shared".to_owned(), "never".to_owned())).await?;
    let again = kept.engine.start(brief("shared".to_owned()).id("second").cached()).await?;
    assert_eq!(again.id(), joined.id());
    while rows(&store, IDS).len() < 5 {
        tokio::task::yield_now().await;
    }
    probe.open("shared");
    guard(joined).await?;
    probe.begun("never", 1).await;
    kept.after(HOUR).await;
    assert_eq!(kept.runs().len(), 2, "an unfinished run needs it");
    probe.open("never");
    let caller_id = caller.id();
    guard(caller).await?;
    kept.after(10 * MINUTE).await;
    assert_eq!(kept.runs(), [caller_id], "its caller is kept for a day, and has what it found");
    assert_eq!(rows(&store, IDS), [], "nothing leads to it");
    is_whole(&store);
    assert_eq!(guard(kept.engine.start(brief("shared".to_owned()).id("second").cached()).await?).await?, 1);
    kept.after(DAY).await;
    assert_eq!(kept.runs(), []);
    is_whole(&store);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn a_fork_goes_on_when_what_it_was_forked_from_is_gone() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a"]));
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    let handle = kept.engine.start(parent("a".to_owned(), "later".to_owned())).await?;
    let run = handle.id();
    probe.begun("later", 1).await;
    // Behind the child's result.
    let events: Vec<_> = kept.engine.events(run).collect::<Result<_, _>>()?;
    let at = events.iter().position(|logged| logged.event.name() == "TraceCompleted").expect("the child ended");
    let (fork, _) = kept.engine.fork(run).at(Sequence(at as u64)).start().await?;
    probe.begun("later", 2).await;
    handle.cancel().await?;
    kept.after(DAY).await;
    assert_eq!(kept.runs(), [fork.id()], "neither the run nor its child");
    is_whole(&store);
    probe.open("later");
    assert_eq!(guard(fork).await?.to_string(), "2");
    assert_eq!(probe.count("a"), 1);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn a_damaged_run_stays_and_keeps_no_other() -> relive::Result<()> {
    use relive_engine::index::RUNS;
    use relive_storage::{Durability, Operation, Store, Write};

    let store = MemoryStore::new();
    let kept = Kept::open(&store, &opened(&["a", "b", "c"]), ManualClock::default()).await;
    let mut runs: Vec<RunId> = Vec::new();
    for label in ["a", "b", "c"] {
        runs.push(kept.run(brief(label.to_owned())).await);
    }
    let key = runs[1].as_bytes().to_vec();
    let damage = Operation::Put { keyspace: RUNS, key, value: b"RL".to_vec() };
    let writer: Arc<dyn Store> = Arc::new(store.clone());
    writer
        .commit(&[Write { preconditions: vec![], operations: vec![damage] }], Durability::Sync)
        .expect("memory does not fail");
    kept.after(10 * MINUTE).await;
    assert_eq!(kept.runs(), [runs[1]]);
    assert!(rows(&store, LOG).iter().all(|row| row.key.starts_with(runs[1].as_bytes())), "its log is left alone");
    kept.engine.shutdown().await
}

#[tokio::test]
async fn children_of_what_is_kept_forever_are_kept_too() -> relive::Result<()> {
    let store = MemoryStore::new();
    let builder = super::system::builder(&opened(&["a", "b"]));
    let kept = Kept::open_with(&store, builder, ManualClock::default()).await;
    let run = kept.run(parent("a".to_owned(), "b".to_owned())).await;
    kept.run(plain("a".to_owned())).await;
    kept.run(forever("a".to_owned())).await;
    kept.after(1_000 * DAY).await;
    assert_eq!(kept.runs().len(), 4, "the child's own 10 minutes do not count before its parent goes");
    assert_eq!(
        kept.engine
            .retain(relive::Retention { task: Some("kept.parent".to_owned()), ..Default::default() })
            .await?
            .deleted_count,
        2
    );
    assert!(!kept.has(run));
    kept.engine.shutdown().await
}

#[tokio::test]
async fn a_run_that_is_one_too_many_stays_while_an_unfinished_one_needs_it() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a", "b"]));
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    let joined = kept.engine.start(newest("shared".to_owned())).await?;
    probe.begun("shared", 1).await;
    let caller = kept.engine.start(counting("shared".to_owned(), "never".to_owned())).await?;
    while rows(&store, IDS).is_empty() {
        tokio::task::yield_now().await;
    }
    probe.open("shared");
    let needed = joined.id();
    guard(joined).await?;
    probe.begun("never", 1).await;
    for label in ["a", "b"] {
        kept.clock.advance(MINUTE);
        kept.run(newest(label.to_owned())).await;
    }
    kept.after(MINUTE).await;
    assert!(kept.has(needed) && kept.runs().len() == 4);
    probe.open("never");
    guard(caller).await?;
    kept.after(MINUTE).await;
    assert!(!kept.has(needed) && kept.runs().len() == 3);
    is_whole(&store);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn a_child_that_was_imported_by_itself_is_kept_as_long_as_any_run() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a", "b"]));
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    kept.run(grandparent("a".to_owned(), "b".to_owned())).await;
    let mut runs = kept.engine.runs().map(|stored| stored.expect("it is whole"));
    let child = runs.find(|stored| stored.record.task == "kept.parent").expect("it was called").run;
    let mut file = Vec::new();
    let view: Arc<dyn relive_storage::Read> = Arc::new(store.clone());
    relive::export::write(&view, child, &relive::export::Options::default(), &mut file)?;
    let other = MemoryStore::new();
    relive::export::read(&mut std::io::Cursor::new(file), &other)?;
    let elsewhere = Kept::open(&other, &probe, kept.clock.next_life(MINUTE)).await;
    assert_eq!(elsewhere.runs().len(), 2, "it and whom it called");
    elsewhere.after(DAY - 2 * MINUTE).await;
    assert_eq!(elsewhere.runs().len(), 2);
    elsewhere.after(2 * MINUTE).await;
    assert_eq!(elsewhere.runs(), []);
    is_whole(&other);
    elsewhere.engine.shutdown().await?;
    kept.engine.shutdown().await
}
