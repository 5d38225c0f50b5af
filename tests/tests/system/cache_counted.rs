//! Whatever becomes of the cache's entries, its small rows and its size are right when the engine is closed: `verify` finds
//! nothing, and a size that is wrong it does find.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use relive::__private::CachePolicy;
use relive::ErrorKind;
use relive_engine::codec::{self, Chain};
use relive_engine::index::{CacheSize, META};
use relive_engine::verify;
use relive_storage::{Durability, MemoryStore, Operation, Read, Store, Write};

use super::cache_kit::{AUTO, Life, Program, edited, task};
use super::support::guard;

const HOUR: Duration = Duration::from_secs(3600);

fn check(store: &MemoryStore, what: &str) {
    let view: Arc<dyn Read> = Arc::new(store.clone());
    if let Err(error) = verify::check(&view) {
        panic!("{what}: {error}");
    }
}

fn size(store: &MemoryStore) -> Option<u64> {
    let row = store.get(META, b"cache").expect("memory does not fail")?;
    Some(codec::open::<CacheSize>(b"cache", &row).expect("it is whole").0.bytes)
}

fn bytes(life: &Life) -> u64 {
    life.cache().list().map(|entry| entry.expect("readable").bytes).sum()
}

/// What is done to the cache in a life that begins with the entries `a` and `b`.
const WAYS: [&str; 10] =
    ["nothing", "add", "hit", "evict", "evict all", "evict and add", "refresh", "expire", "rebuild", "trim"];

async fn go(way: &str, program: &Program, life: &Life) {
    let cache = life.cache();
    match way {
        "nothing" => {}
        "add" => drop(life.call("c").await),
        "hit" => {
            for _ in 0..3 {
                program.watch.pass(Duration::from_secs(60));
                life.call("a").await;
            }
        }
        "evict" => assert_eq!(cache.evict_call(&life.request("a", false)).await.expect("evicts"), 1),
        "evict all" => assert_eq!(cache.evict_all().await.expect("evicts"), 2),
        "evict and add" => {
            life.call("c").await;
            assert_eq!(cache.evict_all().await.expect("evicts"), 3);
            life.call("a").await;
            assert_eq!(cache.evict_call(&life.request("a", false)).await.expect("evicts"), 1);
            life.call("d").await;
        }
        "refresh" => {
            for label in ["a", "a", "c", "c"] {
                life.refresh(label).await;
            }
        }
        "expire" => {
            program.watch.pass(2 * HOUR);
            life.call("a").await;
            life.call("c").await;
            program.watch.pass(2 * HOUR);
            life.call("c").await;
            assert_eq!(cache.evict_expired().await.expect("evicts"), 2);
        }
        "rebuild" => {
            life.call("c").await;
            cache.rebuild().await.expect("rebuilds");
        }
        "trim" => assert_eq!(cache.trim().await.expect("counts"), 0),
        way => panic!("{way}"),
    }
}

fn policy() -> CachePolicy {
    CachePolicy { ttl: Some(HOUR), ..AUTO }
}

async fn filled() -> Program {
    let program = Program::of(task("kit.task", 1, policy()));
    let life = program.open().await;
    life.call("a").await;
    life.call("b").await;
    life.engine.shutdown().await.expect("shuts down");
    program
}

#[tokio::test]
async fn the_size_is_exact_after_a_shutdown_whatever_was_done_to_the_cache() {
    for first in WAYS {
        for second in ["nothing", "add", "refresh", "evict"] {
            let program = filled().await;
            check(&program.store, "filled");
            let what = format!("{first}, {second}");
            let life = program.open().await;
            guard(go(first, &program, &life)).await;
            // As it would be after a crash.
            check(&program.store, &what);
            check(&program.crashed().store, &what);
            life.engine.shutdown().await.expect("shuts down");
            check(&program.store, &what);
            let life = program.open().await;
            if second != "evict" || life.labels().contains(&"a".to_owned()) {
                guard(go(second, &program, &life)).await;
            }
            let bytes = bytes(&life);
            life.engine.shutdown().await.expect("shuts down");
            check(&program.store, &what);
            assert_eq!(size(&program.store), Some(bytes), "{what}: the next life need not count");
        }
    }
}

#[tokio::test]
async fn the_size_is_exact_after_an_edit_that_replaces_entries() {
    let program = Program { edited: vec![edited("kit.work")], ..filled().await };
    let life = program.open().await;
    life.call("a").await;
    life.engine.shutdown().await.expect("shuts down");
    check(&program.store, "edited");
}

#[tokio::test]
async fn the_size_is_right_or_not_there_wherever_the_process_ends() {
    for way in WAYS {
        let program = filled().await;
        let life = program.open().await;
        assert_eq!(size(&program.store), None, "nobody knows how this life ends");
        go(way, &program, &life).await;
        let crashed = program.crashed();
        let life = crashed.open().await;
        life.call("z").await;
        life.engine.shutdown().await.expect("shuts down");
        check(&crashed.store, way);
        assert!(size(&crashed.store).is_some(), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_size_is_exact_after_calls_refreshes_and_evictions_at_the_same_time() {
    let labels = ["a", "b", "c", "d"];
    for round in 0..10 {
        let program = Program { bytes_max: (round % 2 == 0).then_some(1_000), ..filled().await };
        let life = Arc::new(program.open().await);
        let tasks = (0..8).map(|number| {
            let (life, watch) = (Arc::clone(&life), program.watch.clone());
            tokio::spawn(async move {
                for step in 0..12 {
                    let label = labels[(number + step) % 4];
                    match (number * 5 + step * 3 + round) % 7 {
                        0 => drop(life.refresh(label).await),
                        1 => drop(life.cache().evict_call(&life.request(label, false)).await.expect("evicts")),
                        2 => drop(life.cache().evict_expired().await.expect("evicts")),
                        3 => drop(life.cache().trim().await.expect("trims")),
                        4 if number == 0 => drop(life.cache().rebuild().await.expect("rebuilds")),
                        _ => drop(life.call(label).await),
                    }
                    // Hits are written down, entries expire.
                    watch.pass(HOUR / 50);
                }
            })
        });
        for task in guard(join_all(tasks)).await {
            task.expect("no panic");
        }
        let bytes = bytes(&life);
        life.engine.shutdown().await.expect("shuts down");
        check(&program.store, &format!("round {round}"));
        assert_eq!(size(&program.store), Some(bytes), "round {round}");
    }
}

#[tokio::test]
async fn a_size_that_is_wrong_is_found() {
    let program = filled().await;
    let right = size(&program.store).expect("it was counted");
    for wrong in [0, right - 1, right + 846] {
        let store = program.crashed().store;
        let value = codec::seal(b"cache", Chain::default(), &CacheSize { bytes: wrong }).expect("it is small").0;
        let put = Operation::Put { keyspace: META, key: b"cache".to_vec(), value };
        store.commit(&[Write { preconditions: vec![], operations: vec![put] }], Durability::Sync).expect("memory");
        let view: Arc<dyn Read> = Arc::new(store);
        let error = verify::check(&view).expect_err("it is wrong");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let said = format!("the cache's size is {right} bytes, and not {wrong}");
        assert!(error.to_string().contains(&said), "{error}");
    }
}
