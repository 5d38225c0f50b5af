//! The spans that a program sees of its runs, and their fields.
//!
//! Each test has a subscriber of its own, in force on its thread; all of an engine runs there, but blocking effects.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use relive::{task, trace};
use relive_storage::MemoryStore;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::support::{Probe, builder, guard, open, open_with};
use relive_tests::manual_clock::ManualClock;

pub(crate) type Fields = BTreeMap<&'static str, String>;

/// Spans and events as they were made.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    spans: Vec<Made>,
    /// Messages, and the spans that they were logged in, outermost first.
    events: Vec<(String, Vec<usize>)>,
    /// Level, message and fields of those that Relive told.
    told: Vec<(Level, String, Fields)>,
    /// Spans, and those that they follow from.
    follows: Vec<(usize, usize)>,
}

struct Made {
    id: u64,
    /// Its name behind those of the spans that it is in.
    path: String,
    fields: Fields,
}

impl Book {
    fn index(&self, id: &Id) -> usize {
        self.spans.iter().rposition(|made| made.id == id.into_u64()).expect("it was made")
    }
}

struct Reads<'a>(&'a mut Fields);

impl Visit for Reads<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let scope = context.span_scope(id).into_iter().flat_map(|scope| scope.from_root());
        let path: Vec<_> = scope.map(|span| span.name()).collect();
        let mut fields = Fields::new();
        attributes.record(&mut Reads(&mut fields));
        self.0.lock().spans.push(Made { id: id.into_u64(), path: path.join(" > "), fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut book = self.0.lock();
        let index = book.index(id);
        values.record(&mut Reads(&mut book.spans[index].fields));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Reads(&mut fields));
        let mut book = self.0.lock();
        let scope = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let within = scope.map(|span| book.index(&span.id())).collect();
        let message = fields.remove("message").unwrap_or_default();
        if event.metadata().target() == "relive" {
            book.told.push((*event.metadata().level(), message.clone(), fields));
        }
        book.events.push((message, within));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        let mut book = self.0.lock();
        let pair = (book.index(id), book.index(follows));
        book.follows.push(pair);
    }
}

impl Seen {
    pub(crate) fn subscriber(&self) -> Dispatch {
        // As long as there is only one subscriber, tracing asks that of whichever thread comes to a span first whether it
        // is wanted at all, and remembers its answer for all threads: so there is always another one.
        static OTHER: OnceLock<Dispatch> = OnceLock::new();
        OTHER.get_or_init(|| Dispatch::new(Registry::default()));
        Dispatch::new(Registry::default().with(self.clone()))
    }

    /// Level and fields of the events with this message, in their order.
    pub(crate) fn told(&self, message: &str) -> Vec<(Level, Fields)> {
        let book = self.0.lock();
        let told = book.told.iter().filter(|(_, told, _)| told == message);
        told.map(|(level, _, fields)| (*level, fields.clone())).collect()
    }

    /// Of each span of this name that follows from another: its fields, the path of that one, and the fields of it.
    pub(crate) fn following(&self, name: &str) -> Vec<(Fields, String, Fields)> {
        let book = self.0.lock();
        let pairs = book.follows.iter().map(|(span, before)| (&book.spans[*span], &book.spans[*before]));
        let named = pairs.filter(|(span, _)| span.path == name);
        named.map(|(span, before)| (span.fields.clone(), before.path.clone(), before.fields.clone())).collect()
    }

    /// The fields of all spans of this name, in the order in which they were made.
    pub(crate) fn all(&self, name: &str) -> Vec<Fields> {
        let book = self.0.lock();
        let named = book.spans.iter().filter(|made| made.path.rsplit(" > ").next() == Some(name));
        named.map(|made| made.fields.clone()).collect()
    }

    /// The fields of the only call of a trace.
    fn trace(&self, name: &str) -> Fields {
        let mut all = self.all("relive.trace");
        all.retain(|fields| fields["name"] == name);
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all.remove(0)
    }

    /// The spans that a message was logged in, and the fields of all of them: the inner ones count.
    fn around(&self, message: &str) -> (String, Fields) {
        let book = self.0.lock();
        let (_, within) = book.events.iter().find(|(logged, _)| logged == message).expect("it was logged");
        let path = within.last().map(|index| book.spans[*index].path.clone()).unwrap_or_default();
        (path, within.iter().flat_map(|index| book.spans[*index].fields.clone()).collect())
    }
}

pub(crate) fn has(fields: &Fields, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(fields.get(name).map(String::as_str), Some(*value), "{name} in {fields:?}");
    }
}

#[trace(name = "observed.say")]
pub(crate) async fn say(what: String) -> relive::Result<String> {
    tracing::info!("{what}");
    Ok(what)
}

#[trace(name = "observed.holds")]
pub(crate) async fn holds() -> relive::Result<()> {
    let probe = Probe::here()?;
    probe.hold("observed.holds").await;
    Ok(())
}

#[task(name = "observed.talks")]
pub(crate) async fn talks() -> relive::Result<()> {
    tracing::info!("in the body");
    say("in the effect".to_owned()).await?;
    holds().await
}

const IN_TRY: &str = "relive.run > relive.attempt > relive.trace > relive.try";

#[tokio::test]
async fn what_is_logged_inside_carries_the_spans_of_run_attempt_trace_and_try() {
    let seen = Seen::default();
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    let probe = Probe::default();
    probe.open("observed.holds");
    let engine = open(&MemoryStore::new(), &probe).await;
    let handle = guard(engine.start(talks().id("nightly"))).await.expect("it starts");
    let run = handle.id().to_string();
    guard(handle).await.expect("it ends");
    let (path, fields) = seen.around("in the body");
    assert_eq!(path, "relive.run > relive.attempt");
    has(&fields, &[("run", &run), ("task", "observed.talks"), ("id", "nightly"), ("attempt", "1"), ("cause", "new")]);
    let (path, fields) = seen.around("in the effect");
    assert_eq!(path, IN_TRY);
    has(&fields, &[("run", &run), ("trace", "1"), ("name", "observed.say"), ("occurrence", "0"), ("try", "1")]);
    has(&fields, &[("replayed", "false"), ("outcome", "ok"), ("tries", "1"), ("state", "completed")]);
}

#[tokio::test]
async fn a_trace_answered_from_the_log_is_marked_as_replayed_and_has_no_try() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let run = guard(engine.start(talks())).await.expect("it starts").id();
    probe.begun("observed.holds", 1).await;
    let store = store.copy();
    let seen = Seen::default();
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    probe.open("observed.holds");
    let engine = open(&store, &probe).await;
    guard(engine.handle::<(), relive::Error>(run).expect("it is there")).await.expect("it ends");
    has(&seen.trace("observed.say"), &[("replayed", "true"), ("outcome", "ok"), ("occurrence", "0"), ("trace", "1")]);
    has(&seen.trace("observed.holds"), &[("replayed", "false"), ("outcome", "ok")]);
    assert_eq!(seen.all("relive.try").len(), 1);
}

#[trace(name = "observed.flaky", retries = 3, backoff = "1s")]
async fn flaky() -> relive::Result<()> {
    let probe = Probe::here()?;
    probe.begin("observed.flaky");
    if probe.count("observed.flaky") < 3 {
        return Err(relive::Error::msg("not yet"));
    }
    Ok(())
}

#[trace(name = "observed.fails")]
async fn fails() -> relive::Result<()> {
    Err(relive::Error::msg("never"))
}

#[task(name = "observed.tries")]
pub(crate) async fn tries() -> relive::Result<()> {
    flaky().await?;
    fails().await
}

#[tokio::test]
async fn every_try_has_a_span_and_says_how_it_ended() {
    let (seen, clock) = (Seen::default(), ManualClock::default());
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    // In memory: a run that sleeps between its tries has spans of its own each time it goes on.
    let watched = builder(&Probe::default()).clock(clock.clone()).sleep_out_after(std::time::Duration::MAX);
    let engine = open_with(&MemoryStore::new(), watched).await;
    let _flowing = clock.flow();
    guard(engine.run(tries())).await.expect_err("it fails");
    let tries = seen.all("relive.try");
    let of = |name: &str| tries.iter().map(|fields| fields[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("try"), ["1", "2", "3", "1"]);
    assert_eq!(of("outcome"), ["error", "error", "ok", "error"]);
    has(&seen.trace("observed.flaky"), &[("tries", "3"), ("outcome", "ok")]);
    has(&seen.trace("observed.fails"), &[("tries", "1"), ("outcome", "error")]);
    has(&seen.all("relive.run")[0], &[("state", "failed")]);
}

#[trace(name = "observed.plain")]
fn plain() -> relive::Result<()> {
    tracing::info!("in a plain function");
    Ok(())
}

#[trace(name = "observed.spawned", spawn)]
async fn spawned() -> relive::Result<()> {
    tracing::info!("on a task of its own");
    plain()
}

#[trace(name = "observed.blocks", blocking)]
fn blocks() -> relive::Result<()> {
    // The test's subscriber is in force on the test's thread only.
    let subscriber = relive::provided::<Dispatch>()?;
    tracing::dispatcher::with_default(&subscriber, || tracing::info!("on a thread of its own"));
    Ok(())
}

#[trace(name = "observed.counts")]
fn counts() -> impl Iterator<Item = relive::Result<u32>> {
    (0..3).map(Ok)
}

#[task(name = "observed.everywhere")]
async fn everywhere() -> relive::Result<()> {
    spawned().await?;
    blocks().await?;
    counts().try_for_each(|item| item.map(drop))
}

#[tokio::test]
async fn effects_on_other_tasks_and_threads_and_inside_effects_are_in_their_spans() {
    let seen = Seen::default();
    let subscriber = seen.subscriber();
    let _subscriber = tracing::dispatcher::set_default(&subscriber);
    let engine = open_with(&MemoryStore::new(), builder(&Probe::default()).provide(subscriber.clone())).await;
    guard(engine.run(everywhere())).await.expect("it ends");
    assert_eq!(seen.around("on a task of its own").0, IN_TRY);
    assert_eq!(seen.around("on a thread of its own").0, IN_TRY);
    let (path, fields) = seen.around("in a plain function");
    assert_eq!(path, format!("{IN_TRY} > relive.trace > relive.try"));
    has(&fields, &[("name", "observed.plain"), ("replayed", "false"), ("outcome", "ok")]);
    has(&seen.trace("observed.counts"), &[("replayed", "false"), ("outcome", "ok")]);
}
