//! Forks: what is shared is not run again, what is changed is seen by the body, and nobody else ever sees it.

use relive::{Engine, ErrorKind, Event, RunId, RunStatus, Sequence, task, trace};
use relive_storage::MemoryStore;

use super::support::{Probe, events, guard, log_rows, open};

#[trace(name = "forks.weigh")]
async fn weigh(item: String) -> relive::Result<u64> {
    let probe = Probe::here()?;
    probe.begin(&format!("{item} {}", relive::idempotency_key()?));
    probe.hold(&item).await;
    Ok(item.len() as u64)
}

#[task(name = "forks.parcel")]
async fn parcel(item: String) -> relive::Result<u64> {
    Ok(weigh(format!("{item} in a parcel")).await? + 1)
}

/// A trace, a child, another trace.
#[task(name = "forks.send")]
async fn send(item: String) -> relive::Result<String> {
    let weight = weigh(item.clone()).await?;
    let packed = parcel(item.clone()).await?;
    let stamp = weigh("stamp".to_owned()).await?;
    Ok(format!("{weight} {packed} {stamp}"))
}

fn opened() -> Probe {
    let probe = Probe::default();
    ["cup", "cup in a parcel", "stamp"].iter().for_each(|gate| probe.open(gate));
    probe
}

async fn sent(engine: &Engine) -> relive::Result<RunId> {
    let handle = engine.start(send("cup".to_owned()).id("order")).await?;
    let run = handle.id();
    assert_eq!(guard(handle).await?, "3 16 5");
    Ok(run)
}

fn child_of(engine: &Engine, run: RunId) -> RunId {
    let child = |event: &Event| if let Event::TraceStarted(started) = event { started.child } else { None };
    events(engine, run).iter().find_map(child).expect("it calls a task")
}

#[tokio::test]
async fn a_fork_runs_what_is_not_shared_and_leaves_the_run_as_it_was() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened());
    let engine = open(&store, &probe).await;
    let run = sent(&engine).await?;
    let before = log_rows(&store, run);
    let all = events(&engine, run);
    for at in 0..all.len() as u64 {
        let (cups, stamps) = (probe.count("cup"), probe.count("stamp"));
        let (fork, shared) = engine.fork(run).at(Sequence(at)).start().await?;
        let id = fork.id();
        assert_eq!(shared, Sequence(at.min(all.len() as u64 - 2)), "a fork goes on");
        assert_eq!(guard(fork).await?.to_string(), "\"3 16 5\"");
        // What had completed in what is shared is not run again; the rest is.
        let completed = |name: &str| {
            let started = all.iter().position(|event| {
                matches!(event, Event::TraceStarted(started) if started.input.to_value().to_string().contains(name)
                    && started.child.is_none())
            });
            let done = |event: &Event| matches!(event, Event::TraceCompleted(completed) if Some(completed.trace.0 as usize) == started);
            all.iter().position(done).expect("it completed") as u64
        };
        assert_eq!(probe.count("cup") - cups, usize::from(completed("\"cup\"") > shared.0), "at {at}");
        assert_eq!(probe.count("stamp") - stamps, usize::from(completed("stamp") > shared.0), "at {at}");
        let Some(Event::TaskStarted(started)) = events(&engine, id).into_iter().next() else { panic!("it begins") };
        assert_eq!(started.cause, relive::Cause::Forked { run, at: shared });
        assert_eq!((started.id, started.parent), (None, None));
        let kept = child_of(&engine, id) == child_of(&engine, run);
        let child_done = all.iter().rposition(|event| {
            matches!(event, Event::TraceCompleted(completed)
            if matches!(&all[completed.trace.0 as usize], Event::TraceStarted(started) if started.child.is_some()))
        });
        assert_eq!(kept, child_done.expect("the child ended") as u64 <= shared.0, "at {at}");
    }
    assert_eq!(log_rows(&store, run), before);
    // Keys of effects differ by run.
    let keys: std::collections::BTreeSet<String> =
        probe.all_begun().into_iter().filter(|label| label.starts_with("stamp ")).collect();
    assert_eq!(keys.len(), probe.count("stamp"));
    engine.shutdown().await
}

#[tokio::test]
async fn a_changed_result_is_seen_by_the_body_and_by_no_other_call() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened());
    let engine = open(&store, &probe).await;
    let run = sent(&engine).await?;
    engine.cache().evict_all().await?;
    let fork = engine.fork(run).set("forks.weigh#1", 300u64).await?;
    let id = fork.id();
    assert_eq!(guard(fork).await?.to_string(), "\"300 16 5\"");
    // Neither the cache nor an equal call knows of it, nor does a new attempt of the fork enter it there.
    assert!(engine.cache().list().all(|entry| entry.expect("readable").run != id));
    assert_eq!(guard(engine.run(send("cup".to_owned()))).await?, "3 16 5");

    let held = Probe::default();
    let other = MemoryStore::new();
    ["cup", "cup in a parcel"].iter().for_each(|gate| held.open(gate));
    let first = open(&other, &held).await;
    let run = first.start(send("cup".to_owned())).await?.id();
    held.begun("stamp", 1).await;
    let fork = first.fork(run).set("forks.parcel", 7u64).await?.id();
    held.begun("stamp", 2).await;
    drop(first);
    // Also over a restart: an equal call joins the run, and not its fork.
    let second = open(&other, &held).await;
    let joined = second.start(send("cup".to_owned())).await?;
    assert_eq!(joined.id(), run);
    held.open("stamp");
    assert_eq!(guard(joined).await?, "3 16 5");
    let forked = second.handle::<String, relive::Error>(fork)?;
    assert_eq!(guard(forked).await?, "3 7 5");
    second.shutdown().await?;
    engine.shutdown().await
}

#[tokio::test]
async fn a_value_of_another_type_is_found_out_when_the_body_reads_it() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened());
    let engine = open(&store, &probe).await;
    let run = sent(&engine).await?;
    let fork = engine.fork(run).set("forks.parcel", "heavy").await?;
    let id = fork.id();
    let error = guard(fork).await.expect_err("it is a number");
    assert_eq!(error.kind(), ErrorKind::Payload, "{error}");
    assert!(error.to_string().contains("forks.parcel"), "{error}");
    assert!(matches!(engine.status(id)?, RunStatus::Waiting { .. }));
    engine.cancel(id).await?;
    let unknown = engine.fork(RunId::from_bytes([9; 16])).at(Sequence(0)).await.expect_err("there is none");
    assert_eq!(unknown.kind(), ErrorKind::UnknownRun);
    let nothing = engine.fork(run).await.expect_err("nothing is said");
    assert!(nothing.to_string().contains("say at which event"), "{nothing}");
    engine.shutdown().await
}
