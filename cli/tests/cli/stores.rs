//! Small stores, written by an engine whose clock only effects turn.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use relive::{Acknowledged, Clock, Durability, Engine, Event, RunId, Timestamp, task, trace};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// 2026-01-02 03:04:05 UTC.
const BEGINNING: i64 = 1_767_323_045_000_000;

/// Stands still unless it is turned.
#[derive(Clone)]
pub(crate) struct Turned(Arc<AtomicI64>);

impl Turned {
    pub(crate) fn turn(&self, by: Duration) {
        self.0.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        Timestamp(BEGINNING + self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst) as u64)
    }

    /// A short wait turns the clock to its end; one of an hour or more never ends.
    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        Box::pin(async move {
            let wait = due.saturating_sub(clock.elapsed());
            if wait >= Duration::from_secs(3600) {
                std::future::pending::<()>().await;
            }
            clock.turn(wait);
        })
    }
}

/// Whether `approve` is answered.
pub(crate) struct Approved(pub(crate) bool);

pub(crate) fn takes(milliseconds: u64) -> relive::Result<()> {
    relive::provided::<Turned>()?.turn(Duration::from_millis(milliseconds));
    Ok(())
}

#[trace]
async fn fetch(url: String) -> relive::Result<String> {
    takes(120)?;
    Ok(format!("contents of {url}\u{1b}[2J"))
}

#[trace]
async fn summarize(text: String, words: usize) -> relive::Result<Vec<String>> {
    takes(480)?;
    Ok(text.split(' ').take(words).map(str::to_owned).collect())
}

#[trace]
async fn publish(summary: Vec<String>) -> relive::Result<()> {
    takes(35)?;
    let refused = std::io::Error::other("connection refused by 10.0.0.7");
    Err(relive::Error::msg(format!("{} words\tcannot be published", summary.len())).caused_by(refused))
}

#[trace]
async fn approve(by: &str) -> relive::Result<bool> {
    if !relive::provided::<Approved>()?.0 {
        std::future::pending::<()>().await;
    }
    takes(60)?;
    Ok(by == "ada")
}

/// Traces that succeed, fail, and are dropped.
#[task]
async fn digest(urls: Vec<String>, publishes: bool) -> relive::Result<usize> {
    relive::now()?;
    let mut words = 0;
    for url in urls {
        let page = fetch(url).await?;
        words += relive::select! {
            _ = approve("grace") => 0,
            summary = summarize(page.clone(), 2) => summary?.len(),
        };
    }
    if let Err(error) = publish(vec!["a".to_owned(); words]).await
        && publishes
    {
        return Err(error);
    }
    Ok(words)
}

/// Ends only where it is approved.
#[task]
async fn release(version: &str) -> relive::Result<String> {
    let page = fetch(format!("https://example.org/{version}")).await?;
    if approve("ada").await? { Ok(page) } else { Ok("refused".to_owned()) }
}

/// A trace per number.
#[task]
pub(crate) async fn count(to: usize) -> relive::Result<usize> {
    for number in 0..to {
        fetch(number.to_string()).await?;
    }
    Ok(to)
}

/// An engine on a directory, and what it acknowledged.
pub(crate) struct Life {
    pub(crate) engine: Engine,
    acknowledged: mpsc::UnboundedReceiver<Acknowledged>,
}

pub(crate) fn clock() -> Turned {
    Turned(Arc::default())
}

pub(crate) async fn life(directory: &Path, clock: &Turned, approved: bool) -> Life {
    let (sender, acknowledged) = mpsc::unbounded_channel();
    let engine = Engine::builder()
        .clock(clock.clone())
        .provide(clock.clone())
        .provide(Approved(approved))
        .durability(Durability::Buffered)
        .shutdown_grace(Duration::ZERO)
        .on_durable(move |event| drop(sender.send(event.clone())))
        .open(directory)
        .await
        .unwrap();
    Life { engine, acknowledged }
}

impl Life {
    /// Starts a release, and waits until the log says that its approval is asked for.
    pub(crate) async fn release_until_it_waits(&mut self, version: &str) -> RunId {
        let run = self.engine.start(release(version).id(format!("release {version}"))).await.unwrap().id();
        self.until(run, |event| matches!(event, Event::TraceStarted(started) if started.name == "approve")).await;
        run
    }

    /// Waits until the log of a run has such an event.
    pub(crate) async fn until(&mut self, run: RunId, is_it: fn(&Event) -> bool) {
        loop {
            let acknowledged = self.acknowledged.recv().await.unwrap();
            if acknowledged.run == run && is_it(&acknowledged.event) {
                return;
            }
        }
    }

    pub(crate) async fn digest(&self, publishes: bool) -> RunId {
        let urls = ["https://example.org/a", "https://example.org/b"].map(str::to_owned);
        let handle = self.engine.start(digest(urls.to_vec(), publishes)).await.unwrap();
        let run = handle.id();
        assert_eq!(handle.await.is_err(), publishes);
        run
    }

    pub(crate) async fn count(&self, to: usize) -> RunId {
        let handle = self.engine.start(count(to)).await.unwrap();
        let run = handle.id();
        handle.await.unwrap();
        run
    }

    /// The outcome of a run that an earlier life started.
    pub(crate) async fn released(&self, run: RunId) -> String {
        self.engine.handle::<String, relive::Error>(run).unwrap().await.unwrap()
    }
}

/// A store with a run that failed, one that ended in a second life, and one that waits.
pub(crate) struct Written {
    pub(crate) directory: TempDir,
    pub(crate) failed: RunId,
    pub(crate) continued: RunId,
    pub(crate) waiting: RunId,
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn written() -> Written {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = clock();
        let mut first = life(directory.path(), &clock, false).await;
        let failed = first.digest(true).await;
        clock.turn(Duration::from_secs(60));
        let continued = first.release_until_it_waits("1.0").await;
        first.engine.shutdown().await.unwrap();
        drop(first);

        clock.turn(Duration::from_secs(3 * 60 * 60));
        let second = life(directory.path(), &clock, true).await;
        assert_eq!(second.released(continued).await, "contents of https://example.org/1.0\u{1b}[2J");
        second.engine.shutdown().await.unwrap();
        drop(second);

        clock.turn(Duration::from_secs(60));
        let mut third = life(directory.path(), &clock, false).await;
        let waiting = third.release_until_it_waits("1.1").await;
        third.engine.shutdown().await.unwrap();
        Written { directory, failed, continued, waiting }
    })
}

impl Written {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Output with what differs from one time to the next replaced by as many characters.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let text = text.replace(&self.path().display().to_string(), "DIR");
        redacted(&text, &[(self.failed, "FAILED"), (self.continued, "CONTINUED"), (self.waiting, "WAITING")])
    }
}

/// Output with ids, lines of code and hashes replaced.
pub(crate) fn redacted(text: &str, runs: &[(RunId, &str)]) -> String {
    let mut text = text.to_owned();
    for (run, name) in runs {
        text = text.replace(&run.to_string(), &format!("{name:_<26}"));
    }
    let text = replace_digits(&text, ".rs:", 1, |c| c.is_ascii_digit(), "00");
    let text = replace_digits(&text, "\"line\":", 1, |c| c.is_ascii_digit(), "0");
    replace_digits(&text, "\"", 32, |c| c.is_ascii_hexdigit(), "HASH")
}

/// Replaces runs of digits that stand behind a text.
fn replace_digits(text: &str, behind: &str, count_min: usize, digit: fn(char) -> bool, by: &str) -> String {
    let mut replaced = String::new();
    let mut parts = text.split(behind);
    replaced.extend(parts.next());
    for part in parts {
        replaced.push_str(behind);
        let rest = part.trim_start_matches(digit);
        let kept = if part.len() - rest.len() >= count_min {
            replaced.push_str(by);
            rest
        } else {
            part
        };
        replaced.push_str(kept);
    }
    replaced
}
