//! What the cache holds, how it is thrown out by hand, and how it stays within its size.

use std::time::Duration;

use relive::__private::CachePolicy;
use relive::{Reason, Timestamp};
use relive_engine::codec;
use relive_engine::index::{CACHE, CACHE_USE, CacheUse, META};
use relive_storage::{Durability, Operation, Read, Row, Store, Write};

use super::cache_kit::{AUTO, Life, Program, task, version};
use super::support::{guard, rows};

const MINUTE: Duration = Duration::from_secs(60);

async fn called(program: &Program, life: &Life, labels: &[&str]) {
    for label in labels {
        program.watch.pass(MINUTE);
        life.call(label).await;
    }
}

/// The size of one entry.
async fn entry_bytes() -> u64 {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    life.call("a").await;
    life.cache().list().next().expect("one").expect("readable").bytes
}

#[tokio::test]
async fn entries_are_listed_with_all_that_is_known_of_them() {
    let hour = Duration::from_secs(3600);
    let program = Program::of(task("kit.task", 1, CachePolicy { ttl: Some(hour), salt: "s", ..version("7") }));
    let life = program.open().await;
    let start = Timestamp(1_767_323_045_000_000);
    let run = life.start(life.request("a", true)).await.run();
    guard(life.engine.handle(run).expect("is there").outcome()).await.expect("ends");
    program.watch.pass(MINUTE);
    life.run(life.request("a", true)).await.expect("cached");
    assert_eq!(life.cache().trim().await.expect("trims"), 0);
    let entry = life.cache().list().next().expect("one").expect("readable");
    assert_eq!((entry.task.as_str(), entry.salt.as_str(), entry.run), ("kit.task", "s", run));
    assert_eq!(entry.version.to_string(), "version \"7\"");
    assert_eq!(entry.input.to_string(), r#"{"label":"a","verbose":true}"#);
    assert_eq!((entry.result_bytes, entry.created_at, entry.used_at.0), (1, start, start.0 + 60_000_000));
    assert_eq!(entry.expires_at, Some(Timestamp(start.0 + 3_600_000_000)));
    assert_eq!(entry.uses, [], "with a version, no code counts");
    let row = rows(&program.store, CACHE).remove(0);
    assert_eq!((entry.bytes, &entry.key.as_bytes()[..]), ((row.key.len() + row.value.len()) as u64, &row.key[..]));
}

#[tokio::test]
async fn an_entry_names_the_traces_that_its_run_used() {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    life.call("a").await;
    let entry = life.cache().list().next().expect("one").expect("readable");
    let names: Vec<_> = entry.uses.iter().map(|used| (used.name.as_str(), used.is_task)).collect();
    assert_eq!(names, [("kit.work", false), ("kit.rest", false)]);
}

#[tokio::test]
async fn a_list_is_read_in_pages() {
    let program = Program::of(task("kit.task", 1, AUTO));
    let life = program.open().await;
    for number in 0..1100 {
        life.call(&number.to_string()).await;
    }
    assert_eq!(life.labels().len(), 1100);
    assert_eq!(life.cache().evict_all().await.expect("evicts"), 1100);
    assert_eq!(life.cache().list().count(), 0);
}

#[tokio::test]
async fn what_is_evicted_is_gone_and_durably_so() {
    let program = Program::of(task("kit.task", 1, AUTO));
    let life = program.open().await;
    called(&program, &life, &["a", "b", "c"]).await;
    let other = program.with(task("kit.other", 1, AUTO));
    let other_life = other.open().await;
    other_life.call("x").await;
    let cache = life.cache();
    let key = cache.list().map(|entry| entry.expect("readable")).find(|entry| entry.run_is("b")).expect("b").key;
    assert!(cache.evict(key).await.expect("evicts"));
    assert!(!cache.evict(key).await.expect("is gone"));
    assert_eq!(program.crashed().open().await.labels(), ["a", "c", "x"]);
    assert_eq!(cache.evict_call(&life.request("a", false)).await.expect("evicts"), 1);
    assert_eq!(cache.evict_task("kit.none").await.expect("evicts"), 0);
    assert_eq!(cache.evict_task("kit.task").await.expect("evicts"), 1);
    assert_eq!(life.labels(), ["x"]);
    assert_eq!(life.call("a").await, 2, "it runs again");
    assert_eq!(cache.evict_all().await.expect("evicts"), 2);
    assert_eq!((rows(&program.store, CACHE).len(), rows(&program.store, CACHE_USE).len()), (0, 0));
}

trait RunIs {
    fn run_is(&self, label: &str) -> bool;
}

impl RunIs for relive::Entry {
    fn run_is(&self, label: &str) -> bool {
        self.input.get("label") == Some(&relive::Value::Text(label.to_owned()))
    }
}

#[tokio::test]
async fn a_call_is_evicted_in_all_its_versions() {
    let old = Program::of(task("kit.task", 1, AUTO));
    old.open().await.call("a").await;
    let life = old.with(task("kit.task", 2, AUTO)).open().await;
    assert_eq!((life.call("a").await, life.call("b").await), (2, 1));
    assert_eq!(life.cache().evict_call(&life.request("a", false)).await.expect("evicts"), 2);
    assert_eq!(life.labels(), ["b"]);
}

#[tokio::test]
async fn what_has_expired_is_evicted_alone() {
    let hour = Duration::from_secs(3600);
    let program = Program::of(task("kit.task", 1, CachePolicy { ttl: Some(hour), ..AUTO }));
    let life = program.open().await;
    called(&program, &life, &["a", "b"]).await;
    program.with(task("kit.lasting", 1, AUTO)).open().await.call("x").await;
    program.watch.pass(hour - MINUTE);
    assert_eq!(life.cache().evict_expired().await.expect("evicts"), 1);
    assert_eq!(life.labels(), ["b", "x"]);
}

#[tokio::test]
async fn what_was_used_the_longest_ago_has_to_go() {
    let bytes = entry_bytes().await;
    let program = Program { bytes_max: Some(4 * bytes), ..Program::of(task("kit.task", 1, AUTO)) };
    let life = program.open().await;
    called(&program, &life, &["a", "b", "c", "d"]).await;
    assert_eq!(life.cache().trim().await.expect("trims"), 0, "it fits");
    called(&program, &life, &["a", "e"]).await;
    life.cache().trim().await.expect("trims");
    assert_eq!(life.labels(), ["a", "d", "e"], "an eighth more than must go");
    assert!(matches!(life.explain("b").reasons()[0], Reason::Evicted { .. }));
}

#[tokio::test]
async fn the_cache_is_brought_within_its_size_without_being_asked() {
    let bytes = entry_bytes().await;
    let program = Program { bytes_max: Some(4 * bytes), ..Program::of(task("kit.task", 1, AUTO)) };
    let life = program.open().await;
    for number in 0..100 {
        life.call(&(number % 10).to_string()).await;
    }
    // Waits for what is under way, and has nothing left to do if that was enough.
    life.cache().trim().await.expect("trims");
    called(&program, &life, &["x"]).await;
    let size = || life.cache().list().map(|entry| entry.expect("readable").bytes).sum::<u64>();
    guard(async {
        while size() > 4 * bytes {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(life.labels().contains(&"x".to_owned()));
}

#[tokio::test]
async fn what_was_used_and_how_large_the_cache_is_survive_a_shutdown() {
    let bytes = entry_bytes().await;
    let program = Program { bytes_max: Some(4 * bytes), ..Program::of(task("kit.task", 1, AUTO)) };
    let life = program.open().await;
    called(&program, &life, &["a", "b", "c", "d", "a"]).await;
    life.cache().trim().await.expect("counts");
    called(&program, &life, &["b"]).await;
    life.engine.shutdown().await.expect("shuts down");
    assert!(program.store.get(META, b"cache").expect("reads").is_some(), "so the next life need not count");
    let life = program.open().await;
    called(&program, &life, &["e"]).await;
    assert!(program.store.get(META, b"cache").expect("reads").is_none(), "which is no longer so");
    life.cache().trim().await.expect("trims");
    assert_eq!(life.labels(), ["a", "b", "e"]);
}

#[tokio::test]
async fn after_a_crash_the_cache_is_counted() {
    let bytes = entry_bytes().await;
    let program = Program { bytes_max: Some(4 * bytes), ..Program::of(task("kit.task", 1, AUTO)) };
    called(&program, &program.open().await, &["a", "b", "c", "d"]).await;
    let next = program.crashed();
    let life = next.open().await;
    called(&next, &life, &["e"]).await;
    guard(async {
        while life.labels().len() > 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    life.cache().trim().await.expect("waits");
    assert_eq!(life.labels(), ["c", "d", "e"]);
}

#[tokio::test]
async fn a_result_larger_than_the_cache_is_not_cached() {
    let program = Program { bytes_max: Some(0), ..Program::of(task("kit.task", 1, AUTO)) };
    let life = program.open().await;
    assert_eq!((life.call("a").await, life.call("a").await), (1, 2));
    assert_eq!(rows(&program.store, CACHE).len(), 0);
}

#[tokio::test]
async fn a_closed_engine_has_no_cache() {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    let cache = life.cache();
    life.engine.shutdown().await.expect("shuts down");
    assert_eq!(cache.evict_all().await.expect_err("closed").kind(), relive::ErrorKind::Closed);
    assert_eq!(cache.list().next().expect("says why").expect_err("closed").kind(), relive::ErrorKind::Closed);
    assert_eq!(cache.list().count(), 1);
}

#[tokio::test]
async fn more_may_have_to_go_than_one_scan_can_find() {
    let program = Program { bytes_max: Some(2_000_000), ..Program::of(task("kit.task", 1, AUTO)) };
    let entries = 40_000u32;
    let put = |number: u32| {
        // In no order of time.
        let at = Timestamp(i64::from(number) * 7919 % i64::from(entries));
        let key = [[0; 60].as_slice(), &number.to_be_bytes()].concat();
        let usage = CacheUse { bytes: 100, created_at: at, used_at: at };
        let (value, _) = codec::seal(&key, codec::Chain::default(), &usage).expect("is small");
        Operation::Put { keyspace: CACHE_USE, key, value }
    };
    let write = Write { preconditions: Vec::new(), operations: (0..entries).map(put).collect() };
    program.store.commit(&[write], Durability::Buffered).expect("memory does not fail");
    let life = program.open().await;
    assert_eq!(life.cache().trim().await.expect("trims"), 22_500);
    let used = |row: &Row| codec::open::<CacheUse>(&row.key, &row.value).expect("is whole").0.used_at;
    let oldest = rows(&program.store, CACHE_USE).iter().map(used).min();
    assert_eq!(oldest, Some(Timestamp(22_500)), "those that were used last are left");
}
