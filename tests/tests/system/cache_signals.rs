//! What somebody answered a run is no other call's result.

use relive::{Engine, Explanation, Reason, RunId, task};
use relive_storage::MemoryStore;

use super::support::{Probe, builder, guard, open, open_with};

#[task(name = "cache_signals.approval", allow(signal))]
async fn approval() -> relive::Result<String> {
    relive::signal("answer").await
}

/// Nobody answers in time.
#[task(name = "cache_signals.limited", cache = "auto", allow(signal))]
async fn limited() -> relive::Result<bool> {
    let answer = relive::signal::<String>("answer");
    Ok(relive::timeout(std::time::Duration::ZERO, answer).await.is_ok())
}

/// Whoever gives a version says for how long the answer holds.
#[task(name = "cache_signals.standing", version = "1", allow(signal))]
async fn standing() -> relive::Result<String> {
    relive::signal("answer").await
}

#[task(name = "cache_signals.parent")]
async fn parent() -> relive::Result<String> {
    approval().await
}

#[task(name = "cache_signals.grandparent")]
async fn grandparent() -> relive::Result<String> {
    parent().await
}

#[task(name = "cache_signals.asks_standing")]
async fn asks_standing() -> relive::Result<String> {
    standing().await
}

async fn opened() -> (Engine, MemoryStore) {
    let store = MemoryStore::new();
    (open(&store, &Probe::default()).await, store)
}

/// The one run that is under way and of this task.
fn unfinished(engine: &Engine, task: &str) -> Option<RunId> {
    let is_it = |run: &relive::StoredRun| run.record.task == task && run.record.state == relive::RunState::Unfinished;
    engine.runs().map(|run| run.expect("readable")).find(is_it).map(|run| run.run)
}

/// The result of a call whose run of this task is answered so.
async fn answered(engine: &Engine, call: relive::Call<String, relive::Error>, task: &str, by: &str) -> String {
    let run = engine.start(call).await.expect("starts");
    guard(async {
        loop {
            if let Some(run) = unfinished(engine, task) {
                return engine.signal(run, "answer", by).await.expect("it waits");
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    guard(run).await.expect("ends")
}

#[tokio::test]
async fn an_answer_is_no_cached_result_not_for_callers_of_callers_nor_after_a_restart_or_a_rebuild() {
    let (engine, store) = opened().await;
    for by in ["Ada", "Bob"] {
        assert_eq!(answered(&engine, approval(), "cache_signals.approval", by).await, by);
        assert_eq!(answered(&engine, parent(), "cache_signals.approval", by).await, by);
        assert_eq!(answered(&engine, grandparent(), "cache_signals.approval", by).await, by);
    }
    let again = open(&store.copy(), &Probe::default()).await;
    again.cache().rebuild().await.expect("rebuilds");
    assert_eq!(again.cache().list().count(), 0);
    assert_eq!(answered(&again, grandparent(), "cache_signals.approval", "Eve").await, "Eve");
}

#[tokio::test]
async fn that_nobody_answered_is_no_cached_result_either() {
    let (engine, _) = opened().await;
    assert!(!guard(engine.run(limited())).await.expect("ends"));
    assert_eq!(engine.cache().list().count(), 0);
    let run = engine.runs().next().expect("one").expect("readable").run;
    let explanation = engine.cache().explain(limited()).expect("explained");
    assert_eq!(explanation.reasons(), [Reason::NeverCached, Reason::Signalled { run }]);
}

#[tokio::test]
async fn with_a_version_the_answer_holds_as_the_version_says() {
    let (engine, _) = opened().await;
    assert_eq!(answered(&engine, standing(), "cache_signals.standing", "Ada").await, "Ada");
    assert_eq!(guard(engine.run(standing())).await.expect("cached"), "Ada");
    assert_eq!(guard(engine.run(asks_standing())).await.expect("cached"), "Ada");
    assert!(matches!(engine.cache().explain(asks_standing()).expect("explained"), Explanation::Hit { .. }));
}

#[tokio::test]
async fn equal_calls_at_the_same_time_still_wait_for_one_answer() {
    let store = MemoryStore::new();
    let engine = open_with(&store, builder(&Probe::default())).await;
    let (first, second) =
        (engine.start(approval()).await.expect("starts"), engine.start(approval()).await.expect("joins"));
    assert_eq!(first.id(), second.id());
    engine.signal(first.id(), "answer", "Ada").await.expect("sent");
    assert_eq!(guard(second).await.expect("ends"), "Ada");
    guard(first).await.expect("ends");
}
