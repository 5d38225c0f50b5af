//! Which runs are listed.

use relive::task;

use crate::stores::{block_on, clock, count, life, written};
use crate::{printed, run};

/// Calls another.
#[task]
async fn calls(to: usize) -> relive::Result<usize> {
    count(to).await
}

/// The runs that are listed, newest first, by their names in the store.
fn listed(store: &crate::stores::Written, arguments: &[&str]) -> Vec<&'static str> {
    let arguments = [&["runs", "--json"], arguments].concat();
    let names = [(store.failed, "failed"), (store.continued, "continued"), (store.waiting, "waiting")];
    let lines = printed(store.path(), &arguments);
    let name = |line: &str| names.iter().find(|(run, _)| line.contains(&run.to_string())).unwrap().1;
    lines.lines().map(name).collect()
}

#[test]
fn runs_are_listed_by_task_status_time_and_input() {
    let store = written();
    assert_eq!(listed(&store, &["--task", "release"]), ["waiting", "continued"]);
    assert_eq!(listed(&store, &["--status", "failed"]), ["failed"]);
    assert_eq!(listed(&store, &["--status", "completed"]), ["continued"]);
    assert_eq!(listed(&store, &["--status", "unfinished"]), ["waiting"]);
    assert_eq!(listed(&store, &["--status", "parked"]), [] as [&str; 0]);
    assert_eq!(listed(&store, &["--status", "cancelled"]), [] as [&str; 0]);
    assert_eq!(listed(&store, &["--input", "1.1"]), ["waiting"]);
    assert_eq!(listed(&store, &["--input", "example.org/b"]), ["failed"]);
    assert_eq!(listed(&store, &["--task", "release", "--limit", "1"]), ["waiting"]);
    // The runs are of 2026-01-02: 03:04:05, a minute later, more than three hours later; in UTC here.
    assert_eq!(listed(&store, &["--since", "2026-01-02T03:05"]), ["waiting", "continued"]);
    assert_eq!(listed(&store, &["--since", "2026-01-02T05:00:00Z"]), ["waiting"]);
    assert_eq!(listed(&store, &["--until", "2026-01-02T03:05"]), ["failed"]);
    assert_eq!(listed(&store, &["--until", "2026-01-02"]), [] as [&str; 0]);
    assert_eq!(listed(&store, &["--since", "1000 years"]), ["waiting", "continued", "failed"]);
    assert_eq!(printed(store.path(), &["runs", "--status", "failed"]).lines().count(), 2);
}

#[test]
fn that_there_is_none_is_said_with_the_task_that_was_meant() {
    let store = written();
    assert_eq!(
        printed(store.path(), &["runs", "--task", "releases"]),
        "no runs of a task releases; there are runs of release\n"
    );
    assert_eq!(
        printed(store.path(), &["runs", "--task", "quite other"]),
        "none of the 3 runs matches --task quite other\n"
    );
    assert_eq!(
        printed(store.path(), &["runs", "--status", "parked", "--since", "2h", "--input", "\u{1b}"]),
        "none of the 3 runs matches --status parked and --since 2h and --input \\u001b\n"
    );
    assert_eq!(printed(store.path(), &["runs", "--limit", "0"]), "");
    for wrong in [["--since", "yesterday"], ["--status", "done"], ["--tag", "a"]] {
        let ran = run(store.path(), &["runs", wrong[0], wrong[1]]);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{wrong:?}");
        assert!(ran.stderr.contains(wrong[1]), "{}", ran.stderr);
    }
}

#[test]
fn a_tag_is_not_blamed_for_what_it_has_found_nothing_with() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let life = life(directory.path(), &clock(), true).await;
        for to in 0..2 {
            life.engine.run(count(to).tag("customer", "42")).await.unwrap();
        }
        life.engine.shutdown().await.unwrap();
        let told = |arguments: &[&str]| printed(directory.path(), &[&["runs"], arguments].concat());
        assert_eq!(told(&["--tag", "customer=42"]).lines().count(), 3);
        assert_eq!(
            told(&["--tag", "customer=42", "--status", "failed"]),
            "none of the 2 runs with the tag customer=42 matches --status failed\n"
        );
        assert_eq!(told(&["--tag", "customer=43", "--status", "failed"]), "no runs with the tag customer=43\n");
    });
}

#[test]
fn runs_that_others_called_and_those_past_a_screen_are_listed_if_asked_for() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let life = life(directory.path(), &clock(), true).await;
        for to in 0..51 {
            life.engine.run(calls(to)).await.unwrap();
        }
        life.engine.shutdown().await.unwrap();
        let told = |arguments: &[&str]| printed(directory.path(), &[&["runs"], arguments].concat());
        let lines = |arguments: &[&str]| told(arguments).lines().count();
        let short = told(&[]);
        // A head, 50 runs, and what is left out.
        assert_eq!((short.lines().count(), short.contains("  count  ")), (52, false), "{short}");
        let last = short.lines().last().unwrap();
        assert!(last.starts_with("not listed: 1 run (--limit N or --all), "), "{last}");
        assert!(last.ends_with(" runs that other runs called (--children)"), "{last}");
        assert_eq!(told(&["--children"]).lines().last(), Some("not listed: 52 runs (--limit N or --all)"));
        assert_eq!(lines(&["--limit", "51"]), 53);
        assert_eq!(lines(&["--all"]), 103);
        assert_eq!((lines(&["--json"]), lines(&["--json", "--children"])), (51, 102));
        let none = told(&["--task", "count"]);
        assert_eq!(none, "no such runs, but 51 runs that other runs called (--children lists them)\n");
        assert_eq!(run(directory.path(), &["runs", "--all", "--limit", "3"]).status, 2);
    });
}

#[test]
fn a_child_that_stays_with_its_caller_is_said_to() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let life = life(directory.path(), &clock(), true).await;
        for to in 0..2 {
            life.engine.run(calls(to)).await.unwrap();
        }
        life.engine.shutdown().await.unwrap();
        let told = "2 runs deleted, 2 runs kept\n  of those, 1 run only because what called them stays\n";
        assert_eq!(
            printed(directory.path(), &["gc", "--keep", "1", "--dry"]),
            told.replace("deleted", "would be deleted")
        );
        assert_eq!(printed(directory.path(), &["gc", "--keep", "1"]), told);
        assert!(printed(directory.path(), &["gc", "--help"]).contains("stay with the runs that called them"));
    });
}

#[test]
fn without_the_program_whose_tasks_they_are_nothing_is_replayed_and_it_says_so() {
    let store = written();
    let ran = run(store.path(), &["replay", &store.failed.to_string()]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("its task is digest, and this program has no tasks"), "{}", ran.stderr);
    let ran = run(store.path(), &["check"]);
    // The unfinished run would wait for its task.
    assert_eq!((ran.status, ran.stderr.as_str()), (3, ""));
    assert!(ran.stdout.contains("release: 1 run, missing, and unfinished\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("3 runs checked: 0 fit, 3 of tasks this program does not have"), "{}", ran.stdout);
}

#[test]
fn two_runs_are_compared_without_their_program() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = clock();
        let life = life(directory.path(), &clock, true).await;
        let (failed, done, short) = (life.digest(true).await, life.digest(false).await, life.count(1500).await);
        let long = life.count(1502).await;
        life.engine.shutdown().await.unwrap();
        let diff =
            |a: relive::RunId, b: relive::RunId| run(directory.path(), &["diff", &a.to_string(), &b.to_string()]);

        let ran = diff(failed, done);
        assert_eq!((ran.status, ran.stderr.as_str()), (3, ""));
        assert!(ran.stdout.contains("the input differs\n      publishes  true → false\n"), "{}", ran.stdout);
        assert!(ran.stdout.contains("the end differs: failed → completed\n"), "{}", ran.stdout);
        assert!(ran.stdout.contains("relive::now()"), "what the clock said differs: {}", ran.stdout);

        // Longer than what is looked at together.
        let ran = diff(short, long);
        assert_eq!(ran.status, 3);
        assert!(ran.stdout.contains("  + fetch(\"1500\")  event 3001\n"), "{}", ran.stdout);
        assert!(ran.stdout.contains("calls: 1,500 the same, 2 only in b\n"), "{}", ran.stdout);
        assert_eq!(diff(long, long).status, 0);
        // Nothing in common for more than that.
        let ran = diff(short, done);
        assert_eq!(ran.status, 3);
        assert!(ran.stdout.contains("the runs are of different tasks"), "{}", ran.stdout);
    });
}
