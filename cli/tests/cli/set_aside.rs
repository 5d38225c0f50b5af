//! A signal that fitted no wait is seen: in the timeline, in the log, and by programs.

use relive::{Engine, Event, task};
use serde_json::Value;

use crate::printed;
use crate::stores::block_on;

/// Is told to go on, and then asks for a number.
#[task(allow(signal))]
async fn asks() -> relive::Result<u64> {
    relive::signal::<()>("go").await?;
    relive::signal::<u64>("discount").await
}

#[test]
fn a_signal_that_was_set_aside_is_seen_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let run = block_on(async {
        let engine = Engine::open(directory.path()).await.unwrap();
        let handle = engine.start(asks()).await.unwrap();
        let run = handle.id();
        engine.signal(run, "discount", "seven").await.unwrap();
        engine.signal(run, "go", ()).await.unwrap();
        let is_set_aside = || engine.events(run).any(|logged| matches!(logged.unwrap().event, Event::TraceRetried(_)));
        while !is_set_aside() {
            tokio::task::yield_now().await;
        }
        engine.signal(run, "discount", 9u64).await.unwrap();
        assert_eq!(handle.await.unwrap(), 9);
        engine.shutdown().await.unwrap();
        run.to_string()
    });
    let why = "signal discount came with \"seven\", which is no u64";
    let line = |arguments: &[&str]| {
        let printed = printed(directory.path(), arguments);
        let line = printed.lines().find(|line| line.contains(why));
        line.unwrap_or_else(|| panic!("{arguments:?}: {printed}")).to_owned()
    };
    assert!(line(&["show", &run]).starts_with("├ signal discount"));
    let logged = line(&["log", "--full", &run]);
    assert!(logged.contains("TraceRetried") && logged.contains("  set aside  "), "{logged}");
    let lines = printed(directory.path(), &["log", "--json", &run]);
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let retried: Vec<_> = lines.filter(|line| line["event"] == "trace_retried").collect();
    assert_eq!(retried.len(), 1);
    assert_eq!((&retried[0]["name"], &retried[0]["error"]["kind"]), (&"relive::signal".into(), &"payload".into()));
    let shown: Value = serde_json::from_str(&printed(directory.path(), &["show", "--json", &run])).unwrap();
    assert_eq!(shown["set_aside"], 1);
}
