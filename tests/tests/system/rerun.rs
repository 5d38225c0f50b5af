//! A trace that was edited keeps its recorded results, unless `resume` is told otherwise.

use std::panic::Location;

use relive::__private::{Arguments, CodeHash, TraceMeta, TracePolicy};
use relive::{Error, RunId};

use super::attempts_kit::{World, begun, do_step, effect, handle, label, outcome, program};
use super::support::guard;

const fn definition(code: u8) -> TraceMeta {
    TraceMeta {
        name: "rerun.charge",
        code: CodeHash::from_bytes([code; 16]),
        file: file!(),
        line: line!(),
        module: module_path!(),
        outside_call: false,
        policy: TracePolicy::DEFAULT,
    }
}

/// As the macro would expand it before and after an edit: two of one name do not fit into one program otherwise.
static RELEASES: [TraceMeta; 2] = [definition(1), definition(2)];

async fn charge(release: usize, text: &str) -> relive::Result<usize> {
    let definition = &RELEASES[release];
    let text = text.to_owned();
    let arguments = Arguments::of(definition, &(("label", &text), ()));
    relive::__private::trace(definition, arguments, Location::caller(), move || async move {
        effect(&text).await.map_err(|error: Error| error.to_record())
    })
    .await
}

fn release(world: &World, number: usize) -> World {
    world.with("body", move || async move {
        Ok(vec![do_step("1").await?, charge(number, "charge").await?, do_step("fails").await?])
    })
}

async fn failed() -> (World, RunId) {
    let world = release(&World::default(), 0);
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("it fails");
    engine.shutdown().await.expect("shuts down");
    world.failing.remove("fails");
    (release(&world.crashed(), 1), run)
}

#[tokio::test]
async fn an_edited_trace_keeps_its_results() {
    let (edited, run) = failed().await;
    let engine = edited.open().await;
    let told = engine.resume(run).preview().await.expect("can be told");
    assert_eq!((told.repeated.len(), told.runs.len()), (2, 1));
    engine.resume(run).await.expect("resumes");
    guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(begun(&edited), ["fails"], "a reformatted charge charges once");
    // What other code than today's found is not cached.
    assert_eq!(engine.cache().list().count(), 0);
}

#[tokio::test]
async fn edited_traces_run_again_if_resume_is_told_so_and_no_others() {
    let (edited, run) = failed().await;
    let copies = edited
        .every_commit(async |engine| {
            let told = engine.resume(run).rerun_edited().preview().await.expect("can be told");
            assert_eq!((told.repeated.len(), told.runs.len()), (1, 1));
            assert_eq!(told.runs[0].name, "rerun.charge");
            engine.resume(run).rerun_edited().await.expect("resumes");
            guard(handle(engine, run)).await.expect("succeeds");
            assert_eq!(begun(&edited), ["charge", "fails"]);
            assert_eq!(guard(engine.replay(run)).await.expect("fits"), Some(outcome(engine, run)));
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let after = edited.on(before.copy());
        let engine = after.open().await;
        super::attempts_kit::settled(&engine).await;
        assert_eq!(after.probe.count("1"), 0, "cut {number}");
        if super::attempts_kit::record(&engine, run).attempts == 2 {
            guard(handle(&engine, run)).await.expect("goes on");
            assert_eq!(guard(engine.replay(run)).await.expect("fits"), Some(outcome(&engine, run)), "cut {number}");
        }
    }
}

#[tokio::test]
async fn rerun_by_name_runs_a_trace_again_that_was_not_edited() {
    let (edited, run) = failed().await;
    let engine = edited.open().await;
    engine.resume(run).rerun("rerun.charge").await.expect("resumes");
    guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(begun(&edited), ["charge", "fails"]);
    // The result is the newer one from now on.
    let log = guard(engine.replay(run)).await.expect("fits");
    assert_eq!(log, Some(outcome(&engine, run)));
}

#[tokio::test]
async fn what_was_run_again_is_remembered_by_the_attempt_after() {
    let (edited, run) = failed().await;
    edited.failing.add("fails");
    let engine = edited.open().await;
    engine.resume(run).rerun_edited().await.expect("resumes");
    guard(handle(&engine, run)).await.expect_err("fails again");
    edited.failing.remove("fails");
    engine.resume(run).rerun_edited().await.expect("resumes");
    guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(begun(&edited), ["charge", "fails", "fails"], "found by today's code already");
}
