//! Who gives an id wants a run: such a call is answered by no other, unless it says so.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::future::join_all;
use parking_lot::Mutex;
use relive::{CacheDefault, Cause, Engine, Event, Reason, Retention, RunId, RunStatus, task, trace};
use relive_engine::index::{IDS, TAGS};
use relive_engine::verify;
use relive_storage::{Durability, MemoryStore, Operation, Read, Row, Store, Write};
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::Registry;

use super::support::{Probe, builder, events, guard, open, rows};

/// Returns how often it was done for this item.
#[trace(name = "own_ids.deliver")]
async fn deliver(item: String) -> relive::Result<u32> {
    let probe = Probe::here()?;
    if item.starts_with("held") {
        probe.hold(&item).await;
    } else {
        probe.begin(&item);
    }
    Ok(probe.count(&item) as u32)
}

#[trace(name = "own_ids.price", pure)]
async fn price(item: String) -> relive::Result<u32> {
    Ok(item.len() as u32)
}

#[task(name = "own_ids.ship")]
async fn ship(item: String) -> relive::Result<u32> {
    deliver(item).await
}

#[task(name = "own_ids.ship_auto", cache = "auto")]
async fn ship_auto(item: String) -> relive::Result<u32> {
    deliver(item).await
}

#[task(name = "own_ids.quote")]
async fn quote(item: String) -> relive::Result<u32> {
    price(item).await
}

/// A child that says nothing, one that says that it is cached, and one without effects; each twice.
#[task(name = "own_ids.calls", cache = "off")]
async fn calls(item: String) -> relive::Result<()> {
    for _ in 0..2 {
        ship(item.clone()).await?;
        ship_auto(item.clone()).await?;
        quote(item.clone()).await?;
    }
    Ok(())
}

/// Calls it once for each of these, under this id, if it is one.
#[task(name = "own_ids.orders", cache = "off")]
async fn orders(item: String, ids: Vec<String>) -> relive::Result<Vec<u32>> {
    let mut counts = Vec::new();
    for id in ids {
        counts.push(if id.is_empty() { ship(item.clone()).await? } else { ship(item.clone()).id(id).await? });
    }
    Ok(counts)
}

fn lamp() -> String {
    "lamp".to_owned()
}

fn held() -> String {
    "held lamp".to_owned()
}

fn tagged(engine: &Engine, name: &str, value: &str) -> Vec<RunId> {
    engine.runs_tagged(name, value).map(|run| run.expect("readable").run).collect()
}

/// No row is wrong or missing.
fn whole(store: &MemoryStore) {
    let view = Arc::new(store.clone()) as Arc<dyn Read>;
    verify::store(&view, &mut |progress| {
        assert!(!matches!(progress, verify::Progress::Problem(_)), "{progress:?}");
        ControlFlow::Continue(())
    });
}

async fn opened() -> (Engine, MemoryStore, Probe) {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    (open(&store, &probe).await, store, probe)
}

#[tokio::test]
async fn each_new_id_is_a_run_of_its_own_with_its_tags() {
    let (engine, store, probe) = opened().await;
    let mut runs = Vec::new();
    for (order, count) in [("order-1", 1), ("order-2", 2), ("order-3", 3)] {
        let handle = engine.start(ship(lamp()).id(order).tag("order", order)).await.expect("starts");
        runs.push(handle.id());
        assert_eq!(guard(handle).await.expect("ships"), count);
        assert_eq!(tagged(&engine, "order", order), runs[runs.len() - 1..]);
    }
    for engine in [engine, open(&store.copy(), &probe).await] {
        for (index, order) in ["order-1", "order-2", "order-3"].into_iter().enumerate() {
            let again = engine.start(ship(lamp()).id(order)).await.expect("found");
            assert_eq!((again.id(), again.status()), (runs[index], RunStatus::Completed), "the same id, the same run");
        }
    }
    assert_eq!(probe.count("lamp"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_different_ids_at_the_same_time_all_run() {
    let (engine, _, probe) = opened().await;
    let starts = (0..20).map(|number| engine.start(ship(held()).id(format!("order-{number}"))));
    let handles: Vec<_> = guard(join_all(starts)).await.into_iter().map(|start| start.expect("starts")).collect();
    probe.begun("held lamp", 20).await;
    probe.open("held lamp");
    let mut runs: Vec<_> = handles.iter().map(|handle| handle.id()).collect();
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 20);
    for handle in handles {
        guard(handle).await.expect("ships");
    }
    assert_eq!((probe.count("held lamp"), engine.runs().count()), (20, 20));
}

#[tokio::test]
async fn a_call_without_an_id_joins_one_with_an_id_and_gets_its_result() {
    let (engine, _, probe) = opened().await;
    let named = engine.start(ship(held()).id("order-1")).await.expect("starts");
    let joined = engine.start(ship(held())).await.expect("joins");
    assert_eq!(joined.id(), named.id());
    let other = engine.start(ship(held()).id("order-2")).await.expect("starts");
    assert_ne!(other.id(), named.id());
    let joined = engine.start(ship(held())).await.expect("joins");
    assert_eq!(joined.id(), named.id(), "the first is still the one that is joined");
    probe.begun("held lamp", 2).await;
    probe.open("held lamp");
    for handle in [named, other, joined] {
        guard(handle).await.expect("ships");
    }
    guard(engine.run(ship(held()))).await.expect("cached");
    assert_eq!(probe.count("held lamp"), 2, "what it found fills the cache");
}

#[tokio::test]
async fn a_call_with_an_id_that_may_be_cached_is_joined_and_hits() {
    let (engine, store, probe) = opened().await;
    let first = engine.start(ship(held()).id("one")).await.expect("starts");
    let second = engine.start(ship(held()).id("two").cached().tag("order", "2")).await.expect("joins");
    assert_eq!(first.id(), second.id());
    probe.open("held lamp");
    guard(first).await.expect("ships");
    let third = engine.start(ship(held()).id("three").cached().tag("order", "3")).await.expect("hits");
    assert_ne!(third.id(), second.id());
    let Some(Event::TaskStarted(started)) = events(&engine, third.id()).into_iter().next() else { panic!("no start") };
    assert_eq!(started.cause, Cause::CachedFrom { run: second.id() });
    let again = open(&store.copy(), &probe).await;
    assert_eq!(again.start(ship(held()).id("two")).await.expect("found").id(), second.id());
    assert_eq!((tagged(&again, "order", "2"), tagged(&again, "order", "3")), (vec![second.id()], vec![third.id()]));
    assert_eq!(probe.count("held lamp"), 1);
}

#[tokio::test]
async fn a_refresh_with_an_id_joins_no_other_refresh() {
    let (engine, _, probe) = opened().await;
    let refresh = |id: &str| ship(held()).id(id).refresh();
    let (first, second) = (engine.start(refresh("one")).await, engine.start(refresh("two")).await);
    let (first, second) = (first.expect("starts"), second.expect("starts"));
    assert_ne!(first.id(), second.id());
    let plain = engine.start(ship(held()).refresh()).await.expect("joins");
    assert_eq!(plain.id(), first.id());
    probe.begun("held lamp", 2).await;
    probe.open("held lamp");
    for handle in [first, second, plain] {
        guard(handle).await.expect("ships");
    }
}

#[tokio::test]
async fn what_a_run_with_an_id_finds_after_a_refresh_began_is_not_cached() {
    let (engine, _, probe) = opened().await;
    let first = engine.start(ship(held()).id("one")).await.expect("starts");
    let second = engine.start(ship(held()).id("two")).await.expect("starts");
    let refresh = engine.start(ship(held()).refresh()).await.expect("starts");
    assert!(![first.id(), second.id()].contains(&refresh.id()));
    probe.begun("held lamp", 3).await;
    probe.open("held lamp");
    let run = refresh.id();
    for handle in [refresh, first, second] {
        guard(handle).await.expect("ships");
    }
    let entry = engine.cache().list().next().expect("one").expect("readable");
    assert_eq!(entry.run, run);
}

#[tokio::test]
async fn a_child_with_an_id_is_a_run_of_its_own_too() {
    let (engine, _, probe) = opened().await;
    let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
    assert_eq!(guard(engine.run(orders(lamp(), ids(&["a", "b", "a", ""])))).await.expect("ships"), [1, 2, 1, 2]);
    assert_eq!(probe.count("lamp"), 2, "the one without an id is answered by the cache");
}

#[tokio::test]
async fn the_tags_of_a_call_that_joins_or_hits_are_found_also_after_a_restart_and_no_row_is_wrong() {
    let (engine, store, probe) = opened().await;
    let first = engine.start(ship(held()).tag("customer", "1")).await.expect("starts");
    for customer in ["1", "2", "3", "2"] {
        let joined = engine.start(ship(held()).tag("customer", customer)).await.expect("joins");
        assert_eq!(joined.id(), first.id());
    }
    let run = first.id();
    let crashed = store.copy();
    probe.open("held lamp");
    guard(first).await.expect("ships");
    let hit = engine.start(ship(held()).tag("customer", "4")).await.expect("hits");
    assert_eq!(hit.status(), RunStatus::Completed);
    let hit_run = hit.id();
    assert_eq!(guard(hit).await.expect("cached"), 1);
    let untagged = engine.start(ship(held())).await.expect("hits").id();
    assert_eq!(untagged, run, "without tags nothing is written");
    let named = engine.start(ship(held()).id("later").tag("customer", "5")).await.expect("starts");
    let again = engine.start(ship(held()).id("later").tag("customer", "6")).await.expect("found");
    assert_eq!(named.id(), again.id());
    guard(named).await.expect("ships");
    let after = engine.start(ship(held()).id("later").tag("customer", "7")).await.expect("found");
    for engine in [&engine, &open(&store.copy(), &probe).await] {
        for customer in ["1", "2", "3"] {
            assert_eq!(tagged(engine, "customer", customer), [run], "{customer}");
        }
        assert_eq!(tagged(engine, "customer", "4"), [hit_run]);
        for customer in ["5", "6", "7"] {
            assert_eq!(tagged(engine, "customer", customer), [after.id()], "{customer}");
        }
    }
    assert_eq!(tagged(&open(&crashed, &probe).await, "customer", "3"), [run]);
    whole(&store);
}

#[tokio::test]
async fn the_tags_of_a_call_that_joined_stay_while_others_are_deleted_and_go_with_their_run() {
    let (engine, store, probe) = opened().await;
    let deleted = async || engine.retain(Retention::default()).await.expect("deletes").deleted_count;
    let put = |keyspace, rows: Vec<Row>| {
        let put = |row: Row| Operation::Put { keyspace, key: row.key, value: row.value };
        let write = Write { preconditions: Vec::new(), operations: rows.into_iter().map(put).collect() };
        store.commit(&[write], Durability::Sync).expect("memory does not fail");
    };
    let first = engine.start(ship(held())).await.expect("starts");
    let joined = engine.start(ship(held()).id("order-2").cached().tag("customer", "2")).await.expect("joins");
    assert_eq!(first.id(), joined.id());
    guard(engine.run(ship(lamp()))).await.expect("ships");
    assert_eq!(deleted().await, 1);
    assert_eq!(tagged(&engine, "customer", "2"), [first.id()]);
    let (mut ids, tags) = (rows(&store, IDS), rows(&store, TAGS));
    probe.open("held lamp");
    guard(first).await.expect("ships");
    assert_eq!(deleted().await, 1);
    assert_eq!((rows(&store, IDS), rows(&store, TAGS)), (vec![], vec![]));
    // As if the call had joined it as it was deleted, and the process had died at once.
    let of_tags = ids.extract_if(.., |row| row.key[0] == 0xfc).collect::<Vec<_>>();
    assert_eq!((of_tags.len(), ids.len(), tags.len()), (1, 2, 1));
    put(IDS, of_tags);
    put(TAGS, tags);
    whole(&store);
    assert_eq!(tagged(&engine, "customer", "2"), []);
    put(IDS, ids);
    guard(engine.run(ship("chair".to_owned()))).await.expect("ships");
    assert_eq!(deleted().await, 1);
    assert_eq!((rows(&store, IDS), rows(&store, TAGS)), (vec![], vec![]));
    whole(&store);
}

#[tokio::test]
async fn what_explains_a_call_says_that_it_has_an_id_of_its_own() {
    let (engine, ..) = opened().await;
    guard(engine.run(ship(lamp()))).await.expect("ships");
    let explanation = engine.cache().explain(ship(lamp()).id("order-1")).expect("explained");
    assert!(matches!(explanation.reasons(), [Reason::OwnId { id }] if id == "order-1"), "{explanation}");
    let explanation = engine.cache().explain(ship(lamp()).id("order-1").cached()).expect("explained");
    assert!(matches!(explanation, relive::Explanation::Hit { .. }), "{explanation}");
}

#[tokio::test]
async fn an_engines_default_holds_for_tasks_that_say_nothing() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = builder(&probe).cache_default(CacheDefault::Off);
    let engine = engine.open_store(Arc::new(store.clone())).await.expect("opens");
    for count in [1, 2] {
        assert_eq!(guard(engine.run(ship(lamp()))).await.expect("ships"), count);
    }
    assert!(matches!(engine.cache().explain(ship(lamp())).expect("explained").reasons(), [Reason::CacheOff]));
    for _ in 0..2 {
        assert_eq!(guard(engine.run(ship_auto(lamp()))).await.expect("ships"), 3, "it says `auto` itself");
    }
    assert_eq!(guard(engine.run(orders(lamp(), vec![String::new(); 2]))).await.expect("ships"), [4, 5]);
    assert_eq!(engine.cache().list().count(), 1);
    let first = engine.start(ship(held())).await.expect("starts");
    assert_ne!(engine.start(ship(held())).await.expect("starts").id(), first.id(), "nor are they joined");
    probe.open("held lamp");
}

/// The tasks that warnings were about.
#[derive(Clone, Default)]
struct Warned(Arc<Mutex<Vec<String>>>);

struct Task(Option<String>);

impl Visit for Task {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "task" {
            self.0 = Some(value.to_owned());
        }
    }
}

impl<S: Subscriber> Layer<S> for Warned {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            let mut task = Task(None);
            event.record(&mut task);
            self.0.lock().extend(task.0);
        }
    }
}

#[tokio::test]
async fn the_first_child_that_did_not_run_is_a_warning_if_its_task_has_effects_and_says_nothing() {
    // Another one, so that tracing asks each for each event.
    let (_other, warned) = (Dispatch::new(Registry::default()), Warned::default());
    let _entered = tracing::dispatcher::set_default(&Dispatch::new(Registry::default().with(warned.clone())));
    let (engine, ..) = opened().await;
    for _ in 0..2 {
        guard(engine.run(calls(lamp()))).await.expect("ends");
    }
    assert_eq!(*warned.0.lock(), ["own_ids.ship"]);
}
