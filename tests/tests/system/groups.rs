//! Groups label a part of a run's timeline, and nothing else.

use futures::future::join;
use relive::{Error, Event, task, trace};
use relive_storage::MemoryStore;

use super::support::{Probe, builder, events, guard, open, open_with};

#[trace(name = "groups.step")]
async fn step(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(1)
}

#[trace(name = "groups.plain")]
fn plain(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(1)
}

#[trace(name = "groups.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

/// What a release of the program calls its groups.
#[derive(Clone, Copy)]
struct Named(&'static str);

#[task(name = "groups.grouped")]
async fn grouped() -> relive::Result<u32> {
    let Named(name) = *relive::provided::<Named>()?;
    let load = relive::group(name, async {
        let first = step("a".into()).await? + plain("b".into())?;
        let (left, right) = join(
            relive::group("left", async { Ok::<_, Error>(step("c".into()).await? + step("d".into()).await?) }),
            relive::group("right", step("e".into())),
        )
        .await;
        Ok::<_, Error>(first + left? + right? + step("f".into()).await?)
    });
    let (load, beside) = join(load, step("beside".into())).await;
    Ok(load? + beside? + held("gate".into()).await?)
}

fn groups(log: &[Event]) -> Vec<(String, Option<String>)> {
    let mut groups: Vec<_> = super::cuts::starts(log)
        .into_iter()
        .map(|(at, label)| match &log[at] {
            Event::TraceStarted(started) => (label, started.group.clone()),
            _ => (label, None),
        })
        .collect();
    groups.sort();
    groups
}

#[tokio::test]
async fn a_call_is_shown_in_the_groups_it_was_made_in() {
    let probe = Probe::default();
    probe.open("gate");
    let engine = open_with(&MemoryStore::new(), builder(&probe).provide(Named("load"))).await;
    let handle = engine.start(grouped()).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect("runs"), 8);
    let expected = [
        ("a", Some("load")),
        ("b", Some("load")),
        ("beside", None),
        ("c", Some("load/left")),
        ("d", Some("load/left")),
        ("e", Some("load/right")),
        ("f", Some("load")),
        ("gate", None),
    ];
    let expected = expected.map(|(label, group)| (label.to_owned(), group.map(ToOwned::to_owned)));
    assert_eq!(groups(&events(&engine, run)), expected);
}

#[tokio::test]
async fn a_group_may_be_renamed_while_a_run_is_unfinished() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe).provide(Named("load"))).await;
    let run = engine.start(grouped()).await.expect("starts").id();
    probe.begun("gate", 1).await;
    let next = Probe::default();
    next.open("gate");
    let engine = open_with(&store.copy(), builder(&next).provide(Named("fetch"))).await;
    assert_eq!(guard(engine.handle::<u32, Error>(run).expect("known")).await.expect("goes on"), 8);
    assert_eq!(next.all_begun(), ["gate"]);
}

#[trace(name = "groups.outer")]
async fn outer(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    relive::group("inside", step("inner".into())).await
}

#[task(name = "groups.nested")]
async fn nested() -> relive::Result<u32> {
    relive::group("outside", outer("outer".into())).await
}

#[tokio::test]
async fn a_group_in_a_trace_labels_what_the_trace_calls() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let handle = engine.start(nested()).await.expect("starts");
    let run = handle.id();
    guard(handle).await.expect("runs");
    let expected = [("inner", "inside"), ("outer", "outside")];
    let expected = expected.map(|(label, group)| (label.to_owned(), Some(group.to_owned())));
    assert_eq!(groups(&events(&engine, run)), expected);
}
