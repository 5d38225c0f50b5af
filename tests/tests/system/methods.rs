//! What a traced function may look like: methods, generics, references, and what is kept of its arguments.

use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use relive::{Error, Event, PayloadCodec, TraceOutcome, Value, task, trace};
use relive_storage::MemoryStore;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cuts::{cut_with, starts};
use super::support::{Probe, builder, events, guard, open_with, rows};

/// A client: no data.
#[derive(Clone, Debug)]
struct Client {
    base: u64,
}

impl Client {
    #[trace(name = "methods.get")]
    async fn get(&self, label: &str, amounts: &[u64]) -> relive::Result<u64> {
        Probe::here()?.begin(label);
        Ok(self.base + amounts.iter().sum::<u64>())
    }

    #[trace(name = "methods.get_shared")]
    async fn get_shared(self: Arc<Self>, label: String) -> relive::Result<u64> {
        Probe::here()?.begin(&label);
        Ok(self.base)
    }

    #[trace(name = "methods.get_plain")]
    fn get_plain(&self, label: &str) -> relive::Result<u64> {
        Probe::here()?.begin(label);
        Ok(self.base)
    }

    #[trace(name = "methods.get_blocking", blocking, retries = 1)]
    fn get_blocking(&self, label: &str) -> relive::Result<u64> {
        Probe::here()?.begin(label);
        Ok(self.base)
    }

    #[trace(name = "methods.get_spawned", spawn, retries = 1, timeout = "1h")]
    async fn get_spawned(&self, label: &str) -> relive::Result<u64> {
        Probe::here()?.begin(label);
        Ok(self.base)
    }

    #[trace(name = "methods.items")]
    fn items(&self, label: &str, count: usize) -> impl Iterator<Item = relive::Result<u64>> {
        let base = self.base;
        let _ = label;
        (0..count as u64).map(move |number| Ok(base + number))
    }

    #[trace(name = "methods.stream", resume = "from")]
    fn stream(&self, label: &str, from: u64) -> impl Stream<Item = relive::Result<u64>> {
        let base = self.base;
        let _ = label;
        stream::iter((from..3).map(move |number| Ok(base + number)))
    }
}

#[task(name = "methods.all")]
async fn all() -> relive::Result<Vec<u64>> {
    let client = Arc::new(Client { base: 10 });
    let mut found = vec![
        client.get("get", &[1, 2]).await?,
        Arc::clone(&client).get_shared("shared".into()).await?,
        client.get_plain("plain")?,
        client.get_blocking("blocking").await?,
        client.get_spawned("spawned").await?,
    ];
    for item in client.items("items", 2) {
        found.push(item?);
    }
    found.extend(client.stream("stream", 0).try_collect::<Vec<_>>().await?);
    Ok(found)
}

#[tokio::test]
async fn methods_of_every_form_survive_a_crash_behind_any_write() {
    let (found, cuts) = cut_with(all, |builder| builder).await;
    assert_eq!(found, [13, 10, 10, 10, 10, 10, 11, 10, 11, 12]);
    let input = |label: &str| {
        let cut = cuts.last().expect("there are some");
        let at = starts(&cut.after).into_iter().find(|(_, of)| of == label).map(|(at, _)| at);
        match &cut.after[at.expect("it was called")] {
            Event::TraceStarted(started) => started.input.to_value(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(input("get").get("self"), None, "what it is called on is no data");
    assert!(input("get").get("amounts").is_some());
}

#[trace(name = "methods.generic")]
async fn generic<T, const N: usize>(label: &str, value: T) -> relive::Result<Vec<T>>
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    Probe::here()?.begin(label);
    Ok(vec![value; N])
}

#[trace(name = "methods.generic_plain")]
fn generic_plain<T: Serialize + DeserializeOwned + 'static>(label: &str, value: T) -> relive::Result<T> {
    Probe::here()?.begin(label);
    Ok(value)
}

#[trace(name = "methods.generic_items")]
fn generic_items<T>(label: &str, values: Vec<T>) -> impl Iterator<Item = relive::Result<T>>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let _ = label;
    values.into_iter().map(Ok)
}

#[task(name = "methods.generics")]
async fn generics() -> relive::Result<(Vec<u8>, Vec<String>, String, Vec<i64>)> {
    let numbers = generic::<u8, 2>("numbers", 7).await?;
    let texts = generic::<String, 1>("texts", "x".into()).await?;
    let plain = generic_plain("plain", "y".to_owned())?;
    let items = generic_items("items", vec![-1i64, 2]).collect::<Result<_, _>>()?;
    Ok((numbers, texts, plain, items))
}

#[tokio::test]
async fn generic_traces_survive_a_crash_behind_any_write() {
    let (found, _) = cut_with(generics, |builder| builder).await;
    assert_eq!(found, (vec![7, 7], vec!["x".to_owned()], "y".to_owned(), vec![-1, 2]));
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    name: String,
    password: String,
}

#[trace(name = "methods.login", skip(client), redact(token, user.password))]
async fn login(client: &Client, label: &str, user: &User, token: String) -> relive::Result<usize> {
    Probe::here()?.begin(label);
    let _ = client;
    Ok(user.password.len() + token.len())
}

#[trace(name = "methods.secret_items", skip(client), redact(token), codec = "json")]
fn secret_items(client: Client, label: &str, token: &str) -> impl Iterator<Item = relive::Result<u64>> {
    let _ = label;
    (0..token.len() as u64).map(move |number| Ok(client.base + number))
}

#[trace(name = "methods.coded_stream", codec = "bincode")]
fn coded_stream(label: &str) -> impl Stream<Item = relive::Result<(u64, String)>> {
    let _ = label;
    stream::iter([Ok((1, "one".to_owned())), Ok((2, "two".to_owned()))])
}

const SECRET: &str = "correct horse";

#[task(name = "methods.kept")]
async fn kept() -> relive::Result<u64> {
    let client = Client { base: 0 };
    let user = |password: &str| User { name: "ann".into(), password: password.into() };
    let first = login(&client, "login", &user(SECRET), SECRET.into()).await?;
    let items: Vec<u64> = secret_items(client.clone(), "items", SECRET).collect::<Result<_, _>>()?;
    let coded: Vec<(u64, String)> = coded_stream("coded").try_collect().await?;
    Ok(first as u64 + items.len() as u64 + coded.len() as u64)
}

#[tokio::test]
async fn skipped_arguments_are_not_kept_and_redacted_ones_are_masked() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe)).await;
    let handle = engine.start(kept()).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect("runs"), 26 + 13 + 2);
    let log = events(&engine, run);
    for (at, _) in starts(&log) {
        let Event::TraceStarted(started) = &log[at] else { continue };
        assert_eq!(started.input.to_value().get("client"), None);
    }
    for row in rows(&store, relive_engine::log::LOG) {
        let text = String::from_utf8_lossy(&row.value).into_owned();
        assert!(!text.contains(SECRET), "{text}");
    }
    let codecs = log.iter().filter_map(|event| match event {
        Event::TraceYielded(yielded) => Some(yielded.item.codec()),
        _ => None,
    });
    let codecs: Vec<_> = codecs.collect();
    assert_eq!(codecs[..13], [PayloadCodec::JSON; 13]);
    assert_eq!(codecs[13..], [PayloadCodec::BINCODE; 2]);
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[tokio::test]
async fn items_in_other_codecs_survive_a_crash_behind_any_write() {
    cut_with(kept, |builder| builder).await;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
    note: String,
}

#[trace(name = "methods.ship", key = order.id)]
async fn ship(label: String, order: Order) -> relive::Result<String> {
    Probe::here()?.begin(&label);
    Ok(order.note)
}

/// What a release of the program writes into a note.
#[derive(Clone, Copy)]
struct Note(&'static str);

#[task(name = "methods.ships")]
async fn ships() -> relive::Result<Vec<String>> {
    let Note(note) = *relive::provided::<Note>()?;
    let order = |id| Order { id, note: format!("{note} {id}") };
    let first = ship("first".into(), order(1)).await?;
    let second = ship("second".into(), order(2)).await?;
    Ok(vec![first, second, hold("gate".into()).await?])
}

#[trace(name = "methods.hold")]
async fn hold(label: String) -> relive::Result<String> {
    Probe::here()?.hold(&label).await;
    Ok(label)
}

#[tokio::test]
async fn a_key_says_which_calls_are_the_same_whatever_the_other_arguments() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe).provide(Note("old"))).await;
    let run = engine.start(ships()).await.expect("starts").id();
    probe.begun("gate", 1).await;
    let next = Probe::default();
    next.open("gate");
    let engine = open_with(&store.copy(), builder(&next).provide(Note("new"))).await;
    let found = guard(engine.handle::<Vec<String>, Error>(run).expect("known")).await.expect("goes on");
    assert_eq!(found, ["old 1", "old 2", "gate"], "recorded under the key");
    assert_eq!(next.all_begun(), ["gate"]);
    let log = events(&engine, run);
    let note = |at: usize| match &log[at] {
        Event::TraceStarted(started) => {
            started.input.to_value().get("order").and_then(|order| order.get("note").cloned())
        }
        _ => None,
    };
    let (at, _) = starts(&log).into_iter().find(|(_, label)| label == "first").expect("it was called");
    assert_eq!(note(at), Some(Value::Text("old 1".into())), "all arguments are on record");
    assert!(matches!(super::cuts::outcome_of(&log, at), Some(TraceOutcome::Ok(_))));
}

#[tokio::test]
async fn outside_a_task_a_stream_is_an_error_unless_it_is_to_be_called() {
    let first = coded_stream("x").next().await.expect("an item");
    assert_eq!(first.expect_err("outside").kind(), relive::ErrorKind::OutsideTask);
    assert_eq!(plainly(3).try_collect::<Vec<_>>().await.expect("a plain call"), [0, 1, 2]);
    assert_eq!(plain_items(3).collect::<Result<Vec<_>, _>>().expect("a plain call"), [0, 1, 2]);
}

#[trace(name = "methods.plainly", outside = "call")]
fn plainly(count: u64) -> impl Stream<Item = relive::Result<u64>> {
    stream::iter((0..count).map(Ok))
}

#[trace(name = "methods.plain_items", outside = "call")]
fn plain_items(count: u64) -> impl Iterator<Item = relive::Result<u64>> {
    (0..count).map(Ok)
}
