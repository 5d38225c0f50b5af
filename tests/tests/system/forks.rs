//! Forks: what is shared is not run again, what is changed is seen by the body, and nobody else ever sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use relive::{Engine, ErrorKind, Event, RunId, RunStatus, Sequence, task, trace};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize};

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
    assert!(matches!(engine.status(id)?, RunStatus::Blocked { .. }));
    engine.cancel(id).await?;
    let unknown = engine.fork(RunId::from_bytes([9; 16])).at(Sequence(0)).await.expect_err("there is none");
    assert_eq!(unknown.kind(), ErrorKind::UnknownRun);
    let nothing = engine.fork(run).await.expect_err("nothing is said");
    assert!(nothing.to_string().contains("say at which event"), "{nothing}");
    engine.shutdown().await
}

/// What JSON and MessagePack do not write alike: an address, a map whose keys are numbers, a number without end, a wide one.
type Odd = (IpAddr, BTreeMap<u16, bool>, Option<f64>, u128);

macro_rules! odd_traces {
    ($($name:ident in $codec:literal),*) => {$(
        #[trace(codec = $codec)]
        async fn $name() -> relive::Result<Odd> {
            Ok((IpAddr::from([127, 0, 0, 1]), BTreeMap::new(), Some(1.5), 0))
        }
    )*};
}
odd_traces!(odd_in_messagepack in "messagepack", odd_in_json in "json", odd_in_bincode in "bincode");

#[task(name = "forks.odd", cache = "off")]
async fn odd() -> relive::Result<String> {
    let all = [odd_in_messagepack().await?, odd_in_json().await?, odd_in_bincode().await?];
    Ok(all.map(|odd| format!("{odd:?}")).join(" "))
}

#[task(name = "forks.asks", cache = "off")]
async fn asks() -> relive::Result<String> {
    Ok(format!("{:?}", relive::signal::<Odd>("odd").await?))
}

const PLAIN: &str = "(127.0.0.1, {}, Some(1.5), 0)";
const GIVEN: &str = r#"["10.0.0.7", {"7": true}, 1e300, 340282366920938463463374607431768211455]"#;

fn given(float: f64) -> Odd {
    (IpAddr::from([10, 0, 0, 7]), BTreeMap::from([(7, true)]), Some(float), u128::MAX)
}

#[tokio::test]
async fn a_value_of_any_type_is_set_in_whichever_codec_the_trace_writes() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened());
    let engine = open(&store, &probe).await;
    let handle = engine.start(odd()).await?;
    let run = handle.id();
    assert_eq!(guard(handle).await?, [PLAIN; 3].join(" "));
    for (at, name) in ["odd_in_messagepack", "odd_in_json", "odd_in_bincode"].into_iter().enumerate() {
        let expected = |odd: Odd| {
            let mut all = [PLAIN.to_owned(), PLAIN.to_owned(), PLAIN.to_owned()];
            all[at] = format!("{odd:?}");
            relive::Value::Text(all.join(" "))
        };
        let forked = guard(engine.fork(run).set(name, given(2.5)).await?).await?;
        assert_eq!(forked, expected(given(2.5)), "{name}");
        let forked = guard(engine.fork(run).set_json(name, GIVEN).await?).await?;
        assert_eq!(forked, expected(given(1e300)), "{name}");
        let endless = engine.fork(run).set(name, given(f64::INFINITY)).await;
        match endless {
            Ok(fork) => assert_eq!(guard(fork).await?, expected(given(f64::INFINITY)), "{name}"),
            Err(error) => {
                assert!(name == "odd_in_json" && error.to_string().contains("no infinity"), "{name}: {error}");
            }
        }
        let no_json = engine.fork(run).set_json(name, "inf").await.expect_err("JSON has none");
        assert_eq!(no_json.kind(), ErrorKind::Payload, "{no_json}");
    }
    engine.shutdown().await
}

#[tokio::test]
async fn a_signal_of_any_type_is_given_as_json() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened());
    let engine = open(&store, &probe).await;
    let (early, late) = (engine.start(asks()).await?, engine.start(asks()).await?);
    assert_ne!(early.id(), late.id());
    engine.signal_json(early.id(), "odd", GIVEN).await?;
    assert_eq!(guard(early).await?, format!("{:?}", given(1e300)));
    engine.signal(late.id(), "odd", given(f64::INFINITY)).await?;
    assert_eq!(guard(late).await?, format!("{:?}", given(f64::INFINITY)));
    engine.shutdown().await
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Host {
    Address(IpAddr),
    Name(String),
}

#[trace(name = "forks.host")]
async fn host(of: Host) -> relive::Result<Host> {
    Ok(of)
}

#[task(name = "forks.hosts")]
async fn hosts(of: Vec<Host>) -> relive::Result<Vec<Host>> {
    let mut hosts = Vec::new();
    for one in of {
        hosts.push(host(one).await?);
    }
    Ok(hosts)
}

#[tokio::test]
async fn an_address_in_an_untagged_enum_is_recorded_replayed_and_cached() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened());
    let engine = open(&store, &probe).await;
    let of = vec![Host::Address([10, 0, 0, 7].into()), Host::Name("db".to_owned())];
    let handle = engine.start(hosts(of.clone())).await?;
    let run = handle.id();
    assert_eq!(guard(handle).await?, of);
    assert!(matches!(engine.replay(run).await?, Some(relive::TaskOutcome::Ok(_))));
    let again = engine.start(hosts(of.clone())).await?;
    assert_eq!((again.id(), guard(again).await?), (run, of.clone()), "answered from the cache");
    let other = engine.start(hosts(of[..1].to_vec())).await?;
    assert_ne!(other.id(), run);
    assert_eq!(guard(other).await?, of[..1]);
    engine.shutdown().await
}
