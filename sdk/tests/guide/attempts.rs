//! The chapter on runs that have failed: what a new attempt repeats, and what it runs.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Engine, ErrorKind, Event, RunId, task, trace};
use relive_storage::MemoryStore;

/// What ran, and what fails.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ran: Vec<&'static str>,
    fails: Vec<&'static str>,
}

impl World {
    fn runs(name: &'static str) -> relive::Result<()> {
        let world = relive::provided::<Self>()?;
        let mut state = world.0.lock();
        state.ran.push(name);
        if state.fails.contains(&name) { Err(relive::Error::msg(format!("{name} does not work"))) } else { Ok(()) }
    }

    /// What ran since the last time.
    fn ran(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().ran)
    }

    fn fails(&self, names: &[&'static str]) {
        self.0.lock().fails = names.to_vec();
    }
}

#[trace]
async fn collect(source: &str) -> relive::Result<Vec<u64>> {
    World::runs("collect")?;
    Ok(source.bytes().map(u64::from).collect())
}

#[trace]
async fn fit(data: &[u64]) -> relive::Result<u64> {
    World::runs("fit")?;
    Ok(data.iter().sum())
}

#[trace]
async fn upload(model: u64) -> relive::Result<String> {
    World::runs("upload")?;
    Ok(format!("model {model}"))
}

#[task]
async fn retrain(source: String) -> relive::Result<String> {
    let data = collect(&source).await?;
    let model = fit(&data).await?;
    upload(model).await
}

async fn resumed(engine: &Engine, run: RunId) -> relive::Result<()> {
    let preview = engine.resume(run).preview().await?;
    for call in &preview.repeated {
        println!("its result is there: {call}");
    }
    for call in &preview.runs {
        println!("would run: {call}");
    }
    let handle = engine.resume(run).await?;
    println!("{}", handle.await?);
    Ok(())
}

async fn resumed_with_rerun(engine: &Engine, run: RunId) -> relive::Result<()> {
    engine.resume(run).rerun("fit").await?.await?;
    Ok(())
}

#[tokio::test]
async fn a_new_attempt_runs_what_did_not_succeed() -> relive::Result<()> {
    let world = World::default();
    let engine = crate::in_memory(Engine::builder().provide(world.clone())).await?;
    world.fails(&["upload"]);
    let handle = engine.start(retrain("ab".to_owned())).await?;
    let run = handle.id();
    handle.await.expect_err("it fails");
    assert_eq!(world.ran(), ["collect", "fit", "upload"]);
    let preview = engine.resume(run).preview().await?;
    let names = |calls: &[relive::CallSite]| calls.iter().map(|call| call.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&preview.repeated), names(&preview.runs)),
        (vec!["collect".into(), "fit".into()], vec!["upload".into()])
    );
    resumed_with_rerun(&engine, run).await.expect_err("it fails again");
    assert_eq!(world.ran(), ["fit", "upload"]);

    world.fails(&[]);
    resumed(&engine, run).await?;
    assert_eq!(world.ran(), ["upload"]);
    let attempts =
        engine.events(run).filter(|logged| matches!(logged, Ok(logged) if logged.event.name() == "TaskStarted"));
    assert_eq!(attempts.count(), 3);
    assert_eq!(engine.run(retrain("ab".to_owned())).await?, "model 195");
    assert_eq!(world.ran(), [""; 0], "the result is in the cache");
    let error = engine.resume(run).await.expect_err("it has succeeded");
    assert_eq!(error.kind(), ErrorKind::Ended);
    engine.shutdown().await
}

#[trace]
async fn ask_supplier(item: &str) -> relive::Result<u64> {
    price_on_request(item).await
}

#[trace]
async fn estimate(item: &str) -> relive::Result<u64> {
    World::runs("estimate")?;
    Ok(item.len() as u64 * 120)
}

#[trace]
async fn send_quote(item: &str, cents: u64) -> relive::Result<String> {
    World::runs("send_quote")?;
    Ok(format!("{item} for {cents}"))
}

#[task]
async fn quote(item: String) -> relive::Result<String> {
    let cents = match ask_supplier(&item).await {
        Ok(cents) => cents,
        Err(_) => estimate(&item).await?, // another way
    };
    send_quote(&item, cents).await
}

#[task]
async fn quote_as_decided(item: String) -> relive::Result<String> {
    let cents = match supplier_has(&item).await? {
        Some(cents) => cents,
        None => estimate(&item).await?,
    };
    send_quote(&item, cents).await
}

#[trace]
async fn supplier_has(item: &str) -> relive::Result<Option<u64>> {
    Ok(price_on_request(item).await.ok()) // that there is no answer is an answer, too
}

async fn price_on_request(item: &str) -> relive::Result<u64> {
    World::runs("ask_supplier")?;
    Ok(item.len() as u64 * 100)
}

#[tokio::test]
async fn a_caught_failure_runs_again_and_a_recorded_decision_does_not() -> relive::Result<()> {
    let world = World::default();
    let engine = crate::in_memory(Engine::builder().provide(world.clone())).await?;
    for (call, second, text) in [
        (quote("tea".to_owned()), vec!["ask_supplier", "send_quote"], "tea for 300"),
        (quote_as_decided("tea".to_owned()), vec!["send_quote"], "tea for 360"),
    ] {
        world.fails(&["ask_supplier", "send_quote"]);
        let handle = engine.start(call).await?;
        let run = handle.id();
        handle.await.expect_err("it fails at the end");
        assert_eq!(world.ran(), ["ask_supplier", "estimate", "send_quote"]);
        world.fails(&[]);
        let outcome = engine.resume(run).await?.await?;
        assert_eq!((world.ran(), outcome), (second, relive::Value::Text(text.to_owned())));
        let last = engine.events(run).last().expect("there is a log")?.event;
        assert!(matches!(last, Event::TaskCompleted(_)));
        assert!(engine.replay(run).await?.is_some());
    }
    engine.shutdown().await
}

#[trace]
async fn outline(topic: &str) -> relive::Result<String> {
    World::runs("outline")?;
    Ok(format!("on {topic}"))
}

#[trace]
async fn draft(outline: &str) -> relive::Result<String> {
    World::runs("draft")?;
    Ok(format!("a text {outline}"))
}

#[trace]
async fn polish(text: &str) -> relive::Result<String> {
    World::runs("polish")?;
    Ok(format!("{text}."))
}

#[trace]
async fn print(text: &str) -> relive::Result<String> {
    let waits = World::runs("print").is_err();
    if waits {
        std::future::pending::<()>().await;
    }
    Ok(text.to_owned())
}

/// Two versions in one, as an edit would make them: the second polishes.
async fn article(topic: &str) -> relive::Result<String> {
    let outline = outline(topic).await?;
    let mut text = draft(&outline).await?;
    if relive::provided::<bool>().is_ok_and(|is_edited| *is_edited) {
        text = polish(&text).await?;
    }
    print(&text).await
}

#[task]
async fn essay(topic: String) -> relive::Result<String> {
    article(&topic).await
}

#[task(on_divergence = "new_attempt")]
async fn column(topic: String) -> relive::Result<String> {
    article(&topic).await
}

#[tokio::test]
async fn a_run_that_edited_code_does_not_fit_keeps_what_it_found() -> relive::Result<()> {
    for by_itself in [false, true] {
        let (store, world) = (Arc::new(MemoryStore::new()), World::default());
        let builder = || Engine::builder().provide(world.clone()).shutdown_grace(Duration::ZERO);
        let call = || if by_itself { column("tides".to_owned()) } else { essay("tides".to_owned()) };
        world.fails(&["print"]);
        let engine = builder().open_store(Arc::clone(&store) as _).await?;
        let run = engine.start(call()).await?.id();
        while !world.0.lock().ran.contains(&"print") {
            tokio::task::yield_now().await;
        }
        engine.shutdown().await?;
        assert_eq!(world.ran(), ["outline", "draft", "print"]);

        world.fails(&[]);
        let engine = builder().provide(true).open_store(store).await?;
        if !by_itself {
            let error = engine.run(call()).await.expect_err("it does not fit");
            assert_eq!((error.kind(), world.ran()), (ErrorKind::Diverged, vec![]));
            engine.resume(run).await?;
        }
        let handle = engine.handle::<String, relive::Error>(run)?;
        assert_eq!(handle.await?, "a text on tides.");
        assert_eq!(world.ran(), ["polish", "print"]);
        engine.shutdown().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cancelled_run_is_taken_up_by_resume_alone() -> relive::Result<()> {
    let world = World::default();
    let engine = crate::in_memory(Engine::builder().provide(world.clone())).await?;
    world.fails(&["print"]);
    let handle = engine.start(essay("tides".to_owned())).await?;
    let run = handle.id();
    while !world.0.lock().ran.contains(&"print") {
        tokio::task::yield_now().await;
    }
    handle.cancel().await?;
    assert_eq!(world.ran(), ["outline", "draft", "print"]);
    world.fails(&[]);
    engine.resume(run).await?.await?;
    assert_eq!(world.ran(), ["print"]);
    engine.shutdown().await
}
