//! Ids that callers choose: one names one run, whatever becomes of it.

use futures::future::join_all;
use relive::{Engine, ErrorKind, RunStatus};
use relive_storage::MemoryStore;

use super::lifecycle::{fails, queued, two};
use super::support::{Probe, guard, open};

#[tokio::test]
async fn an_id_gets_the_same_outcome_for_ever() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    probe.open("first1");
    let engine = open(&store, &probe).await;
    let ended = engine.start(two(1).id("job")).await.expect("starts");
    let run = ended.id();
    assert_eq!(guard(ended).await.expect("ends"), 2);
    let failed = engine.start(fails(1).id("failing")).await.expect("starts");
    let failed_run = failed.id();
    let failure = guard(failed).await.expect_err("fails");

    for engine in [engine, open(&store.copy(), &probe).await] {
        let again = engine.start(two(1).id("job")).await.expect("found");
        assert_eq!((again.id(), again.status()), (run, RunStatus::Completed));
        assert_eq!(guard(again).await.expect("the same"), 2);
        let again = engine.start(fails(1).id("failing")).await.expect("found");
        assert_eq!((again.id(), again.status()), (failed_run, RunStatus::Failed));
        let error = guard(again).await.expect_err("the same failure");
        assert_eq!((error.kind(), error.to_string()), (failure.kind(), failure.to_string()));
    }
    assert_eq!(probe.all_begun(), ["first1", "second1", "fails1"]);
}

#[tokio::test]
async fn an_id_of_a_cancelled_run_stays_cancelled() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let running = engine.start(two(1).id("job")).await.expect("starts");
    probe.begun("first1", 1).await;
    guard(running.cancel()).await.expect("cancels");
    let again = engine.start(two(1).id("job")).await.expect("found");
    assert_eq!(again.id(), running.id());
    assert_eq!(guard(again).await.expect_err("cancelled").kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn an_id_of_another_call_is_refused_and_names_its_run() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let running = engine.start(two(1).id("job")).await.expect("starts");
    probe.begun("first1", 1).await;
    let crashed = store.copy();
    let run = running.id();
    let check = async |engine: &Engine| {
        for refused in [engine.start(two(2).id("job")).await, engine.start(queued(1).id("job")).await] {
            let error = refused.expect_err("taken");
            assert_eq!(error.kind(), ErrorKind::IdTaken);
            let message = error.to_string();
            assert!(message.contains("`job`") && message.contains(&run.to_string()), "{message}");
        }
    };
    check(&engine).await;
    probe.open("first1");
    guard(running).await.expect("ends");
    check(&engine).await;
    check(&open(&crashed, &Probe::default()).await).await;
    assert_eq!(engine.runs().count(), 1, "a refused start leaves nothing");
}

#[tokio::test]
async fn an_id_that_is_no_key_is_refused() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    for id in [String::new(), "x".repeat(relive::ID_BYTES_MAX + 1)] {
        let error = engine.start(two(1).id(id)).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("1 to 512"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_under_one_id_at_the_same_time_are_one_run() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let starts = (0..50).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.start(two(1).id("job")).await })
    });
    let handles: Vec<_> =
        guard(join_all(starts)).await.into_iter().map(|start| start.expect("no panic").expect("starts")).collect();
    probe.open("first1");
    assert!(handles.iter().all(|handle| handle.id() == handles[0].id()));
    for handle in handles {
        assert_eq!(guard(handle).await.expect("ends"), 2);
    }
    assert_eq!(probe.all_begun(), ["first1", "second1"]);
    assert_eq!(engine.runs().count(), 1);
}

#[tokio::test]
async fn a_call_under_a_second_id_that_may_be_cached_joins_the_run_and_keeps_it() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let first = engine.start(two(1).id("one")).await.expect("starts");
    let second = engine.start(two(1).id("two").cached()).await.expect("joins");
    assert_eq!(first.id(), second.id());
    probe.open("first1");
    guard(first).await.expect("ends");
    let again = open(&store.copy(), &probe).await;
    assert_eq!(again.start(two(1).id("two")).await.expect("found").id(), second.id());
}
