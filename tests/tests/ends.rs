//! Programs that end without a shutdown end as they mean to, and lose nothing that was acknowledged.

use std::process::Command;

use relive::Engine;
use relive_engine::index::RunState;

/// How often each is tried: a race at the end of a process, which was lost once in ten times.
const TIMES: usize = 20;

fn ends(way: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    for time in 0..TIMES {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = Command::new(env!("CARGO_BIN_EXE_ends")).arg(way).arg(directory.path()).output();
        let output = output.expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{way}, time {time}: {}: {said}", output.status);
        assert_eq!((output.stdout.as_slice(), &*said), (b"6\n".as_slice(), ""), "{way}, time {time}");
        // Everything that was started is known, and what ended has its result.
        runtime.block_on(async {
            let replayer = Engine::builder().open_reader(directory.path()).expect("it can be read");
            let store = replayer.store().expect("it is open");
            let runs: Vec<_> = relive_engine::inspect::runs(store).map(|run| run.expect("it is whole")).collect();
            let finished = runs.iter().filter(|run| run.record.state != RunState::Unfinished);
            assert_eq!((runs.len(), finished.count()), (31, 1), "{way}, time {time}");
        });
    }
}

#[test]
fn by_dropping_the_engine() {
    ends("engine-first");
}

#[test]
fn by_dropping_the_runtime_under_the_engine() {
    ends("runtime-first");
}

#[test]
fn by_leaving_the_runtime_in_the_background() {
    ends("runtime-left");
}

#[test]
fn by_dropping_nothing() {
    ends("both-left");
}

#[test]
fn by_exiting() {
    ends("exit");
}
