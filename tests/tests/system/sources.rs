//! Streams whose sources tell the probe of each item that they produce: `-a.3` is the item 3 of the source `a`.
//!
//! Used by the themes about streams.

use futures::stream::{self, Stream, StreamExt};
use relive::{Error, Event, trace};

use super::cuts::Cut;
use super::support::Probe;

/// Items from a number on, with other work of the runtime between them; fails at `fails_at`.
pub(crate) fn produced(label: String, from: u64, fails_at: u64) -> impl Stream<Item = relive::Result<u64>> + Send {
    let probe = Probe::here().ok();
    stream::iter(from..).then(move |number| {
        if let Some(probe) = &probe {
            probe.begin(&format!("-{label}.{number}"));
        }
        async move {
            if number % 2 == 1 {
                tokio::task::yield_now().await;
            }
            if number == fails_at { Err(Error::msg(format!("no item {number}"))) } else { Ok(number) }
        }
    })
}

#[trace(name = "sources.numbers")]
pub(crate) fn numbers(label: &str, count: usize) -> impl Stream<Item = relive::Result<u64>> {
    produced(label.to_owned(), 0, u64::MAX).take(count)
}

#[trace(name = "sources.endless")]
pub(crate) fn endless(label: &str) -> impl Stream<Item = relive::Result<u64>> {
    produced(label.to_owned(), 0, u64::MAX)
}

#[trace(name = "sources.failing")]
pub(crate) fn failing(label: &str, at: u64) -> impl Stream<Item = relive::Result<u64>> {
    produced(label.to_owned(), 0, at)
}

#[trace(name = "sources.step")]
pub(crate) async fn step(label: String) -> relive::Result<u64> {
    Probe::here()?.begin(&label);
    Ok(100)
}

#[trace(name = "sources.held")]
pub(crate) async fn held(label: String) -> relive::Result<u64> {
    Probe::here()?.hold(&label).await;
    Ok(100)
}

/// How many events of a log are items.
pub(crate) fn item_count(log: &[Event]) -> usize {
    log.iter().filter(|event| matches!(event, Event::TraceYielded(_))).count()
}

/// The items of a source that began, in order.
pub(crate) fn items_begun(probe: &Probe, label: &str) -> Vec<String> {
    let prefix = format!("-{label}.");
    probe.all_begun().into_iter().filter(|item| item.starts_with(&prefix)).collect()
}

/// A source begins at 0, or not at all; what a crash left is produced again only to be skipped.
pub(crate) fn begins_at_zero_or_never(cut: &Cut, label: &str) {
    let produced = items_begun(&cut.second, label);
    let from_zero: Vec<_> = (0..produced.len()).map(|number| format!("-{label}.{number}")).collect();
    assert_eq!(produced, from_zero, "cut {}", cut.write_count);
    if cut.completed(label) {
        assert_eq!(produced, Vec::<String>::new(), "cut {}: it was over", cut.write_count);
    }
}
