//! The same logs in another process and at another time: another environment, another time zone, other addresses.
//!
//! The test's own binary is started again for this one test, with logs in a file; its `check()` replays them, answers in
//! another file, and ends the process. No effect runs there.
//!
//! Invariant: where the binary cannot be started for one test by its name, this says so and finds nothing.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relive_engine::clock::{Clock, SystemClock};
use relive_engine::codec::{self, Chain};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;
use relive_storage::{Keyspace, Operation, Store, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::check::{Check, Finding};
use super::clock::VirtualClock;
use super::determinism::Failure;
use super::explore::Report;
use super::life::SetUp;
use super::memory::Moments;
use super::recorder::{Recorder, Written};
use super::search::runtime;
use super::stage::{Manner, Stage};
use crate::engine::Engine;

/// Names the file with the logs, in the other process.
const VARIABLE: &str = "RELIVE_KIT_REPLAYS";

/// How long the other process may take: 60 s, many times what it does.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much later logs are replayed: so much that whole seconds differ.
const LATER: Duration = Duration::from_millis(1_100);

thread_local! {
    /// How many checks this test has made.
    static TURNS: Cell<usize> = const { Cell::new(0) };
    /// What they came to.
    static OUTCOMES: RefCell<Vec<Outcome>> = const { RefCell::new(Vec::new()) };
}

/// Which check of its test this is, from 0.
pub(crate) fn turn() -> usize {
    TURNS.with(|turns| turns.replace(turns.get() + 1))
}

/// What a check came to.
pub(crate) type Outcome = Result<Report, Failure>;

/// What this check of the test came to: told to the other process, which does not check again what comes before.
pub(crate) fn came_to(outcome: Outcome) {
    OUTCOMES.with(|outcomes| outcomes.borrow_mut().push(outcome));
}

/// A log that is replayed again.
pub(crate) struct Kept {
    pub(crate) input: String,
    pub(crate) run: RunId,
    pub(crate) written: Vec<Written>,
}

impl Kept {
    pub(crate) fn new(input: String, run: RunId, written: Vec<Written>) -> Self {
        Self { input, run, written }
    }
}

/// Why a log was not replayed as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Why {
    kind: ErrorKind,
    pub(crate) message: String,
}

impl Why {
    pub(crate) fn check(&self) -> Check {
        Finding::of(&Error::new(self.kind, self.message.clone())).check
    }
}

/// What the other process said.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) count: u64,
    /// Which log did not fit, and why.
    pub(crate) failed: Option<(usize, Why)>,
}

/// Replays logs in this process. Gives the first that does not fit.
pub(crate) async fn replay(kept: &[Kept], set_ups: &[SetUp]) -> Option<(usize, Why)> {
    for (index, kept) in kept.iter().enumerate() {
        if let Err(error) = replay_one(kept, set_ups).await {
            return Some((index, Why { kind: error.kind(), message: error.to_string() }));
        }
    }
    None
}

async fn replay_one(kept: &Kept, set_ups: &[SetUp]) -> Result<(), Error> {
    let clock = VirtualClock::at(kept.written.last().map_or(0, |written| written.wall));
    // What is under way in these logs beside the run itself stays where it is.
    let manner = Manner { directed: true, ..Manner::default() };
    let stage = Stage::new(&Arc::default(), &Arc::default(), manner, &clock, &Moments::default());
    let recorder = Recorder::after(&kept.written, &clock, &stage, None);
    let builder = Engine::builder()
        .strict(true)
        .sleep_out_after(Duration::MAX)
        .crashes_max(u32::MAX)
        .shutdown_grace(Duration::ZERO);
    let builder = set_ups.iter().fold(builder, |builder, set_up| set_up(builder)).clock(clock);
    let engine = builder.tested(Arc::new(stage), None).open_store(recorder as Arc<dyn Store>).await?;
    let replayed = engine.replay(kept.run).await;
    let closed = engine.shutdown().await;
    replayed?;
    closed
}

/// A log as it goes to the other process.
#[derive(Serialize, Deserialize)]
struct Sent {
    run: [u8; 16],
    /// With the time of each.
    writes: Vec<(i64, Vec<SentOperation>)>,
}

/// As storage has it, with a name for the keyspace.
#[derive(Serialize, Deserialize)]
enum SentOperation {
    Put(String, Vec<u8>, Vec<u8>),
    Delete(String, Vec<u8>),
    DeleteRange(String, Vec<u8>, Vec<u8>),
}

#[derive(Serialize, Deserialize)]
struct Letter {
    turn: usize,
    /// Of the checks before.
    outcomes: Vec<Outcome>,
    logs: Vec<Sent>,
}

fn sent(kept: &Kept) -> Sent {
    let operation = |operation: &Operation| {
        let name = |keyspace: &Keyspace| keyspace.name().to_owned();
        match operation {
            Operation::Put { keyspace, key, value } => SentOperation::Put(name(keyspace), key.clone(), value.clone()),
            Operation::Delete { keyspace, key } => SentOperation::Delete(name(keyspace), key.clone()),
            Operation::DeleteRange { keyspace, start, end } => {
                SentOperation::DeleteRange(name(keyspace), start.clone(), end.clone())
            }
        }
    };
    let write = |written: &Written| (written.wall, written.write.operations.iter().map(operation).collect());
    Sent { run: *kept.run.as_bytes(), writes: kept.written.iter().map(write).collect() }
}

fn received(sent: Sent) -> Kept {
    // Keyspaces have names that live for ever; this process does not.
    let keyspace = |name: String| Keyspace::new(name.leak());
    let operation = |operation: SentOperation| match operation {
        SentOperation::Put(name, key, value) => Operation::Put { keyspace: keyspace(name), key, value },
        SentOperation::Delete(name, key) => Operation::Delete { keyspace: keyspace(name), key },
        SentOperation::DeleteRange(name, start, end) => Operation::DeleteRange { keyspace: keyspace(name), start, end },
    };
    let written = sent.writes.into_iter().map(|(wall, operations)| {
        let operations = operations.into_iter().map(operation).collect();
        Written::new(Write { preconditions: Vec::new(), operations }, wall)
    });
    Kept { input: String::new(), run: RunId::from_bytes(sent.run), written: written.collect() }
}

/// In the other process: replays what is in the file, if it is for this check, answers, and ends the process; or says what
/// the check came to. `None` in any other process.
pub(crate) fn replay_all(turn: usize, set_ups: &[SetUp]) -> Option<Outcome> {
    let file = std::env::var_os(VARIABLE).map(PathBuf::from)?;
    let mut letter = read::<Letter>(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    if turn < letter.turn {
        return Some(letter.outcomes.swap_remove(turn));
    }
    let kept: Vec<_> = letter.logs.into_iter().map(received).collect();
    let failed = runtime().block_on(replay(&kept, set_ups));
    let answered = write(&answer_of(&file), &failed).is_ok();
    std::process::exit(i32::from(!answered));
}

/// What the files are sealed under.
const SEAL: &[u8] = b"relive kit";

fn read<T: DeserializeOwned>(file: &Path) -> Result<T, Error> {
    let (value, ..) = codec::open(SEAL, &std::fs::read(file)?).map_err(Error::msg)?;
    Ok(value)
}

fn write<T: Serialize>(file: &Path, value: &T) -> Result<(), Error> {
    let (bytes, _) = codec::seal(SEAL, Chain::default(), value).map_err(Error::msg)?;
    Ok(std::fs::write(file, bytes)?)
}

fn answer_of(file: &Path) -> PathBuf {
    file.with_extension("answer")
}

/// The name of the test that this thread runs, as its binary knows it.
fn test_name() -> Option<String> {
    let named = std::thread::current().name().filter(|name| *name != "main").map(ToOwned::to_owned);
    let arguments: Vec<_> = std::env::args().collect();
    let exact = || {
        arguments
            .iter()
            .any(|argument| argument == "--exact")
            .then(|| arguments.iter().skip(1).find(|argument| !argument.starts_with("--")).cloned())?
    };
    named.or_else(exact)
}

/// Has another process replay these logs.
pub(crate) fn ask(turn: usize, kept: &[Kept], environment: &[(String, String)]) -> Replayed {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let Some(name) = test_name() else {
        said("this thread has no test's name: no other process replays its logs (run tests on more than one thread)");
        return Replayed::default();
    };
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("relive-kit-{}-{number}", std::process::id()));
    let outcomes = OUTCOMES.with(|outcomes| outcomes.borrow().clone());
    let letter = Letter { turn, outcomes, logs: kept.iter().map(sent).collect() };
    let asked = write(&file, &letter).and_then(|()| {
        // What the test does before its check may need the directory it is in.
        let answered = answered(&name, &file, environment, true)?;
        if answered.is_some() { Ok(answered) } else { self::answered(&name, &file, environment, false) }
    });
    for used in [&file, &answer_of(&file)] {
        // Left over, it is a small file among temporary ones.
        let _ = std::fs::remove_file(used);
    }
    match asked {
        Ok(Some(failed)) => Replayed { count: kept.len() as u64, failed },
        Ok(None) => {
            said(&format!(
                "no other process replayed the logs of test {name}: started by its name, it did not come to its check"
            ));
            Replayed::default()
        }
        Err(error) => {
            said(&format!("no other process replayed the logs of test {name}: {error}"));
            Replayed::default()
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test says what it could not do")]
fn said(what: &str) {
    eprintln!("relive: {what}");
}

type Answer = Option<(usize, Why)>;

/// Starts the process and waits for its answer; `None`: it gave none.
fn answered(name: &str, file: &Path, environment: &[(String, String)], moves: bool) -> Result<Option<Answer>, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([name, "--exact", "--nocapture", "--include-ignored"]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    changed_environment(&mut command);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.env(VARIABLE, file);
    if moves {
        command.current_dir(std::env::temp_dir());
    }
    let mut child = command.spawn()?;
    let clock = SystemClock::default();
    loop {
        if child.try_wait()?.is_some() {
            break;
        }
        if clock.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break;
        }
        really_wait(Duration::from_millis(2));
    }
    let answer = answer_of(file);
    if answer.is_file() { Ok(Some(read(&answer)?)) } else { Ok(None) }
}

/// Another value for every variable but those that a process needs to start.
fn changed_environment(command: &mut Command) {
    let needed = |name: &str| {
        let prefixes = ["LD_", "DYLD_", "LLVM_", "RUST", "SYSTEMROOT", "PROPTEST_", "RELIVE_KIT_"];
        prefixes.iter().any(|prefix| name.to_uppercase().starts_with(prefix))
    };
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        match name {
            _ if needed(name) => {}
            "PATH" => drop(command.env(name, format!("{value}:/another/place"))),
            "TMPDIR" | "TEMP" | "TMP" => {}
            _ => drop(command.env(name, format!("another-{value}"))),
        }
    }
    // 14 hours from Greenwich, as nobody's own is.
    command.env("TZ", "XXX-14").env("LANG", "tr_TR.UTF-8").env("LC_ALL", "tr_TR.UTF-8").env("RELIVE_KIT_OTHER", "1");
}

#[expect(clippy::disallowed_methods, reason = "another process, and the clock on the wall, are waited for")]
fn really_wait(span: Duration) {
    std::thread::sleep(span);
}

/// When a check began.
pub(crate) struct Moment(SystemClock);

/// Now.
pub(crate) fn moment() -> Moment {
    Moment(SystemClock::default())
}

/// Waits until the clock on the wall shows another second than at that moment.
pub(crate) fn until_later(moment: &Moment) {
    really_wait(LATER.saturating_sub(moment.0.elapsed()));
}
