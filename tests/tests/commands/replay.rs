//! `replay`: one run against the code.

use relive_tests::edits::Edit;

use crate::{block_on, engine, ordered, run};

#[test]
fn code_that_fits_is_told_with_status_0() {
    let (directory, runs) = ordered(10);
    for (number, ends) in [(3, "ended   ok  {\"number\":3"), (9, "ended   err  item 2 is sold out")] {
        let id = runs[number].to_string();
        for edit in [Edit::Original, Edit::JoinSwapped] {
            let ran = run(directory.path(), edit, &["replay", &id]);
            assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
            assert!(ran.stdout.starts_with(&format!("same  run {id}  edits.order  attempt 1\n")), "{}", ran.stdout);
            assert!(ran.stdout.contains("the same calls, the same end") && ran.stdout.contains(ends), "{}", ran.stdout);
        }
        let json = &run(directory.path(), Edit::Original, &["replay", &id, "--json"]).lines()[0];
        assert_eq!((json["verdict"].as_str(), json["attempt"].as_u64()), (Some("same"), Some(1)));
    }
}

#[test]
fn code_that_does_not_fit_is_told_with_both_sides_and_status_3() {
    let (directory, runs) = ordered(10);
    let id = runs[3].to_string();
    let ran = run(directory.path(), Edit::Argument, &["replay", &id]);
    assert_eq!((ran.status, ran.stderr.as_str()), (3, ""));
    let head = format!("diverged at event 7  run {id}  edits.order  attempt 1\n  an argument has another value\n");
    assert!(ran.stdout.starts_with(&head), "{}", ran.stdout);
    for part in [
        "  log     edits.mail(to: \"customer 3\", subject: \"Your order\")  at tests/src/edits.rs:",
        "  code    edits.mail(to: \"customer 3\", subject: \"Thank you!\")  at tests/src/edits.rs:",
        "    subject  \"Your order\" → \"Thank you!\"\n",
        "  likely  neither the task nor this trace was edited",
        "  before it in the log\n",
        "    6  ",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("\u{1b}"), "no colours but on a terminal");
    let coloured = run(directory.path(), Edit::Argument, &["replay", &id, "--color", "always"]).stdout;
    assert!(coloured.contains("\u{1b}["));

    let json = &run(directory.path(), Edit::Argument, &["replay", &id, "--json"]).lines()[0];
    assert_eq!((json["verdict"].as_str(), json["change"].as_str()), (Some("diverged"), Some("argument")));
    assert_eq!((json["sequence"].as_u64(), json["cause"].as_str()), (Some(7), Some("environment")));
    assert_eq!((json["logged"]["side"].as_str(), json["logged"]["name"].as_str()), (Some("call"), Some("edits.mail")));
    assert_eq!(json["called"]["input"]["subject"], "Thank you!");
    assert_eq!(json["difference"]["path"], "subject");
    assert_eq!(json["before"].as_array().map(Vec::len), Some(5));
}

#[test]
fn another_result_and_another_error_are_told_field_by_field() {
    let (directory, runs) = ordered(10);
    let ran = run(directory.path(), Edit::Result, &["replay", &runs[3].to_string()]);
    assert_eq!(ran.status, 3);
    assert!(ran.stdout.starts_with("result changed  run "), "{}", ran.stdout);
    assert!(ran.stdout.contains("    customer.points  6 → 9\n"), "{}", ran.stdout);

    let ran = run(directory.path(), Edit::Error, &["replay", &runs[9].to_string()]);
    assert_eq!(ran.status, 3);
    assert!(ran.stdout.contains("  was     err  item 2 is sold out\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("  is      err  item 2 is no longer sold\n"), "{}", ran.stdout);
}

#[test]
fn a_run_is_replayed_while_an_engine_holds_its_store_and_nothing_is_written() {
    let (directory, runs) = ordered(4);
    let id = runs[3].to_string();
    block_on(async {
        let engine = engine(directory.path()).await;
        let before: Vec<String> = engine.events(runs[3]).map(|logged| format!("{logged:?}")).collect();
        assert_eq!(run(directory.path(), Edit::Original, &["replay", &id]).status, 0);
        assert_eq!(run(directory.path(), Edit::Removed, &["replay", &id]).status, 3);
        let after: Vec<String> = engine.events(runs[3]).map(|logged| format!("{logged:?}")).collect();
        assert_eq!(before, after);
        assert!(engine.replayer().replay(runs[3]).await.expect("it is replayed").verdict.fits());
        engine.shutdown().await.expect("nothing has failed");
    });
}
