//! What is recorded is bounded: errors in length and number, values in how deep they nest.

use std::fmt;

use relive::{Error, ErrorKind, Event, PayloadCodec, TaskOutcome, TraceOutcome, task, trace};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize};

use super::attempts_kit::replays;
use super::support::{Probe, builder, events, guard, open, open_with};

/// An error that says what it is told to.
#[derive(Debug)]
struct Wordy {
    how: String,
    source: Option<Box<Wordy>>,
}

impl fmt::Display for Wordy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how.as_str() {
            "long" => (0..80 << 10).try_for_each(|_| f.write_str(&"ü".repeat(64))),
            "huge" => (0..300 << 10).try_for_each(|_| f.write_str(&"0123456789abcdef".repeat(64))),
            "endless" => loop {
                let _ = f.write_str("and so on ");
            },
            "panics" => panic!("no words"),
            "fails" => Err(fmt::Error),
            how => f.write_str(how),
        }
    }
}

impl std::error::Error for Wordy {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<Error> for Wordy {
    fn from(error: Error) -> Self {
        Self { how: error.to_string(), source: None }
    }
}

#[trace(name = "bounds.fails")]
async fn fails(how: String, sources: u32) -> Result<u32, Wordy> {
    let source = (0..sources).fold(None, |source, _| Some(Box::new(Wordy { how: how.clone(), source })));
    Err(Wordy { how, source })
}

#[trace(name = "bounds.shouts")]
async fn shouts() -> relive::Result<u32> {
    panic!("{}", "ä".repeat(5 << 20))
}

#[trace(name = "bounds.message")]
async fn message() -> relive::Result<u32> {
    Err(Error::msg("x".repeat(5 << 20)))
}

#[task(name = "bounds.meets")]
async fn meets(how: String, sources: u32) -> Result<u32, Wordy> {
    match how.as_str() {
        "a panic" => Ok(shouts().await?),
        "a message" => Ok(message().await?),
        _ => fails(how, sources).await,
    }
}

/// The messages of the trace's failure and of the task's.
fn recorded(log: &[Event]) -> Vec<relive::ErrorRecord> {
    let records = log.iter().filter_map(|event| match event {
        Event::TraceCompleted(completed) => match &completed.outcome {
            TraceOutcome::Err(record) => Some(record.clone()),
            _ => None,
        },
        Event::TaskCompleted(completed) => match &completed.outcome {
            TaskOutcome::Err(record) => Some(record.clone()),
            _ => None,
        },
        _ => None,
    });
    records.collect()
}

#[tokio::test]
async fn an_error_of_any_length_is_recorded_as_far_as_it_fits_and_says_what_is_left_out() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    for (how, sources, word) in [
        ("long", 0, "(cut: 10420"),
        ("huge", 0, "(cut: more than 1"),
        ("endless", 0, "(cut: more than 1"),
        ("panics", 0, "(its Display panicked: no words at "),
        ("fails", 0, "(its Display failed)"),
        ("a panic", 0, "(cut: 10421"),
        ("a message", 0, "(cut: 517"),
        ("long", 40, "(cut: 10420"),
        ("endless", 3, "(cut: more than 1"),
    ] {
        let handle = guard(engine.start(meets(how.into(), sources))).await.expect("starts");
        let run = handle.id();
        guard(handle).await.map(|_| ()).expect_err("it fails");
        let records = recorded(&events(&engine, run));
        assert_eq!(records.len(), 2, "{how}");
        for (index, record) in records.into_iter().enumerate() {
            assert!(record.message.contains(word), "{how}: {}", &record.message[record.message.len() - 100..]);
            assert!(record.message.len() <= 64 << 10, "{how}");
            assert!(record.sources.len() <= 32, "{how}");
            assert!(record.sources.iter().all(|source| source.len() <= 16 << 10), "{how}");
            if sources == 40 && index == 0 {
                let last = record.sources.last().map(String::as_str);
                assert_eq!(last, Some("(9 further sources are not recorded)"));
            }
        }
    }
    replays(&engine, "errors of any length").await;
}

/// Nests as deep as it is told to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum Tree {
    End,
    List(Vec<Tree>),
}

impl Tree {
    /// So many lists, each in a variant, each within the other.
    fn of(levels: usize) -> Self {
        (0..levels).fold(Self::End, |tree, _| Self::List(vec![tree]))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // One level after the other: the test's own values must not exhaust the stack.
        let mut rest = Vec::new();
        if let Self::List(items) = self {
            rest.append(items);
        }
        while let Some(mut tree) = rest.pop() {
            if let Self::List(items) = &mut tree {
                rest.append(items);
            }
        }
    }
}

#[trace(name = "bounds.takes")]
async fn takes(small: u32, tree: Tree) -> relive::Result<u32> {
    drop(tree);
    Ok(small)
}

#[trace(name = "bounds.takes_in_place")]
fn takes_in_place(small: u32, tree: &Tree) -> relive::Result<u32> {
    let _ = tree;
    Ok(small)
}

#[trace(name = "bounds.takes_in_a_thread", blocking)]
fn takes_in_a_thread(small: u32, tree: Tree) -> relive::Result<u32> {
    drop(tree);
    Ok(small)
}

#[trace(name = "bounds.is_known_by", key = tree)]
async fn is_known_by(tree: Tree) -> relive::Result<u32> {
    drop(tree);
    Ok(1)
}

#[trace(name = "bounds.gives")]
async fn gives(levels: usize) -> relive::Result<Tree> {
    Ok(Tree::of(levels))
}

#[trace(name = "bounds.gives_in_a_thread", blocking)]
fn gives_in_a_thread(levels: usize) -> relive::Result<Tree> {
    Ok(Tree::of(levels))
}

#[trace(name = "bounds.hides", redact(tree))]
async fn hides(small: u32, tree: Tree) -> relive::Result<u32> {
    drop(tree);
    Ok(small)
}

#[task(name = "bounds.nests")]
async fn nests(how: String, levels: usize) -> relive::Result<u32> {
    let tree = || Tree::of(levels);
    match how.as_str() {
        "argument" => takes(1, tree()).await,
        "argument in place" => takes_in_place(1, &tree()),
        "argument in a thread" => takes_in_a_thread(1, tree()).await,
        "key" => is_known_by(tree()).await,
        "redacted" => hides(1, tree()).await,
        "result" => gives(levels).await.map(|_| 1),
        "result in a thread" => gives_in_a_thread(levels).await.map(|_| 1),
        "child" => has_input(1, tree()).await,
        _ => Err(Error::msg(how)),
    }
}

#[task(name = "bounds.has_input")]
async fn has_input(small: u32, tree: Tree) -> relive::Result<u32> {
    drop(tree);
    Ok(small)
}

const WAYS: [(&str, &str); 8] = [
    ("argument", "tree"),
    ("argument in place", "tree"),
    ("argument in a thread", "tree"),
    ("key", "tree"),
    ("redacted", "tree"),
    ("result", "the result of bounds.gives"),
    ("result in a thread", "the result of bounds.gives_in_a_thread"),
    ("child", "tree"),
];

/// A variant and its list are two levels.
const DEEPEST: usize = 60;

async fn nested_too_deep_is_an_error(codec: PayloadCodec) {
    let engine = open_with(&MemoryStore::new(), builder(&Probe::default()).payload_codec(codec)).await;
    for (how, named) in WAYS {
        let result = guard(engine.run(nests(how.into(), DEEPEST))).await;
        assert_eq!(result.unwrap_or_else(|error| panic!("{codec}, {how}: {error}")), 1);
        for levels in [DEEPEST + 1, 2_000, 20_000] {
            let error = guard(engine.run(nests(how.into(), levels))).await.expect_err("too deep");
            assert_eq!(error.kind(), ErrorKind::Payload, "{codec}, {how}, {levels}: {error}");
            let text = error.to_string();
            assert!(text.contains(named) && text.contains("more than 120 levels deep"), "{codec}, {how}: {text}");
        }
    }
    let error = guard(engine.run(has_input(1, Tree::of(2_000)))).await.expect_err("too deep");
    assert!(error.kind() == ErrorKind::Payload && error.to_string().contains("field `tree"), "{error}");
    let handle = guard(engine.start(has_input(2, Tree::of(DEEPEST)))).await.expect("starts");
    let error = guard(engine.signal(handle.id(), "deep", Tree::of(2_000))).await.expect_err("too deep");
    assert!(error.kind() == ErrorKind::Payload && error.to_string().contains("levels deep"), "{error}");
    guard(handle).await.expect("ends");
    replays(&engine, "values as deep as they may be").await;
}

#[test]
fn a_value_that_nests_too_deep_is_an_error_that_names_it_also_on_a_small_stack() {
    for codec in [PayloadCodec::MESSAGE_PACK, PayloadCodec::JSON, PayloadCodec::BINCODE] {
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_stack_size(2 << 20).build();
            runtime.expect("a runtime").block_on(nested_too_deep_is_an_error(codec));
        });
        thread.expect("a thread").join().expect("no panic");
    }
}

#[tokio::test]
async fn levels_are_counted_as_they_are_written() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    type Lists = serde_json::Value;
    let lists = |levels: usize| (0..levels).fold(Lists::from(1), |inner, _| Lists::from(vec![inner]));
    assert_eq!(guard(engine.run(plain(lists(120)))).await.expect("as deep as it may be"), 1);
    let error = guard(engine.run(plain(lists(121)))).await.expect_err("one too many");
    assert!(error.to_string().contains("field `value[0][0]"), "{error}");
}

#[task(name = "bounds.plain")]
async fn plain(value: serde_json::Value) -> relive::Result<u32> {
    takes_value(value).await
}

#[trace(name = "bounds.takes_value")]
async fn takes_value(value: serde_json::Value) -> relive::Result<u32> {
    drop(value);
    Ok(1)
}
