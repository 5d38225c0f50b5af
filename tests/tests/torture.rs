//! The kill -9 campaign as a test, and that its judge can tell.
//!
//! The child is the `torture` binary. Each test that fails prints the seed; `torture --seed` draws the same programs and
//! moments.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relive::{
    Cause, CodeHash, Engine, Event, InputHash, Payload, RunId, Sequence, TaskCompleted, TaskOutcome, TaskStarted,
    Timestamp, TraceCompleted, TraceOutcome, TraceStarted,
};
use relive_storage::MemoryStore;
use relive_tests::torture::{
    self, AcknowledgedLine, Cut, Extent, History, Input, Life, Line, Options, Program, Report, RunExpectation,
    Violation, Witness, WitnessLine, check,
};

fn options(directory: &Path, kills: u64, run_count: u32, seed: u64) -> Options {
    Options {
        extent: Extent::Kills(kills),
        seed,
        run_count,
        job_count: 3,
        program: env!("CARGO_BIN_EXE_torture").into(),
        directory: directory.to_owned(),
        cut: Cut::Kill,
        tamper: None,
        sabotage: None,
    }
}

fn campaign(options: &Options) -> Report {
    torture::run(options, |_| {}).expect("the harness works")
}

#[test]
fn three_hundred_kills_lose_nothing_and_repeat_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let seed = u64::try_from(relive::Uuid::new_v4().as_u128() & 0xffff_ffff).expect("32 bits");
    let report = campaign(&options(directory.path(), 300, 50, seed));
    println!("seed={seed}\n{report}");
    if let Some(first) = report.violations.first() {
        let kept = directory.keep();
        panic!("seed {seed}: {report}: {first}; all that is left is in {}", kept.display());
    }
    assert!(report.kills >= 300 && report.runs > 0 && report.runs == 50 * report.directories, "{report}");
    assert!(report.kills_while_opening * 4 < report.kills * 3, "many kills find runs under way: {report:?}");
}

#[test]
fn an_undisturbed_run_comes_to_what_its_program_says() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let witness = Witness::open(&directory.path().join("witness")).expect("a file");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let builder = Engine::builder().provide(witness);
        let engine = builder.open_store(Arc::new(MemoryStore::new())).await.expect("opens");
        let runs = (0..100).map(|number| {
            let engine = engine.clone();
            async move { (number, engine.run(torture::torture_run(Input { seed: 7, number })).await) }
        });
        for (number, result) in futures::future::join_all(runs).await {
            assert_eq!(result.expect("no error"), Program::draw(7, number).result(), "run {number}");
        }
    });
}

/// A real campaign whose history is tampered with must find it.
fn found_in_a_tampered_campaign(tamper: torture::Tamper) -> Vec<Violation> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options { tamper: Some(tamper), job_count: 1, ..options(directory.path(), 2, 5, 3) };
    let report = campaign(&options);
    assert!(!report.is_clean(), "{report}");
    report.violations
}

#[test]
fn an_event_that_is_missing_from_a_log_is_found() {
    let found = found_in_a_tampered_campaign(|history| {
        // The last event of each log is acknowledged: its run was seen to end.
        history.logs.values_mut().next().expect("a log").pop();
    });
    assert!(found.iter().any(Violation::is_loss), "{found:?}");
}

#[test]
fn an_effect_that_is_repeated_after_its_acknowledgement_is_found() {
    let found = found_in_a_tampered_campaign(|history| {
        let ended = history.lives.iter().flat_map(|life| &life.witness).find(|line| !line.begins);
        let again = WitnessLine { tick: u64::MAX, begins: true, ..ended.expect("an effect that ended").clone() };
        history.lives.last_mut().expect("a life").witness.push(again);
    });
    assert!(found.iter().any(Violation::is_repetition), "{found:?}");
}

/// A disk that lies: from the first kill on, what a life has synced is gone after it.
fn roll_back(root: &Path) -> std::io::Result<()> {
    let (store, kept) = (root.join("store"), root.join("kept"));
    if kept.exists() {
        std::fs::remove_dir_all(&store)?;
        copy(&kept, &store)
    } else {
        copy(&store, &kept)
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        std::fs::create_dir(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.is_file() {
        // Not the engine's socket, which is there if the child came that far before it was killed.
        std::fs::copy(from, to)?;
    }
    Ok(())
}

#[test]
fn a_disk_that_forgets_what_it_synced_is_found() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options { sabotage: Some(roll_back), job_count: 1, ..options(directory.path(), 15, 50, 5) };
    let report = campaign(&options);
    assert!(report.lost > 0 && report.repeated_after_ack > 0, "{report}");
}

#[test]
fn a_child_that_ends_by_itself_is_found() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options { program: "/bin/true".into(), ..options(directory.path(), 1, 1, 0) };
    let report = campaign(&options);
    assert!(matches!(report.violations.first(), Some(Violation::Child { life: 0, .. })), "{:?}", report.violations);
}

#[test]
fn a_campaign_by_time_ends() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options { extent: Extent::Time(Duration::from_millis(1)), ..options(directory.path(), 0, 2, 1) };
    let report = campaign(&options);
    assert!(report.is_clean(), "{:?}", report.violations);
}

const RUN: RunId = RunId::from_bytes([1; 16]);

fn started(label: &str) -> Event {
    let arguments = BTreeMap::from([("label", label)]);
    Event::TraceStarted(TraceStarted {
        name: "torture.work".into(),
        code: CodeHash::from_bytes([0; 16]),
        input_hash: InputHash::from_bytes([0; 16]),
        occurrence: 0,
        input: Payload::encode(&arguments).expect("encodes"),
        file: "a.rs".into(),
        line: 1,
        form: relive::TraceForm::Future,
        within: None,
        child: None,
        group: None,
        at: Timestamp(0),
    })
}

fn completed(trace: u64, outcome: TraceOutcome) -> Event {
    let (trace, at) = (Sequence(trace), Timestamp(0));
    Event::TraceCompleted(TraceCompleted {
        trace,
        outcome,
        tries: 1,
        started_at: at,
        duration_micros: 0,
        repeats: None,
    })
}

fn worked(key: &str) -> TraceOutcome {
    TraceOutcome::Ok(Payload::encode(&BTreeMap::from([("key", key)])).expect("encodes"))
}

fn witnessed(tick: u64, label: &str, key: &str) -> WitnessLine {
    WitnessLine { tick, name: "torture.work".into(), label: label.into(), key: key.into(), begins: true }
}

/// One run of two traces: `a` is completed in the first life, `b` is begun in both and dropped in the second.
fn clean() -> History {
    let (code, at) = (CodeHash::from_bytes([0; 16]), Timestamp(0));
    let input = Payload::encode(&()).expect("encodes");
    let task = TaskStarted {
        task: "torture".into(),
        code,
        input,
        attempt: 1,
        cause: Cause::New,
        id: None,
        parent: None,
        tags: Vec::new(),
        at,
    };
    let outcome = TaskOutcome::Ok(Payload::encode(&42u64).expect("encodes"));
    let events = vec![
        Event::TaskStarted(task),
        started("a"),
        started("b"),
        completed(1, worked("key-a")),
        completed(2, TraceOutcome::Dropped),
        Event::TaskCompleted(TaskCompleted { outcome, imposed: false, code, retry_at: None, at }),
    ];
    let log: Vec<_> = (0..).map(Sequence).zip(events).collect();
    let told = |range: std::ops::Range<usize>| {
        log[range].iter().map(|(sequence, event)| {
            let (tick, run, sequence, event) = (10 * sequence.0, RUN, *sequence, event.clone());
            Line::Acknowledged(AcknowledgedLine { tick, run, sequence, event })
        })
    };
    let first = told(0..4).chain([Line::Started(0, RUN)]);
    let second = [Line::Started(0, RUN)].into_iter().chain(told(4..6)).chain([Line::Ended(0, Ok(42)), Line::Done]);
    History {
        lives: vec![
            Life { pipe: first.collect(), witness: vec![witnessed(21, "a", "key-a"), witnessed(22, "b", "key-b")] },
            Life { pipe: second.collect(), witness: vec![witnessed(1, "b", "key-b")] },
        ],
        logs: BTreeMap::from([(RUN, log)]),
        expected: vec![RunExpectation { number: 0, result: 42 }],
    }
}

/// What is found in a clean history after a change.
fn found(change: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = clean();
    change(&mut history);
    check(&history).violations
}

#[test]
fn a_clean_history_is_called_clean() {
    let verdict = check(&clean());
    assert_eq!((verdict.violations, verdict.runs, verdict.acknowledged), (vec![], 1, 6));
}

#[test]
fn an_unacknowledged_event_may_be_there_or_not() {
    // The pipe's line was cut by the kill: what follows it stands as it did.
    assert_eq!(found(|history| drop(history.lives[0].pipe.remove(3))), []);
}

#[test]
fn a_changed_event_is_a_loss() {
    let found = found(|history| history.logs.get_mut(&RUN).expect("the log")[3].1 = completed(1, worked("other")));
    assert!(matches!(&found[..], [Violation::Lost { sequence: Sequence(3), .. }]), "{found:?}");
}

#[test]
fn a_hole_in_a_log_is_a_loss() {
    let found = found(|history| drop(history.logs.get_mut(&RUN).expect("the log").remove(1)));
    assert!(found.contains(&Violation::Hole { run: RUN, sequence: Sequence(1) }), "{found:?}");
    assert!(found.iter().all(|violation| violation.is_loss() || matches!(violation, Violation::Unrecorded { .. })));
}

#[test]
fn a_log_that_is_gone_is_a_loss_of_all_that_was_acknowledged() {
    let found = found(|history| history.logs.clear());
    assert_eq!(found.iter().filter(|violation| violation.is_loss()).count(), 6, "{found:?}");
}

#[test]
fn an_effect_that_begins_after_its_acknowledgement_is_a_repetition() {
    let repeated = |life, label: &str, key: &str| Violation::Repeated { life, label: label.into(), key: key.into() };
    let next_life = found(|history| history.lives[1].witness.push(witnessed(2, "a", "key-a")));
    assert_eq!(next_life, [repeated(1, "a", "key-a")]);
    let same_life = found(|history| history.lives[0].witness[0].tick = 31);
    assert_eq!(same_life, [repeated(0, "a", "key-a")]);
    let dropped = found(|history| history.lives[1].witness[0].tick = 41);
    assert_eq!(dropped, [repeated(1, "b", "key-b")]);
}

#[test]
fn an_effect_begins_once_in_a_life() {
    let found = found(|history| history.lives[0].witness.push(witnessed(23, "b", "key-b")));
    assert_eq!(found, [Violation::BegunTwice { life: 0, label: "b".into(), key: "key-b".into() }]);
}

#[test]
fn an_effect_keeps_its_key_and_its_start_is_on_record() {
    let other_key = found(|history| history.lives[1].witness[0].key = "another".into());
    assert_eq!(other_key, [Violation::Unrecorded { label: "b".into(), keys: 2, starts: 1 }]);
    let unknown = found(|history| history.lives[1].witness.push(witnessed(3, "c", "key-c")));
    assert_eq!(unknown, [Violation::Unrecorded { label: "c".into(), keys: 1, starts: 0 }]);
}

#[test]
fn acknowledgements_are_in_order_and_final() {
    let order = found(|history| history.lives[0].pipe.swap(1, 2));
    assert!(matches!(order.first(), Some(Violation::OutOfOrder { life: 0, .. })), "{order:?}");
    let twice = found(|history| {
        let event = completed(1, worked("other"));
        let line = AcknowledgedLine { tick: 0, run: RUN, sequence: Sequence(3), event };
        history.lives[1].pipe.insert(0, Line::Acknowledged(line));
    });
    assert!(twice.contains(&Violation::AcknowledgedTwice { run: RUN, sequence: Sequence(3) }), "{twice:?}");
}

#[test]
fn one_id_names_one_run() {
    let second = RunId::from_bytes([2; 16]);
    let found = found(|history| history.lives[0].pipe[4] = Line::Started(0, second));
    assert_eq!(found, [Violation::TwoRuns { number: 0, first: second, second: RUN }]);
}

#[test]
fn a_run_ends_with_the_result_of_an_undisturbed_one() {
    let change = |at: usize, line: Option<Line>| {
        found(|history| match line {
            Some(line) => history.lives[1].pipe[at] = line,
            None => drop(history.lives[1].pipe.remove(at)),
        })
    };
    for found in
        [change(3, None), change(3, Some(Line::Ended(0, Ok(41)))), change(3, Some(Line::Ended(0, Err("no".into()))))]
    {
        assert!(matches!(&found[..], [Violation::Unfinished { number: 0, .. }]), "{found:?}");
    }
    let found = found(|history| history.expected[0].result = 43);
    assert!(matches!(&found[..], [Violation::Unfinished { number: 0, .. }]), "{found:?}");
}
