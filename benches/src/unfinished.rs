//! What an open waits for: runs that are unfinished, and after a kill the write-ahead log, in a store full of finished ones.
//!
//! An open is all that the program waits for: the store and the engine. The kill hits a process (this program again) that
//! keeps as many runs under way as `throughput`, when its write-ahead log is nearly as long as it gets.
//!
//! Invariant: every open that counts is the first one after the store was closed, or its process killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use relive::{Engine, task, trace};
use relive_engine::index::UNFINISHED;
use relive_storage::{KeyRange, Order, PageLimit, Read as _, RocksStore};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::meter::{cpu_ms, fresh_number, now, pass, pass_blocking};
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::start::fill;
use crate::throughput;
use crate::{Bound, Failure, Figure, Setting};

/// How many runs are unfinished, and the figures of that: the open, and until all of them are live again.
const STEPS: [(u32, &str, &str); 3] = [
    (0, "open_ms_0_unfinished", "live_ms_0_unfinished"),
    (1_000, "open_ms_1k_unfinished", "live_ms_1k_unfinished"),
    (10_000, "open_ms_10k_unfinished", "live_ms_10k_unfinished"),
];

/// What an open may take, ms.
const OPEN_MS_MAX: f64 = 200.0;

/// Of the longest that the write-ahead log was seen to get: from there on the process is killed.
const FULL: f64 = 0.9;

/// So often it has become shorter by half, as what was in it had gone to tables, when it is known how long it gets.
const FALLS: u32 = 2;

/// Between two looks at the write-ahead log: 1 ms, in which it grows by some 50 KiB.
const LOOK: Duration = Duration::from_millis(1);

/// Longest that a process is under load: 60 s, so that none outlives a benchmark that was killed.
const LOAD_MAX: Duration = Duration::from_secs(60);

/// What a process says once runs have ended in it: from then on it is watched.
const UNDER_LOAD: &str = "under load";

/// Where the runs wait that stay unfinished.
#[derive(Default)]
struct Waiting {
    count: AtomicU32,
    expected: AtomicU32,
    all: Notify,
}

#[trace]
async fn stay(_index: u32) -> relive::Result<()> {
    let waiting = relive::provided::<Arc<Waiting>>()?;
    if waiting.count.fetch_add(1, Ordering::AcqRel) + 1 == waiting.expected.load(Ordering::Acquire) {
        waiting.all.notify_one();
    }
    std::future::pending().await
}

#[task(cache = "off")]
async fn stays(index: u32) -> relive::Result<()> {
    stay(index).await
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let path = scratch.path().join("relive");
    fill(&runtime, &path, setting.sizes.finished_runs)?;
    let mut figures = after_kills(setting, &runtime, &path)?;
    let mut begun = 0;
    for (unfinished, open_key, live_key) in STEPS {
        // As many as this measurement is large, but as many times more.
        let count = unfinished / STEPS[1].0 * setting.sizes.runs_at_once;
        begin(&runtime, &path, begun..count)?;
        begun = count;
        let (mut opens, mut lives) = (Samples::default(), Samples::default());
        // The first one has what was written last to read, and does not count.
        for round in 0..=setting.sizes.opens {
            let (opened, live) = taken_up(&runtime, &path, count)?;
            if round > 0 {
                opens.push(opened);
                lives.push(live);
            }
        }
        let finished = setting.sizes.finished_runs;
        let what = format!("open of a store with {finished} finished and {count} unfinished runs, ms");
        let opened = Figure::of(open_key, what, &opens);
        if count == 0 {
            figures.push(opened.bound(Bound::AtMost(OPEN_MS_MAX)));
        } else {
            figures.push(opened);
            figures.push(Figure::of(live_key, "  until the effects of all of these have begun again, ms", &lives));
        }
    }
    Ok(figures)
}

/// An engine for runs that stay unfinished, of which so many are to come to where they wait.
async fn engine(store: &Arc<RocksStore>, expected: u32) -> Result<(Engine, Arc<Waiting>), Failure> {
    let waiting = Arc::new(Waiting { expected: AtomicU32::new(expected), ..Waiting::default() });
    let builder = Engine::builder().shutdown_grace(Duration::ZERO).provide(Arc::clone(&waiting));
    Ok((open(builder, store).await?, waiting))
}

/// Begins runs that stay unfinished, beside those that the store holds.
fn begin(runtime: &Runtime, path: &Path, indexes: std::ops::Range<u32>) -> Result<(), Failure> {
    if indexes.is_empty() {
        return Ok(());
    }
    let store = open_store(path)?;
    runtime.block_on(async {
        let (engine, waiting) = engine(&store, indexes.end).await?;
        for index in indexes {
            engine.start(stays(index)).await?;
        }
        waiting.all.notified().await;
        close(engine, &store).await
    })
}

/// How long an open takes, and until so many runs wait again, both in ms from its begin.
fn taken_up(runtime: &Runtime, path: &Path, unfinished: u32) -> Result<(f64, f64), Failure> {
    let began = now();
    let store = open_store(path)?;
    runtime.block_on(async {
        let (engine, waiting) = engine(&store, unfinished).await?;
        let opened = began.elapsed();
        if unfinished > 0 {
            waiting.all.notified().await;
        }
        let live = began.elapsed();
        close(engine, &store).await?;
        Ok((opened.as_secs_f64() * 1000.0, live.as_secs_f64() * 1000.0))
    })
}

/// Opens after kills under load.
fn after_kills(setting: &Setting, runtime: &Runtime, path: &Path) -> Result<Vec<Figure>, Failure> {
    let (mut opens, mut cpu, mut logs) = (Samples::default(), Samples::default(), Samples::default());
    let mut longest = longest_log(setting, runtime, path)?;
    for _ in 0..setting.sizes.kills {
        let killed_at = killed(setting, path, |log, watched| {
            log >= (longest as f64 * FULL) as u64 || watched > setting.sizes.watch_log
        })?;
        longest = longest.max(killed_at);
        let (began, cpu_before) = (now(), cpu_ms());
        let store = open_store(path)?;
        runtime.block_on(async {
            let engine = open(throughput::builder().0, &store).await?;
            opens.push(began.elapsed().as_secs_f64() * 1000.0);
            cpu.push(cpu_ms() - cpu_before);
            logs.push(killed_at as f64 / MIB);
            ended(&store).await?;
            close(engine, &store).await
        })?;
    }
    let finished = setting.sizes.finished_runs;
    let what = format!(
        "open of it after a kill under load ({finished} finished, {} under way), ms",
        setting.sizes.runs_at_once
    );
    Ok(vec![
        Figure::of("open_ms_after_kill", what, &opens).bound(Bound::AtMost(OPEN_MS_MAX)),
        Figure::new("open_ms_after_kill_worst", "  the longest of them, ms", opens.quantile(1.0)),
        Figure::of("open_cpu_ms_after_kill", "  processor time of an open, all threads, ms", &cpu),
        Figure::of("log_mib_at_kill", "  the write-ahead log at the kill, MiB", &logs),
    ])
}

const MIB: f64 = (1 << 20) as f64;

/// How long the write-ahead log of a process under load gets, bytes.
fn longest_log(setting: &Setting, runtime: &Runtime, path: &Path) -> Result<u64, Failure> {
    let (mut longest, mut since_fall, mut falls) = (0, 0, 0);
    killed(setting, path, |log, watched| {
        longest = longest.max(log);
        since_fall = since_fall.max(log);
        if log < since_fall / 2 {
            (falls, since_fall) = (falls + 1, log);
        }
        falls == FALLS || watched > setting.sizes.watch_log
    })?;
    let store = open_store(path)?;
    runtime.block_on(async {
        let engine = open(throughput::builder().0, &store).await?;
        ended(&store).await?;
        close(engine, &store).await
    })?;
    Ok(longest)
}

/// Starts a process under load on a store, and kills it when this says so, which is given how many bytes its write-ahead log
/// has, and for how long it has been watched. How many bytes it had at last.
fn killed(
    setting: &Setting,
    path: &Path,
    mut now_is_the_time: impl FnMut(u64, Duration) -> bool,
) -> Result<u64, Failure> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--load", &setting.sizes.runs_at_once.to_string(), "--workers", &setting.worker_count.to_string()])
        .arg("--dir")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut child = Killed(child);
    let mut said = String::new();
    if let Some(stdout) = child.0.stdout.take() {
        BufReader::new(stdout).read_line(&mut said)?;
    }
    if said.trim_end() != UNDER_LOAD {
        return Err(format!("the process under load ended by itself: {}", child.0.wait()?).into());
    }
    let began = now();
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Err(format!("the process under load ended by itself: {status}").into());
        }
        let bytes = log_bytes(path)?;
        if now_is_the_time(bytes, began.elapsed()) {
            child.0.kill()?;
            child.0.wait()?;
            return log_bytes(path);
        }
        pass_blocking(LOOK);
    }
}

/// A process that does not outlive its measurement.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It is gone already, or nothing can be done about it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long a store's write-ahead logs are together.
fn log_bytes(path: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    // Before the process has made the store's directory there is none.
    for entry in std::fs::read_dir(path.join("db")).into_iter().flatten() {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            // One that is gone meanwhile holds nothing any more.
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(bytes)
}

/// Waits until no run is unfinished.
async fn ended(store: &RocksStore) -> Result<(), Failure> {
    let limit = PageLimit { row_count: 1, ..PageLimit::default() };
    while !store.scan(UNFINISHED, &KeyRange::all(), Order::Ascending, limit)?.rows.is_empty() {
        pass(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// The process that is killed: keeps so many runs under way until then.
///
/// # Errors
/// If the store cannot be opened, or a run fails.
pub fn load(directory: &Path, workers: usize, runs_at_once: u32) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_time().build()?;
    runtime.block_on(async {
        let store = open_store(directory)?;
        let engine = open(throughput::builder().0, &store).await?;
        // Numbers of its own, so that it repeats no run of another life.
        let load = throughput::started(&engine, runs_at_once, fresh_number() >> 1);
        let began = now();
        while load.done() == 0 && began.elapsed() < LOAD_MAX {
            pass(LOOK).await;
        }
        writeln!(std::io::stdout(), "{UNDER_LOAD}")?;
        pass(LOAD_MAX).await;
        load.stop().await?;
        close(engine, &store).await
    })
}
