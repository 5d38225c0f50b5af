//! Which runs go, by what the engine and their tasks say.

use std::time::Duration;

use relive::{Engine, ErrorKind, Keep};
use relive_engine::index::{CACHE, IDS, INBOX, RUNS, TAGS, UNFINISHED};
use relive_engine::log::LOG;
use relive_storage::MemoryStore;
use relive_tests::manual_clock::ManualClock;

use super::support::{DAY, HOUR, Kept, MINUTE, brief, either, forever, is_whole, newest, opened, plain};
use super::system::{Probe, builder, guard, rows};

#[tokio::test]
async fn a_run_goes_when_its_time_is_over_with_all_but_its_cached_result() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a"]));
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    let run = kept.run(plain("a".to_owned()).id("one").tag("customer", "42")).await;
    kept.after(DAY - MINUTE).await;
    assert!(kept.has(run));
    // It is the same call for as long as it is kept.
    assert_eq!(kept.engine.start(plain("a".to_owned()).id("one")).await?.id(), run);
    kept.after(MINUTE).await;
    for keyspace in [LOG, RUNS, UNFINISHED, IDS, INBOX, TAGS] {
        assert_eq!(rows(&store, keyspace), [], "{keyspace:?}");
    }
    assert_eq!(rows(&store, CACHE).len(), 1);
    assert_eq!(kept.engine.status(run).expect_err("it is gone").kind(), ErrorKind::UnknownRun);
    // Its id is free again, and the cache still answers.
    let again = kept.engine.start(plain("a".to_owned()).id("one").cached()).await?;
    assert_ne!(again.id(), run);
    assert_eq!((guard(again).await?, probe.count("a")), (1, 1));
    is_whole(&store);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn what_a_task_says_counts_more_than_what_the_engine_says() -> relive::Result<()> {
    let store = MemoryStore::new();
    let kept = Kept::open(&store, &opened(&["a", "fails"]), ManualClock::default()).await;
    let briefly = kept.run(brief("a".to_owned())).await;
    let failed = kept.run(brief("fails".to_owned())).await;
    let by_default = kept.run(plain("a".to_owned())).await;
    let for_good = kept.run(forever("a".to_owned())).await;
    kept.after(9 * MINUTE).await;
    assert_eq!(kept.runs().len(), 4);
    kept.after(MINUTE).await;
    assert!(!kept.has(briefly) && !kept.has(failed));
    kept.after(DAY).await;
    assert!(!kept.has(by_default));
    kept.after(1_000 * DAY).await;
    assert_eq!(kept.runs(), [for_good]);
    is_whole(&store);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn the_newest_of_a_task_stay_however_old_they_are() -> relive::Result<()> {
    let store = MemoryStore::new();
    let probe = opened(&["0", "1", "2", "3", "4", "5", "fails"]);
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    let mut counted = Vec::new();
    for label in ["0", "fails", "1", "2", "3"] {
        counted.push(kept.run(newest(label.to_owned())).await);
    }
    kept.after(MINUTE).await;
    assert_eq!(kept.runs(), counted[3..]);
    // Either of the two keeps a run.
    let mut old = Vec::new();
    for label in ["0", "1", "2"] {
        old.push(kept.run(either(label.to_owned())).await);
    }
    kept.after(HOUR - MINUTE).await;
    assert!(old.iter().all(|run| kept.has(*run)));
    kept.after(MINUTE).await;
    assert!(!kept.has(old[0]) && !kept.has(old[1]) && kept.has(old[2]));
    let younger = kept.run(either("3".to_owned())).await;
    kept.after(MINUTE).await;
    assert!(!kept.has(old[2]) && kept.has(younger), "the older one's hour is over, and it is not the newest");
    kept.after(1_000 * DAY).await;
    assert_eq!(kept.runs(), [counted[3], counted[4], younger]);
    is_whole(&store);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn runs_that_somebody_deletes_are_not_counted_among_the_newest() -> relive::Result<()> {
    let store = MemoryStore::new();
    let kept = Kept::open(&store, &opened(&["0", "1", "2"]), ManualClock::default()).await;
    for label in ["0", "1"] {
        kept.run(newest(label.to_owned())).await;
    }
    kept.after(MINUTE).await;
    assert_eq!(kept.engine.retain(relive::Retention::default()).await?.deleted_count, 2);
    let last = kept.run(newest("2".to_owned())).await;
    kept.after(MINUTE).await;
    assert_eq!(kept.runs(), [last]);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn what_is_unfinished_is_never_deleted_and_its_time_begins_with_its_end() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    let handle = kept.engine.start(brief("held".to_owned())).await?;
    let run = handle.id();
    probe.begun("held", 1).await;
    kept.after(1_000 * DAY).await;
    assert_eq!(kept.runs(), [run]);
    probe.open("held");
    guard(handle).await?;
    kept.after(9 * MINUTE).await;
    assert!(kept.has(run));
    kept.after(MINUTE).await;
    assert_eq!(kept.runs(), []);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn what_came_of_age_while_no_engine_was_open_goes_at_open() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a"]));
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    kept.run(brief("a".to_owned())).await;
    let clock = kept.clock.next_life(HOUR);
    kept.engine.shutdown().await?;
    assert_eq!(rows(&store, RUNS).len(), 1);
    let kept = Kept::open(&store, &probe, clock).await;
    assert_eq!(kept.runs(), []);
    is_whole(&store);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn an_engine_that_takes_up_no_runs_deletes_none() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a"]));
    let kept = Kept::open(&store, &probe, ManualClock::default()).await;
    kept.run(brief("a".to_owned())).await;
    let clock = kept.clock.next_life(DAY);
    kept.engine.shutdown().await?;
    let engine = builder(&probe).takes_up(false).clock(clock.clone());
    let engine = super::system::open_with(&store, engine).await;
    clock.advance(DAY);
    assert_eq!((clock.slept_count(), rows(&store, RUNS).len()), (0, 1));
    engine.shutdown().await
}

#[tokio::test]
async fn a_clock_that_is_set_ahead_deletes_nothing_early() -> relive::Result<()> {
    let store = MemoryStore::new();
    let kept = Kept::open(&store, &opened(&["a"]), ManualClock::default()).await;
    let run = kept.run(brief("a".to_owned())).await;
    kept.clock.jump(365 * 86_400);
    kept.after(MINUTE).await;
    assert!(kept.has(run));
    kept.clock.jump(-2 * 365 * 86_400);
    kept.after(MINUTE).await;
    assert!(kept.has(run));
    kept.clock.jump(365 * 86_400);
    kept.after(10 * MINUTE).await;
    assert!(!kept.has(run));
    kept.engine.shutdown().await
}

#[tokio::test]
async fn thousands_go_in_one_go_and_no_other() -> relive::Result<()> {
    let store = MemoryStore::new();
    let kept = Kept::open(&store, &opened(&["a"]), ManualClock::default()).await;
    let stays = kept.run(forever("a".to_owned())).await;
    // More than a slice deletes: answered from the cache, each is a run of its own.
    kept.run(brief("a".to_owned())).await;
    for number in 0..17_000 {
        kept.engine.start(brief("a".to_owned()).id(format!("id {number}")).cached()).await?;
    }
    assert_eq!(rows(&store, RUNS).len(), 17_002);
    kept.after(10 * MINUTE).await;
    assert_eq!(kept.runs(), [stays]);
    is_whole(&store);
    kept.engine.shutdown().await
}

#[tokio::test]
async fn a_count_that_is_too_large_to_be_held_is_an_error_at_open() {
    let opened = |keep: Keep| {
        let store = std::sync::Arc::new(MemoryStore::new());
        Engine::builder().keep(keep).open_store(store)
    };
    let error = opened(Keep::newest(100_001)).await.expect_err("too many");
    assert!(error.to_string().contains("to keep more than 100000 runs"), "{error}");
    let engine = opened(Keep::age(Duration::MAX).and_newest(100_000)).await.expect("as many as there may be");
    engine.shutdown().await.expect("it closes");
}
