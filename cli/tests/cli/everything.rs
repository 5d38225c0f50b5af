//! How every kind of trace, attempts, tags and parked runs look.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use insta::assert_snapshot;
use relive::{Event, RunId, task, trace};
use relive_engine::codec::{self, Chain};
use relive_engine::id::Sequence;
use relive_engine::index::{Standing, UNFINISHED};
use relive_engine::inspect;
use relive_engine::schema::SCHEMA;
use relive_storage::{Durability, Operation, RocksStore, Store as _, Write};
use tempfile::TempDir;

use crate::stores::{Approved, block_on, clock, count, life, redacted, takes};
use crate::{printed, relive, run};

#[trace]
fn parse(text: &str) -> relive::Result<u64> {
    takes(5)?;
    Ok(text.parse()?)
}

#[trace]
fn lines(count: u64) -> impl Stream<Item = relive::Result<u64>> + Send {
    stream::iter(0..count).map(|line| takes(10).map(|()| line))
}

#[trace]
fn words(text: &str) -> impl Iterator<Item = relive::Result<String>> {
    text.split(' ').map(|word| Ok(word.to_owned())).collect::<Vec<_>>().into_iter()
}

#[trace]
async fn rate(currency: String) -> relive::Result<u64> {
    takes(20)?;
    Ok(currency.len() as u64)
}

/// Fails whenever nobody has tried before in this process.
#[trace(retries = 2, backoff(first = "2s", jitter = false))]
async fn charge(amount: u64) -> relive::Result<u64> {
    takes(30)?;
    let is_first = TRIED.lock().unwrap().insert(relive::idempotency_key()?);
    if relive::provided::<Approved>()?.0 || is_first {
        return Err(relive::Error::msg("the bank is busy"));
    }
    Ok(amount * rate("EUR".to_owned()).await?)
}

/// Of each run, as stores are written by several tests at once.
static TRIED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

#[trace]
async fn deliver(order: u32) -> relive::Result<()> {
    takes(40)?;
    if relive::provided::<Approved>()?.0 { Ok(()) } else { Err(relive::Error::msg(format!("order {order} is lost"))) }
}

/// One trace of every kind. The last fails unless all is approved.
#[task(allow(signal))]
async fn settle(order: u32) -> relive::Result<u64> {
    let amount = parse("40")?;
    let mut sum = 0;
    let load = async {
        let mut lines = std::pin::pin!(lines(3));
        while let Some(line) = lines.next().await {
            sum += line?;
        }
        Ok::<_, relive::Error>(())
    };
    relive::group("load", load).await?;
    for word in words("a b") {
        sum += word?.len() as u64;
    }
    relive::sleep(Duration::from_secs(1)).await?;
    sum += charge(amount).await?;
    sum += count(1).await? as u64;
    sum += relive::signal::<u64>("discount").await?;
    deliver(order).await?;
    Ok(sum)
}

#[trace(retries = 1, backoff(first = "2h", max = "2h", jitter = false))]
async fn fragile(part: String) -> relive::Result<()> {
    takes(7)?;
    Err(relive::Error::msg(format!("{part} broke")))
}

/// Waits for the second try of a trace.
#[task]
async fn patient() -> relive::Result<()> {
    fragile("glass".to_owned()).await
}

/// Waits for its second attempt.
#[task(retries = 1, backoff(first = "2h", max = "2h", jitter = false))]
async fn stubborn() -> relive::Result<()> {
    Err(relive::Error::msg("not today"))
}

/// A store with a run that failed and was resumed, two that wait to be tried again, and one that is parked.
pub(crate) struct Written {
    directory: TempDir,
    pub(crate) settled: RunId,
    pub(crate) child: RunId,
    patient: RunId,
    stubborn: RunId,
}

pub(crate) fn written() -> Written {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = clock();
        let mut first = life(directory.path(), &clock, false).await;
        let call = settle(7).id("order 7").tag("customer", "42").tag("region", "eu");
        let handle = first.engine.start(call).await.unwrap();
        let settled = handle.id();
        let is_asked =
            |event: &Event| matches!(event, Event::TraceStarted(started) if started.name == "relive::signal");
        first.until(settled, is_asked).await;
        first.engine.signal(settled, "discount", 2u64).await.unwrap();
        handle.await.unwrap_err();
        let child = first.engine.events(settled).find_map(|logged| match logged.unwrap().event {
            Event::TraceStarted(started) => started.child,
            _ => None,
        });
        first.engine.shutdown().await.unwrap();
        drop(first);

        clock.turn(Duration::from_secs(60 * 60));
        let mut second = life(directory.path(), &clock, true).await;
        assert_eq!(second.engine.resume(settled).await.unwrap().id(), settled);
        second.until(settled, |event| matches!(event, Event::TaskCompleted(_))).await;
        let patient = second.engine.start(patient()).await.unwrap().id();
        second.until(patient, |event| matches!(event, Event::TraceRetried(_))).await;
        let stubborn = second.engine.start(stubborn()).await.unwrap().id();
        second.until(stubborn, |event| matches!(event, Event::TaskCompleted(_))).await;
        second.engine.shutdown().await.unwrap();
        Written { directory, settled, child: child.unwrap(), patient, stubborn }
    })
}

impl Written {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn redacted(&self, text: &str) -> String {
        let runs =
            [(self.settled, "SETTLED"), (self.child, "CHILD"), (self.patient, "PATIENT"), (self.stubborn, "STUBBORN")];
        redacted(text, &runs)
    }

    /// What `show` prints, 80 columns wide.
    fn shown(&self, run: RunId) -> String {
        let output = relive(self.path(), &["show", &run.to_string()]).env("COLUMNS", "80").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        self.redacted(&text)
    }
}

#[test]
fn a_timeline_parts_attempts_and_shows_every_kind_of_trace() {
    let store = written();
    assert_snapshot!(store.shown(store.settled));
}

#[test]
fn a_timeline_of_a_child_names_its_parent() {
    let store = written();
    let shown = store.shown(store.child);
    assert!(shown.contains("  parent   run SETTLED___________________, attempt 1\n"), "{shown}");
}

#[test]
fn a_timeline_says_when_the_next_try_is_due() {
    let store = written();
    assert_snapshot!("patient", store.shown(store.patient));
    assert_snapshot!("stubborn", store.shown(store.stubborn));
}

#[test]
fn a_log_has_a_line_for_every_kind_of_event() {
    let store = written();
    let run = store.settled.to_string();
    assert_snapshot!("log_everything", store.redacted(&printed(store.path(), &["log", &run])));
    let json = printed(store.path(), &["log", &run, "--json"]);
    assert_snapshot!("log_json_everything", store.redacted(&json));
    for (sequence, line) in json.lines().enumerate() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["sequence"], sequence);
    }
    let stubborn = printed(store.path(), &["log", &store.stubborn.to_string()]);
    assert!(stubborn.contains("TaskCompleted   err  next attempt due 2026-01-02 06:04:"), "{stubborn}");
}

#[test]
fn runs_are_found_by_a_tag() {
    let store = written();
    let tagged = |tag: &str| printed(store.path(), &["runs", "--json", "--tag", tag]);
    for tag in ["customer=42", "region=eu"] {
        let line: serde_json::Value = serde_json::from_str(&tagged(tag)).unwrap();
        assert_eq!(line["run"], store.settled.to_string());
        assert_eq!(line["tags"], serde_json::json!({ "customer": "42", "region": "eu" }));
        assert_eq!((&line["attempts"], &line["parent"]), (&2.into(), &serde_json::Value::Null));
    }
    for tag in ["customer=4", "region=us", "customer="] {
        assert_eq!(tagged(tag), "");
        assert_eq!(printed(store.path(), &["runs", "--tag", tag]), format!("no runs with the tag {tag}\n"));
    }
    for wrong in ["customer", "=42"] {
        let ran = run(store.path(), &["runs", "--tag", wrong]);
        assert!(ran.status == 2 && ran.stderr.contains("a tag is written NAME=VALUE"), "{}", ran.stderr);
    }
    let children = printed(store.path(), &["runs", "--json", "--children"]);
    let child = children.lines().find(|line| line.contains(&format!("{{\"run\":\"{}\"", store.child))).unwrap();
    assert!(child.contains(&format!("\"parent\":\"{}\"", store.settled)), "{child}");
}

#[test]
fn a_parked_run_is_shown_as_parked() {
    let store = written();
    let rocks = RocksStore::open(store.path(), &SCHEMA).unwrap();
    let mut record = inspect::unfinished(&rocks, store.patient).unwrap().unwrap();
    (record.crashes, record.crashed_at, record.standing) = (3, Sequence(2), Standing::Parked);
    let key = store.patient.as_bytes().to_vec();
    let (value, _) = codec::seal(&key, Chain::default(), &record).unwrap();
    let operations = vec![Operation::Put { keyspace: UNFINISHED, key, value }];
    rocks.commit(&[Write { preconditions: vec![], operations }], Durability::Buffered).unwrap();
    drop(rocks);
    let shown = store.shown(store.patient);
    assert!(shown.starts_with("run PATIENT___________________  patient  parked\n"), "{shown}");
    assert!(shown.contains("parked: the process died 3 times"), "{shown}");
    let runs = printed(store.path(), &["runs"]);
    assert!(runs.contains(&format!("{}  patient   parked", store.patient)), "{runs}");
    let json = printed(store.path(), &["runs", "--json"]);
    let line = |run: RunId| json.lines().find(|line| line.contains(&format!("\"run\":\"{run}\""))).unwrap().to_owned();
    assert!(line(store.patient).contains("\"retry_at\":null,\"parked\":true"), "{json}");
    let waits = "\"retry_at\":\"2026-01-02T06:04:08.322000Z\",\"parked\":false";
    assert!(line(store.stubborn).contains(waits), "{json}");
}
