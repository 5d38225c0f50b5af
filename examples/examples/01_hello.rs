//! A task and its traces, and a second call that runs none of them.
//!
//! `cargo run -p relive-examples --example 01_hello`

#![expect(clippy::print_stdout, reason = "what an example does is what it prints")]

use relive::{Engine, task, trace};

/// An operation worth a checkpoint. A real one asks a service or computes for long; this one prints that it runs.
#[trace]
async fn translate(word: &str, language: &str) -> relive::Result<String> {
    println!("  translate runs: {word} to {language}");
    let translated = match language {
        "German" => "Hallo",
        "French" => "Bonjour",
        "Spanish" => "Hola",
        other => return Err(relive::Error::msg(format!("nobody here speaks {other}"))),
    };
    Ok(translated.to_owned())
}

/// Orchestrates: calls traces, and does nothing else that could differ from one run to the next.
#[task]
async fn greet(name: String, languages: Vec<String>) -> relive::Result<Vec<String>> {
    // Traces are ordinary futures: these run at the same time.
    let greetings = languages.iter().map(|language| translate("Hello", language));
    let greetings = futures::future::try_join_all(greetings).await?;
    Ok(greetings.into_iter().map(|greeting| format!("{greeting}, {name}!")).collect())
}

#[tokio::main]
async fn main() -> relive::Result<()> {
    let directory = tempfile::tempdir()?;
    let engine = Engine::open(directory.path()).await?;
    let languages = ["German", "French", "Spanish"].map(str::to_owned).to_vec();

    println!("The first call runs the task:");
    println!("  {:?}", engine.run(greet("Ada".to_owned(), languages.clone())).await?);

    println!("The same call again is answered from the cache, and no trace runs:");
    println!("  {:?}", engine.run(greet("Ada".to_owned(), languages.clone())).await?);

    println!("Another input is another call:");
    println!("  {:?}", engine.run(greet("Alan".to_owned(), languages)).await?);

    println!("A trace's error is the task's, if the task hands it on:");
    let error = engine.run(greet("Ada".to_owned(), vec!["Klingon".to_owned()])).await;
    println!("  {}", error.map_or_else(|error| error.to_string(), |greetings| format!("{greetings:?}")));

    engine.shutdown().await
}
