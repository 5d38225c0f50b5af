//! Runs that cannot go on until somebody acts: how they are listed, shown, resumed and cancelled, with and without an engine.

use std::path::Path;

use relive::{Event, RunId, RunState, task, trace};
use tempfile::TempDir;

use crate::stores::{Approved, Life, block_on, clock, count, life, takes};
use crate::{printed, run};

#[trace]
async fn old_step(number: u32) -> relive::Result<()> {
    takes(u64::from(number))
}

#[trace]
async fn new_step(number: u32) -> relive::Result<()> {
    takes(u64::from(number))
}

/// Calls another trace where it is approved: a new release of the program.
#[task(allow(signal))]
async fn shifts(number: u32) -> relive::Result<u32> {
    match relive::provided::<Approved>()?.0 {
        true => new_step(number).await?,
        false => old_step(number).await?,
    }
    relive::signal("answer").await
}

/// The other task that diverges, with a retry to come.
#[trace(retries = 1, backoff(first = "2h", max = "2h", jitter = false))]
async fn fails(release: u32) -> relive::Result<()> {
    Err(relive::Error::msg(format!("release {release} broke")))
}

#[task]
async fn patient_shift() -> relive::Result<()> {
    fails(u32::from(relive::provided::<Approved>()?.0)).await
}

struct Stuck {
    directory: TempDir,
    shifts: Vec<RunId>,
    patient: RunId,
}

impl Stuck {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn opened(&self, approved: bool) -> Life {
        life(self.path(), &clock(), approved).await
    }

    async fn is_stuck(&self, life: &Life) {
        for run in self.shifts.iter().chain([&self.patient]) {
            life.engine.handle::<u32, relive::Error>(*run).unwrap().await.unwrap_err();
        }
    }
}

/// A store with five runs that the next release does not fit, and one that is to be tried again.
async fn stuck() -> Stuck {
    let directory = tempfile::tempdir().unwrap();
    let mut first = life(directory.path(), &clock(), false).await;
    first.engine.run(count(1)).await.unwrap();
    let mut shifted = Vec::new();
    for number in 0..5 {
        let run = first.engine.start(shifts(number)).await.unwrap().id();
        first
            .until(run, |event| matches!(event, Event::TraceStarted(started) if started.name == "relive::signal"))
            .await;
        shifted.push(run);
    }
    let patient = first.engine.start(patient_shift()).await.unwrap().id();
    first.until(patient, |event| matches!(event, Event::TraceRetried(_))).await;
    first.engine.shutdown().await.unwrap();
    Stuck { directory, shifts: shifted, patient }
}

async fn ran(directory: &Path, arguments: &[&str]) -> String {
    let (directory, arguments) = (directory.to_owned(), arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    let run = move || printed(&directory, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[test]
fn a_run_that_is_stuck_is_listed_and_shown_as_blocked_with_reason_and_time() {
    block_on(async {
        let stuck = stuck().await;
        let due = printed(stuck.path(), &["show", &stuck.patient.to_string()]);
        assert!(due.contains("the next is due"), "{due}");
        let second = stuck.opened(true).await;
        stuck.is_stuck(&second).await;
        for is_live in [true, false] {
            if !is_live {
                second.engine.shutdown().await.unwrap();
            }
            let runs = ran(stuck.path(), &["runs"]).await;
            assert_eq!(runs.matches("  diverged  ").count(), 6, "{runs}");
            assert!(runs.contains("BLOCKED SINCE") && runs.ends_with("blocked: 6 diverged\n"), "{runs}");
            let few = ran(stuck.path(), &["runs", "-n", "1"]).await;
            assert!(few.ends_with("blocked: 6 diverged\n"), "{few}");
            let completed = ran(stuck.path(), &["runs", "--status", "completed"]).await;
            assert!(!completed.contains("blocked:") && !completed.contains("BLOCKED"), "{completed}");
            for (filter, count) in [
                (["--status", "blocked"], 6),
                (["--reason", "diverged"], 6),
                (["--reason", "parked"], 0),
                (["--status", "parked"], 0),
            ] {
                let lines = ran(stuck.path(), &["runs", "--json", filter[0], filter[1]]).await;
                assert_eq!(lines.lines().count(), count, "{filter:?}: {lines}");
                for line in lines.lines() {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(line["blocked"]["reason"], "diverged");
                    assert!(line["blocked"]["since"].as_str().unwrap().starts_with("2026-01-02T03:04:05"), "{line}");
                    assert!(line["blocked"]["message"].as_str().unwrap().contains("the task called"), "{line}");
                    assert_eq!((&line["state"], &line["retry_at"]), (&"unfinished".into(), &serde_json::Value::Null));
                }
            }
            let shown = ran(stuck.path(), &["show", &stuck.patient.to_string()]).await;
            let first = shown.lines().next().unwrap();
            assert!(first.ends_with("patient_shift  blocked"), "{shown}");
            assert!(shown.contains("  blocked  diverged since 2026-01-02 03:04:05"), "{shown}");
            assert!(shown.contains("    blocked: run ") && !shown.contains("is due"), "{shown}");
        }
        let wrong = run(stuck.path(), &["runs", "--reason", "bored"]);
        assert!(wrong.status == 2 && wrong.stderr.contains("diverged, parked, held, unknown-task"), "{}", wrong.stderr);
    });
}

#[test]
fn runs_that_filters_let_through_are_cancelled_with_and_without_an_engine() {
    block_on(async {
        for is_live in [true, false] {
            let stuck = stuck().await;
            let second = stuck.opened(true).await;
            stuck.is_stuck(&second).await;
            if !is_live {
                second.engine.shutdown().await.unwrap();
            }
            let dry = ran(stuck.path(), &["cancel", "--reason", "diverged", "--task", "shifts", "--dry"]).await;
            assert!(dry.ends_with("5 runs would be cancelled; nothing was done\n"), "{dry}");
            assert!(stuck.shifts.iter().all(|run| dry.contains(&run.to_string())), "{dry}");
            assert_eq!(ran(stuck.path(), &["runs", "--json", "--status", "cancelled"]).await, "");
            let told = ran(stuck.path(), &["cancel", "--status", "blocked", "--task", "shifts"]).await;
            assert_eq!(told, "5 runs cancelled\n");
            assert_eq!(ran(stuck.path(), &["runs", "--json", "--status", "cancelled"]).await.lines().count(), 5);
            let runs = ran(stuck.path(), &["runs"]).await;
            assert!(runs.ends_with("blocked: 1 diverged\n"), "{runs}");
            if is_live {
                second.engine.shutdown().await.unwrap();
            }
            assert_eq!(run(stuck.path(), &["verify"]).status, 0);
        }
    });
}

#[test]
fn blocked_runs_are_resumed_together_by_a_live_engine() {
    block_on(async {
        let stuck = stuck().await;
        let second = stuck.opened(true).await;
        stuck.is_stuck(&second).await;
        let dry = ran(stuck.path(), &["resume", "--task", "shifts", "--dry", "--json"]).await;
        assert_eq!(dry.lines().count(), 5, "{dry}");
        let told = ran(stuck.path(), &["resume", "--reason", "diverged", "--task", "shifts"]).await;
        assert_eq!(told, "5 runs resumed\n");
        for run in &stuck.shifts {
            second.engine.signal(*run, "answer", 7u32).await.unwrap();
            assert_eq!(second.engine.handle::<u32, relive::Error>(*run).unwrap().await.unwrap(), 7);
        }
        let states: Vec<_> = second.engine.runs().map(|run| run.unwrap().record.state).collect();
        assert_eq!(states.iter().filter(|state| **state == RunState::Completed).count(), 6);
        second.engine.shutdown().await.unwrap();
    });
}

#[test]
fn without_a_run_and_without_filters_nothing_is_done() {
    block_on(async {
        let stuck = stuck().await;
        for command in ["resume", "cancel"] {
            let none = run(stuck.path(), &[command]);
            assert!(none.status != 0 && none.stderr.contains("say which run"), "{}", none.stderr);
            let limit = run(stuck.path(), &[command, "-n", "3"]);
            assert!(limit.status != 0 && limit.stderr.contains("say which run"), "{}", limit.stderr);
            let both = run(stuck.path(), &[command, &stuck.patient.to_string(), "--status", "blocked"]);
            assert!(both.status != 0 && both.stderr.contains("one or the other"), "{}", both.stderr);
        }
        assert_eq!(ran(stuck.path(), &["runs", "--json", "--status", "unfinished"]).await.lines().count(), 6);
    });
}
