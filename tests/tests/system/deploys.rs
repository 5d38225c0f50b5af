//! After a deploy the input's type is another, and what was recorded before is compared as it is read today.

use std::time::Duration;

use relive::__private::{CachePolicy, TaskMeta, TaskPolicy};
use relive::{ErrorKind, trace};
use relive_engine::cache::Reason;
use relive_engine::canonical::{canonical, canonical_without};
use relive_engine::engine::Request;
use relive_engine::id::CodeHash;
use relive_engine::index::CACHE;
use relive_engine::payload::Payload;
use relive_storage::{Durability, Operation, Row, Store, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cache_kit::{AUTO, Life, Program, value, version};
use super::support::{Probe, rows};

#[trace(name = "deploys.ship")]
async fn ship(item: String) -> relive::Result<usize> {
    let probe = Probe::here()?;
    if item.starts_with("held") {
        probe.hold(&item).await;
    } else {
        probe.begin(&item);
    }
    Ok(probe.count(&item))
}

/// The input as it was: an order.
#[derive(Serialize, Deserialize)]
struct Old {
    order: OldOrder,
}

#[derive(Serialize, Deserialize)]
struct OldOrder {
    item: String,
}

/// As it is after the deploy.
#[derive(Serialize, Deserialize)]
struct New {
    order: NewOrder,
}

#[derive(Serialize, Deserialize)]
struct NewOrder {
    item: String,
    #[serde(default = "euro")]
    currency: String,
    #[serde(default)]
    note: Option<String>,
}

fn euro() -> String {
    "EUR".to_owned()
}

trait Order: Serialize + DeserializeOwned + Send + 'static {
    fn item(self) -> String;
}

impl Order for Old {
    fn item(self) -> String {
        self.order.item
    }
}

impl Order for New {
    fn item(self) -> String {
        self.order.item
    }
}

fn old(item: &str) -> Old {
    Old { order: OldOrder { item: item.to_owned() } }
}

fn new(item: &str) -> New {
    New { order: NewOrder { item: item.to_owned(), currency: euro(), note: None } }
}

/// Not as it was before.
fn other(item: &str) -> New {
    New { order: NewOrder { item: item.to_owned(), currency: "USD".to_owned(), note: None } }
}

/// The task with this type of its input. Its own code is the same: the type is defined elsewhere.
fn task<I: Order>(cache: CachePolicy) -> &'static TaskMeta {
    Box::leak(Box::new(TaskMeta {
        name: "deploys.task",
        code: CodeHash::from_bytes([1; 16]),
        file: file!(),
        line: line!(),
        module: module_path!(),
        cache,
        policy: TaskPolicy::DEFAULT,
        canonical: |payload, without| canonical_without(&payload.decode::<I>()?, without),
        body: |payload| {
            relive::__private::task_body(payload, |input: I| async move {
                ship(input.item()).await.map_err(|error| error.to_record())
            })
        },
    }))
}

fn call<I: Order>(task: &'static TaskMeta, input: I) -> Request {
    Request {
        definition: task,
        input: Payload::encode(&input).expect("plain data"),
        canonical: canonical(&input).expect("plain data").into(),
        id: None,
        tags: Vec::new(),
        child: None,
        refresh: false,
        cached: false,
        readable: |payload| payload.decode::<usize>().is_ok(),
    }
}

fn named<I: Order>(task: &'static TaskMeta, input: I) -> Request {
    Request { id: Some("order-1".to_owned()), ..call(task, input) }
}

/// Before and after the deploy, on one store.
struct Deploy {
    before: Program,
    was: &'static TaskMeta,
    is: &'static TaskMeta,
}

impl Deploy {
    fn of(cache: CachePolicy) -> Self {
        let (was, is) = (task::<Old>(cache), task::<New>(cache));
        Self { before: Program::of(was), was, is }
    }

    async fn after(&self, program: &Program) -> Life {
        program.with(self.is).open().await
    }
}

#[tokio::test]
async fn a_retry_under_the_same_id_is_answered() {
    let deploy = Deploy::of(AUTO);
    let life = deploy.before.open().await;
    let first = life.start(named(deploy.was, old("lamp"))).await;
    let run = first.run();
    assert_eq!(value(first).await.expect("ships"), 1);
    life.start(Request { id: Some("order-2".to_owned()), ..call(deploy.was, old("held lamp")) }).await;
    deploy.before.probe.begun("held lamp", 1).await;
    let crashed = deploy.before.crashed();
    let life = deploy.after(&crashed).await;
    let again = life.start(named(deploy.is, new("lamp"))).await;
    assert_eq!(again.run(), run);
    assert_eq!(value(again).await.expect("shipped"), 1);
    let under_way = Request { id: Some("order-2".to_owned()), ..call(deploy.is, new("held lamp")) };
    let under_way = life.start(under_way).await;
    crashed.probe.open("held lamp");
    value(under_way).await.expect("ships");
    let error = life.engine.start(named(deploy.is, other("lamp"))).await.map(drop).expect_err("another order");
    assert_eq!(error.kind(), ErrorKind::IdTaken);
}

#[tokio::test]
async fn an_unfinished_run_is_joined() {
    for cache in [AUTO, version("1"), CachePolicy { salt: "a", ..AUTO }] {
        let deploy = Deploy::of(cache);
        let life = deploy.before.open().await;
        let first = life.start(call(deploy.was, old("held lamp"))).await.run();
        deploy.before.probe.begun("held lamp", 1).await;
        let crashed = deploy.before.crashed();
        let life = deploy.after(&crashed).await;
        let joined = life.start(call(deploy.is, new("held lamp"))).await;
        assert_eq!(joined.run(), first);
        assert_ne!(life.start(call(deploy.is, other("held lamp"))).await.run(), first);
        crashed.probe.open("held lamp");
        value(joined).await.expect("ships");
        assert_eq!(life.start(call(deploy.is, new("held lamp"))).await.run(), first, "what it found is cached");
    }
}

#[tokio::test]
async fn an_unfinished_run_of_another_version_is_not_joined() {
    let deploy = Deploy::of(version("1"));
    let life = deploy.before.open().await;
    let first = life.start(call(deploy.was, old("held lamp"))).await.run();
    deploy.before.probe.begun("held lamp", 1).await;
    let is = task::<New>(version("2"));
    let crashed = deploy.before.crashed();
    let life = crashed.with(is).open().await;
    assert_ne!(life.start(call(is, new("held lamp"))).await.run(), first);
    crashed.probe.open("held lamp");
}

#[tokio::test]
async fn an_unfinished_run_is_joined_though_many_of_a_version_before_began_earlier() {
    let deploy = Deploy::of(version("1"));
    let before = task::<Old>(version("0"));
    let earlier = deploy.before.with(before);
    let life = earlier.open().await;
    for number in 0..6 {
        life.start(call(before, old(&format!("held {number}")))).await;
        earlier.watch.pass(Duration::from_secs(1));
    }
    let program = earlier.crashed();
    let life = program.with(deploy.was).open().await;
    let first = life.start(call(deploy.was, old("held lamp"))).await.run();
    program.probe.begun("held lamp", 1).await;
    let crashed = program.crashed();
    let life = deploy.after(&crashed).await;
    assert_eq!(life.start(call(deploy.is, new("held lamp"))).await.run(), first);
    (0..6).for_each(|number| crashed.probe.open(&format!("held {number}")));
    crashed.probe.open("held lamp");
}

#[tokio::test]
async fn a_cached_result_is_found_among_many_of_a_version_before_and_one_that_is_damaged() {
    let deploy = Deploy::of(version("1"));
    let before = task::<Old>(version("0"));
    let life = deploy.before.with(before).open().await;
    for number in 0..60 {
        value(life.start(call(before, old(&format!("lamp {number}")))).await).await.expect("ships");
    }
    life.engine.shutdown().await.expect("shuts down");
    let store = &deploy.before.store;
    let Row { key, .. } = rows(store, CACHE).swap_remove(0);
    let operations = vec![Operation::Put { keyspace: CACHE, key, value: b"damaged".to_vec() }];
    store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Sync).expect("memory does not fail");
    let life = deploy.before.open().await;
    value(life.start(call(deploy.was, old("chair"))).await).await.expect("ships");
    life.engine.shutdown().await.expect("shuts down");
    let life = deploy.after(&deploy.before).await;
    assert_eq!(value(life.start(call(deploy.is, new("chair"))).await).await.expect("cached"), 1);
    assert_eq!(deploy.before.probe.count("chair"), 1);
}

#[tokio::test]
async fn a_cached_result_is_found() {
    for cache in [AUTO, version("1"), CachePolicy { salt: "a", ..AUTO }] {
        let deploy = Deploy::of(cache);
        let life = deploy.before.open().await;
        for item in ["lamp", "chair", "table"] {
            value(life.start(call(deploy.was, old(item))).await).await.expect("ships");
        }
        life.engine.shutdown().await.expect("shuts down");
        for _ in 0..2 {
            let life = deploy.after(&deploy.before).await;
            for item in ["lamp", "chair", "table"] {
                assert_eq!(value(life.start(call(deploy.is, new(item))).await).await.expect("cached"), 1, "{item}");
            }
            let explained = life.cache().explain(&call(deploy.is, new("lamp"))).expect("explained");
            assert!(matches!(explained, relive::Explanation::Hit { .. }), "{explained}");
            life.engine.shutdown().await.expect("shuts down");
        }
        assert_eq!((deploy.before.probe.count("lamp"), rows(&deploy.before.store, CACHE).len()), (1, 3));
        let life = deploy.after(&deploy.before).await;
        let explained = life.cache().explain(&call(deploy.is, other("lamp"))).expect("explained");
        assert!(matches!(explained.reasons(), [Reason::OtherInput { .. }]), "{explained}");
    }
}
