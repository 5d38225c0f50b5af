//! The chapter on arguments.

use relive::{Engine, task, trace};

#[derive(Clone)]
struct Client {
    base: String,
}

#[trace(skip(client))]
async fn get(client: &Client, path: &str) -> relive::Result<String> {
    Ok(format!("contents of {}{path}", client.base))
}

#[task]
async fn crawl(paths: Vec<String>) -> relive::Result<Vec<String>> {
    let client = relive::provided::<Client>()?;
    let mut pages = vec![];
    for path in &paths {
        pages.push(get(&client, path).await?);
    }
    Ok(pages)
}

#[tokio::test]
async fn clients_are_provided_and_left_out_of_the_record() -> relive::Result<()> {
    let _directory = crate::enter_temporary_directory()?;
    let client = Client { base: "https://example.org".to_owned() };
    let engine = Engine::builder().provide(client).open("./pages").await?;
    let pages = engine.run(crawl(vec!["/".to_owned()])).await?;
    assert_eq!(pages, ["contents of https://example.org/"]);
    let run = engine.runs().next().expect("there is a run")?.run;
    let inputs = engine.events(run).filter_map(|logged| match logged.ok()?.event {
        relive::Event::TraceStarted(started) => Some(started.input.to_value().to_string()),
        _ => None,
    });
    assert_eq!(inputs.collect::<Vec<_>>(), [r#"{"path":"/"}"#]);
    engine.shutdown().await
}
