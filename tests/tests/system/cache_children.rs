//! Cached results of tasks that call tasks: what the child used, its parent used.

use relive::__private::{TaskEntry, TaskMeta, inventory};
use relive::{Error, task, trace};
use relive_storage::MemoryStore;

use super::cache_kit::{Life, Program, edited, value};
use super::support::{Probe, guard};

#[trace(name = "cache_children.leaf")]
async fn leaf(label: String) -> relive::Result<usize> {
    let probe = Probe::here()?;
    if label.starts_with("held") {
        probe.hold(&label).await;
    } else {
        probe.begin(&label);
    }
    if label.starts_with("fails") { Err(Error::msg("the leaf failed")) } else { Ok(probe.count(&label)) }
}

#[trace(name = "cache_children.own")]
async fn own() -> relive::Result<()> {
    Ok(())
}

#[trace(name = "cache_children.strange")]
async fn strange() -> relive::Result<()> {
    Ok(())
}

#[task(name = "cache_children.child")]
async fn child(label: String) -> relive::Result<usize> {
    leaf(label).await
}

/// Calls nothing itself but the task below it.
#[task(name = "cache_children.middle")]
async fn middle(label: String) -> relive::Result<usize> {
    child(label).await
}

#[task(name = "cache_children.parent")]
async fn parent(label: String, verbose: bool) -> relive::Result<usize> {
    own().await?;
    let found = middle(label).await.unwrap_or(if verbose { 100 } else { 99 });
    Ok(found)
}

#[task(name = "cache_children.calls_child", cache = "off")]
async fn calls_child(label: String, verbose: bool) -> relive::Result<usize> {
    Ok(child(label).await? + usize::from(verbose))
}

fn linked(name: &str) -> &'static TaskMeta {
    let mut tasks = inventory::iter::<TaskEntry>().map(|entry| entry.0);
    tasks.find(|task| task.name == name).expect("it is linked in")
}

fn program() -> Program {
    let tasks = ["parent", "middle", "child", "calls_child"].map(|name| linked(&format!("cache_children.{name}")));
    Program { tasks: tasks.to_vec(), ..Program::default() }
}

/// Another release on the same store, in which this trace was edited.
async fn release(program: &Program, trace: &'static str) -> Life {
    Program { edited: vec![edited(trace)], ..program.clone() }.open().await
}

#[tokio::test]
async fn an_edit_of_a_trace_that_only_a_childs_child_calls_invalidates_the_parents_entry() {
    let program = program();
    let life = program.open().await;
    assert_eq!(life.call("a").await, 1);
    assert_eq!(life.call("a").await, 1, "cached");
    drop(life);
    let life = release(&program, "cache_children.strange").await;
    assert_eq!(life.call("a").await, 1, "nobody used that one");
    drop(life);
    let life = release(&program, "cache_children.leaf").await;
    assert_eq!(life.call("a").await, 2, "found anew, all the way down");
}

#[tokio::test]
async fn an_edit_of_the_parents_own_trace_leaves_the_childs_entry() {
    let program = program();
    program.open().await.call("a").await;
    let life = release(&program, "cache_children.own").await;
    assert_eq!(life.call("a").await, 1);
    assert_eq!(program.probe.count("a"), 1, "the parent ran, its child did not");
}

#[tokio::test]
async fn a_child_that_was_cached_counts_as_if_it_had_run() {
    let program = program();
    let life = program.open().await;
    let request = super::cache_kit::request(linked("cache_children.calls_child"), "a", false);
    assert_eq!(value(life.start(request).await).await.expect("succeeds"), 1);
    assert_eq!(life.call("a").await, 1, "its child is cached");
    drop(life);
    let life = release(&program, "cache_children.leaf").await;
    assert_eq!(life.call("a").await, 2);
}

#[tokio::test]
async fn a_childs_failure_that_the_parent_caught_leaves_no_entry() {
    let program = program();
    let life = program.open().await;
    assert_eq!(life.call("fails").await, 99);
    assert_eq!(life.labels(), Vec::<String>::new());
    assert_eq!(life.call("fails").await, 99);
    assert_eq!(program.probe.count("fails"), 2, "tried again");
}

#[tokio::test]
async fn after_a_crash_the_parents_entry_depends_on_what_its_child_used_all_the_same() {
    let program = program();
    let life = program.open().await;
    let running = life.start(life.request("held", false)).await;
    program.probe.begun("held", 1).await;
    let after = Program { probe: Probe::default(), ..program.crashed() };
    program.probe.open("held");
    guard(running.outcome()).await.expect("ends");
    for store in [after.store.copy(), program.store.copy()] {
        let again = Program { store: MemoryStore::copy(&store), probe: Probe::default(), ..program.clone() };
        again.probe.open("held");
        let life = again.open().await;
        life.call("held").await;
        let before = again.probe.count("held");
        life.call("held").await;
        assert_eq!(again.probe.count("held"), before, "cached");
        drop(life);
        let life = release(&again, "cache_children.leaf").await;
        life.call("held").await;
        assert_eq!(again.probe.count("held"), before + 1);
    }
}
