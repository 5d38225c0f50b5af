//! Exported runs, with the code that ran them: they replay, they go on elsewhere when somebody says so, and who replays a
//! redacted one is told.

use std::io::Cursor;
use std::sync::Arc;

use relive::{ErrorKind, RunId, RunStatus, export, replay_export, task, trace};
use relive_storage::{MemoryStore, Read};
use relive_tests::exported::order;

use super::support::{Probe, builder, guard, open, open_with};

#[trace(name = "exported.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(label.len() as u32)
}

#[task(name = "exported.child")]
async fn child(label: String) -> relive::Result<u32> {
    Ok(held(format!("{label} first")).await? + held(format!("{label} second")).await?)
}

#[task(name = "exported.parent")]
async fn parent(label: String) -> relive::Result<u32> {
    child(label).await
}

/// Which version of `edited` an engine runs.
struct Edited(bool);

#[task(name = "exported.edited")]
async fn edited(token: String) -> relive::Result<u32> {
    let again = relive::provided::<Edited>()?.0;
    let label = if token == "secret" { "known" } else { "other" };
    let first = held(label.to_owned()).await?;
    if again { held("again".to_owned()).await } else { Ok(first) }
}

fn exported(store: &MemoryStore, run: RunId, redact: &[&str]) -> relive::Result<Vec<u8>> {
    let store: Arc<dyn Read> = Arc::new(store.clone());
    let mut file = Vec::new();
    let redact = redact.iter().map(|&field| field.to_owned()).collect();
    export::write(&store, run, &export::Options { redact }, &mut file)?;
    Ok(file)
}

#[tokio::test]
async fn a_run_that_succeeded_is_a_test_from_then_on() -> relive::Result<()> {
    let store = MemoryStore::new();
    let engine = open(&store, &Probe::default()).await;
    let items = ["cup", "plate", "spoon"].map(str::to_owned).to_vec();
    let handle = engine.start(order(items)).await?;
    let run = handle.id();
    assert_eq!(guard(handle).await?, 300 + 500 + 550);
    engine.shutdown().await?;
    let file = exported(&store, run, &[])?;
    if std::env::var_os("RELIVE_WRITE_FIXTURE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exported.relive"), &file)?;
    }
    replay_export(&file)
}

#[tokio::test]
async fn code_that_fits_no_more_fails_the_test_and_says_where() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    ["known", "other", "again"].iter().for_each(|gate| probe.open(gate));
    let code = |edited| builder(&probe).provide(Edited(edited));
    let engine = open_with(&store, code(false)).await;
    let handle = engine.start(edited("secret".to_owned())).await?;
    let run = handle.id();
    guard(handle).await?;
    engine.shutdown().await?;

    let file = exported(&store, run, &[])?;
    code(false).replay_export(&file)?;
    let error = code(true).replay_export(&file).expect_err("it calls another trace");
    assert_eq!(error.kind(), ErrorKind::Diverged);
    assert!(!error.to_string().contains("redacted"), "{error}");

    // The code fits, and yet the body reads another token.
    let redacted = exported(&store, run, &["token"])?;
    let error = code(false).replay_export(&redacted).expect_err("the token is another");
    assert_eq!(error.kind(), ErrorKind::Diverged);
    assert!(error.to_string().contains("the fields `token` of this run were redacted"), "{error}");
    assert!(error.divergence().is_some());
    assert_eq!(probe.count("known"), 1, "a replay runs no effect");
    Ok(())
}

#[tokio::test]
async fn an_unfinished_run_goes_on_elsewhere_with_its_children_once_it_is_resumed() -> relive::Result<()> {
    let (here, probe) = (MemoryStore::new(), Probe::default());
    probe.open("x first");
    let engine = open(&here, &probe).await;
    let run = engine.start(parent("x".to_owned())).await?.id();
    probe.begun("x second", 1).await;
    let file = exported(&here, run, &[])?;

    let (there, elsewhere) = (MemoryStore::new(), Probe::default());
    let imported = export::read(&mut Cursor::new(&file), &there)?;
    assert_eq!((imported.run, imported.parked.len()), (run, 2));
    elsewhere.open("x second");
    let other = open(&there, &elsewhere).await;
    for run in &imported.parked {
        assert!(matches!(other.status(*run)?, RunStatus::Blocked { .. }));
    }
    assert_eq!(elsewhere.count("x second"), 0);
    let outcome = guard(guard(other.resume(run)).await?).await?;
    assert_eq!(outcome.to_string(), "15");
    assert_eq!((elsewhere.count("x first"), elsewhere.count("x second")), (0, 1));
    // Its effect is held to the end.
    drop(engine);
    other.shutdown().await
}

#[tokio::test]
async fn a_test_whose_task_is_not_linked_in_says_so() -> relive::Result<()> {
    // The fixture of the format is of a task that no program has.
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/fixtures/export-v1.relive");
    let error = replay_export(std::fs::read(fixture)?).expect_err("no such task");
    assert_eq!(error.kind(), ErrorKind::UnknownTask);
    let error = replay_export("text").expect_err("no export");
    assert_eq!(error.kind(), ErrorKind::NotAStore);
    Ok(())
}
