//! The first chapters: a whole program, and what it leaves in its store.

use relive::{Engine, task, trace};

#[trace]
async fn fetch(url: String) -> relive::Result<String> {
    // Any effect: a request, a query, a long computation.
    Ok(format!("contents of {url}"))
}

#[task]
async fn digest(urls: Vec<String>) -> relive::Result<usize> {
    let mut length = 0;
    for url in urls {
        length += fetch(url).await?.len();
    }
    Ok(length)
}

#[tokio::main]
async fn main() -> relive::Result<()> {
    let engine = Engine::open("./data").await?;
    let urls = vec!["https://a.example".to_owned(), "https://b.example".to_owned()];
    println!("{}", engine.run(digest(urls)).await?);
    engine.shutdown().await
}

/// The lines that the guide shows are those of `relive log`, whose own tests check its form; here, that the log is so.
#[test]
fn the_first_program_runs_twice_and_leaves_one_run() -> relive::Result<()> {
    let _directory = crate::enter_temporary_directory()?;
    main()?;
    main()?;
    reopened()
}

#[tokio::main]
async fn reopened() -> relive::Result<()> {
    let engine = Engine::open("./data").await?;
    let runs = engine.runs().collect::<relive::Result<Vec<_>>>()?;
    assert_eq!(runs.len(), 1, "the second time the result came from the cache");
    let events =
        engine.events(runs[0].run).map(|logged| Ok(logged?.event.name())).collect::<relive::Result<Vec<_>>>()?;
    let expected = "TaskStarted TraceStarted TraceCompleted TraceStarted TraceCompleted TaskCompleted";
    assert_eq!(events.join(" "), expected);
    engine.shutdown().await
}
