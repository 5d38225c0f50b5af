//! Children that did not run, as another run answered for them.

use relive::{RunId, task, trace};

use crate::stores::{Life, block_on, clock, life};

#[trace]
async fn shrink(photo: String) -> relive::Result<usize> {
    Ok(photo.len())
}

#[task]
async fn thumbnail(photo: String) -> relive::Result<usize> {
    shrink(photo).await
}

/// Two at the same time, and then a third.
#[task(cache = "off")]
async fn album(photo: String) -> relive::Result<usize> {
    let (one, two) = tokio::join!(thumbnail(photo.clone()), thumbnail(photo.clone()));
    Ok(one? + two? + thumbnail(photo).await?)
}

fn printed(life: &Life, directory: &std::path::Path, arguments: &[&str]) -> String {
    let _ = life;
    let ran = crate::run(directory, arguments);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments:?}: {}", ran.stdout);
    ran.stdout
}

#[test]
fn a_child_that_was_joined_or_cached_says_from_which_run() {
    let directory = tempfile::tempdir().unwrap();
    let (life, run, found_by, tagged) = block_on(async {
        let life = life(directory.path(), &clock(), false).await;
        let handle = life.engine.start(album("cat".to_owned())).await.unwrap();
        let run = handle.id();
        assert_eq!(handle.await.unwrap(), 9);
        let is_new = |run: &relive::StoredRun| {
            let first = life.engine.events(run.run).next().unwrap().unwrap().event;
            matches!(first, relive::Event::TaskStarted(started) if started.cause == relive::Cause::New)
        };
        let runs: Vec<RunId> = life
            .engine
            .runs()
            .map(Result::unwrap)
            .filter(|run| run.record.task == "thumbnail" && is_new(run))
            .map(|run| run.run)
            .collect();
        assert_eq!(runs.len(), 1, "one ran");
        let tagged = life.engine.start(thumbnail("cat".to_owned()).tag("customer", "42")).await.unwrap().id();
        life.engine.shutdown().await.unwrap();
        (life, run.to_string(), runs[0].to_string(), tagged.to_string())
    });
    let printed = |arguments: &[&str]| printed(&life, directory.path(), arguments);
    for shown in [printed(&["show", &run]), printed(&["log", &run, "--full"])] {
        assert!(shown.contains(&format!("joined run {found_by}")), "{shown}");
        assert!(shown.contains(&format!("cached, from run {found_by}")), "{shown}");
    }
    let json = printed(&["log", &run, "--json"]);
    for answered in ["joined", "cached"] {
        assert!(json.contains(&format!(r#""answered":"{answered}","from":"{found_by}""#)), "{json}");
    }
    assert_eq!(json.matches(r#""answered":"#).count(), 2, "the first ran itself: {json}");
    assert!(printed(&["show", &tagged]).contains(&format!("from the cache: run {found_by} found it")));
    assert!(printed(&["log", &tagged, "--json"]).contains(&format!(r#""cached_from":"{found_by}""#)));
    assert!(printed(&["runs", "--tag", "customer=42"]).contains(&tagged[..8]));
}
