//! What a new attempt would do, told beforehand: nothing is run and nothing written.

use relive::{Preview, TaskOutcome, Value, trace};

use super::attempts_kit::{World, begun, do_step, handle, label, program, step};
use super::support::{all_rows, guard};

/// Runs a body to its failure; gives the world after it, and the run.
async fn failed(world: World) -> (World, relive::RunId) {
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("it fails");
    engine.shutdown().await.expect("shuts down");
    world.failing.remove("fails");
    (world.crashed(), run)
}

/// What a preview says, and that it left everything as it was.
async fn preview(world: &World, run: relive::RunId, rerun: Option<&str>) -> Preview {
    let engine = world.open().await;
    let before = all_rows(&world.store);
    let mut resume = engine.resume(run);
    if let Some(name) = rerun {
        resume = resume.rerun(name);
    }
    let preview = guard(resume.preview()).await.expect("can be told");
    assert_eq!(all_rows(&world.store), before, "nothing is written");
    assert_eq!(begun(world), Vec::<String>::new(), "nothing is run");
    preview
}

fn labels(sites: &[relive::CallSite]) -> Vec<String> {
    sites
        .iter()
        .map(|site| match site.input.get("label") {
            Some(Value::Text(text)) => text.clone(),
            other => format!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_preview_says_what_would_run_and_what_would_not() {
    let world = World::default().with("body", || async {
        let one = do_step("1").await?;
        let (two, three) = futures::try_join!(step(label("2")), step(label("3")))?;
        Ok(vec![one, two, three, do_step("fails").await?, do_step("behind").await?])
    });
    let (again, run) = failed(world).await;
    let told = preview(&again, run, None).await;
    assert_eq!(labels(&told.repeated), ["1", "2", "3"]);
    assert_eq!(labels(&told.runs), ["fails"]);
    assert_eq!(told.outcome, None);
    let told = preview(&again, run, Some("kit.step")).await;
    assert_eq!(labels(&told.repeated), Vec::<String>::new());
    assert_eq!(labels(&told.runs), ["1"]);
}

#[tokio::test]
async fn a_preview_of_corrected_code_is_of_that_code() {
    let world = World::default().with("body", || async { Ok(vec![do_step("1").await?, do_step("fails").await?]) });
    let (again, run) = failed(world).await;
    let corrected = again.with("body", || async { Ok(vec![do_step("1").await?, do_step("corrected").await?]) });
    let told = preview(&corrected, run, None).await;
    assert_eq!((labels(&told.repeated), labels(&told.runs)), (vec![label("1")], vec![label("corrected")]));
    assert_eq!(labels(&told.recorded), Vec::<String>::new());
    let extended = again.with("body", || async { Ok(vec![do_step("new").await?, do_step("1").await?]) });
    let told = preview(&extended, run, None).await;
    assert_eq!((labels(&told.repeated), labels(&told.runs)), (Vec::new(), vec![label("new")]));
    assert_eq!(labels(&told.recorded), ["1"], "what is there is not lost, but asked for later");
    let told = preview(&extended, run, Some("kit.step")).await;
    assert_eq!(labels(&told.recorded), Vec::<String>::new(), "it is to be found anew");
    let shortened = again.with("body", || async { Ok(vec![do_step("1").await?]) });
    let told = preview(&shortened, run, None).await;
    assert!(matches!(told.outcome, Some(TaskOutcome::Ok(_))), "{told:?}");
}

#[trace(name = "preview.plain")]
fn plain(label: String) -> relive::Result<usize> {
    super::support::Probe::here()?.begin(&label);
    Ok(1)
}

#[tokio::test]
async fn a_preview_does_not_run_a_plain_function_either() {
    let world = World::default().with("body", || async { Ok(vec![plain(label("1"))?, do_step("fails").await?]) });
    let (again, run) = failed(world).await;
    let edited =
        again.with("body", || async { Ok(vec![plain(label("1"))?, plain(label("new"))?, do_step("2").await?]) });
    let told = preview(&edited, run, None).await;
    assert_eq!(labels(&told.repeated), ["1"]);
    assert_eq!(labels(&told.runs), ["new"]);
}

#[tokio::test]
async fn a_preview_starts_no_child() {
    let world = World::default()
        .with("body", || async {
            do_step("1").await?;
            program(label("child")).await
        })
        .with("child", || async { Ok(vec![do_step("fails").await?]) });
    let (again, run) = failed(world).await;
    let told = preview(&again, run, None).await;
    assert_eq!(labels(&told.repeated), ["1"]);
    assert_eq!(told.runs.len(), 1);
    assert_eq!(told.runs[0].name, "kit.task");
}

#[tokio::test]
async fn what_a_preview_says_is_what_the_attempt_does() {
    let world = World::default().with("body", || async {
        let race = relive::select! {
            left = step(label("held left")) => left,
            right = step(label("right")) => right,
        };
        Ok(vec![race?, do_step("fails").await?])
    });
    let (again, run) = failed(world).await;
    let told = preview(&again, run, None).await;
    assert_eq!((labels(&told.repeated), labels(&told.runs)), (vec![label("right")], vec![label("fails")]));
    let engine = again.open().await;
    engine.resume(run).await.expect("resumes");
    guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(begun(&again), ["fails"]);
}
