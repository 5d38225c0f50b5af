//! `check`: a thousand runs against the code, unchanged and edited.

use relive_tests::edits::Edit;
use serde_json::Value;

use crate::{ordered, run};

/// What an edit is to make of an order: its verdict, and the change.
fn expected(edit: Edit, number: u64) -> (&'static str, Option<&'static str>) {
    let is_sold_out = number % 10 == 9;
    match edit {
        Edit::Branch if number.is_multiple_of(2) => ("diverged", Some("added")),
        Edit::ArgumentType => ("diverged", Some("argument_type")),
        Edit::Error if is_sold_out => ("result_changed", None),
        Edit::NoError if is_sold_out => ("diverged", Some("added")),
        _ if is_sold_out => ("same", None),
        Edit::Reordered => ("diverged", Some("reordered")),
        Edit::Added => ("diverged", Some("added")),
        Edit::Removed | Edit::RemovedLast => ("diverged", Some("removed")),
        Edit::Argument => ("diverged", Some("argument")),
        Edit::Foreign => ("diverged", Some("waits")),
        Edit::Replaced => ("diverged", Some("added")),
        Edit::Result => ("result_changed", None),
        _ => ("same", None),
    }
}

#[test]
fn a_thousand_runs_fit_unchanged_code_and_every_edit_is_told_of_each() {
    let (directory, runs) = ordered(1000);
    let whole = run(directory.path(), Edit::Original, &["check", "--all"]);
    assert_eq!((whole.status, whole.stderr.as_str()), (0, ""), "{}", whole.stdout);
    assert!(whole.stdout.ends_with("1,000 runs checked: 1,000 fit\n"), "{}", whole.stdout);

    // The newest fifty, so that fourteen releases do not take too long without optimisation.
    for edit in Edit::ALL {
        let ran = run(directory.path(), edit, &["check", "--all", "--runs", "limit=50", "--json"]);
        let lines = ran.lines();
        let (summary, lines) = lines.split_last().expect("there is a summary");
        assert_eq!(lines.len(), 50, "{edit:?}");
        for line in lines {
            let id = line["run"].as_str().expect("a run");
            let number = runs.iter().position(|run| run.to_string() == id).expect("it is known") as u64;
            let found = (line["verdict"].as_str().expect("a verdict"), line["change"].as_str());
            assert_eq!(found, expected(edit, number), "{edit:?}, order {number}: {line}");
        }
        let count = |name: &str| lines.iter().filter(|line| line["verdict"] == name).count();
        let counts = ["result_changed", "diverged"].map(|name| (summary[name].as_u64(), count(name) as u64));
        assert!(counts.iter().all(|(told, counted)| *told == Some(*counted)), "{edit:?}: {summary}");
        let fits = count("same") == 50;
        assert_eq!(ran.status, if fits { 0 } else { 3 }, "{edit:?}");
        assert_eq!(fits, matches!(edit, Edit::Original | Edit::JoinSwapped), "{edit:?}");
    }
}

#[test]
fn finished_runs_are_sampled_by_task_and_version_and_reasons_are_grouped() {
    let (directory, runs) = ordered(30);
    let ran = run(directory.path(), Edit::Argument, &["check"]);
    assert_eq!(ran.status, 3);
    // The newest by their ids, which within a millisecond are in no order.
    let mut numbered: Vec<_> = runs.into_iter().zip(0..).collect();
    numbered.sort_by_key(|(run, _)| std::cmp::Reverse(*run));
    let fit = numbered[..10].iter().filter(|(_, number)| expected(Edit::Argument, *number).0 == "same").count();
    let diverged = 10 - fit;
    for part in [
        "TASK            RUNS      FIT   RESULT  DIVERGED    OTHER\n".to_owned(),
        format!("edits.order       10        {fit}        0         {diverged}        0\n"),
        format!("\nedits.order: {diverged} runs, diverged: an argument has another value\n"),
        "  event 7: edits.mail, subject: \"Your order\" → \"Thank you!\"\n".to_owned(),
        format!("  and {} more\n", diverged - 5),
        format!("10 runs checked: {fit} fit, {diverged} diverged; 20 more are finished and not in the sample"),
        " (--all checks them)\n".to_owned(),
    ] {
        assert!(ran.stdout.contains(&part), "{part}: {}", ran.stdout);
    }
    let ran = run(directory.path(), Edit::Argument, &["check", "--sample", "0"]);
    assert_eq!((ran.status, ran.stdout.starts_with("0 runs checked: 0 fit; 30 more")), (0, true), "{}", ran.stdout);
}

#[test]
fn only_the_runs_that_a_filter_lets_through_are_checked() {
    let (directory, _) = ordered(30);
    let checked = |filter: &str| -> Value {
        let ran = run(directory.path(), Edit::Original, &["check", "--all", "--json", "--runs", filter]);
        assert_eq!(ran.status, 0, "{filter}: {}", ran.stderr);
        ran.lines().pop().expect("there is a summary")["checked"].clone()
    };
    assert_eq!(checked("status=failed"), 3);
    assert_eq!(checked("task=edits.order since=1h input='\"number\":7}'"), 1);
    assert_eq!(checked("status=completed input=\"number\""), 27);
    assert_eq!(checked("task=edits.other"), 0);
    assert_eq!(checked("until=2020-01-01"), 0);
    let wrong = run(directory.path(), Edit::Original, &["check", "--runs", "statsu=failed"]);
    assert_eq!(wrong.status, 2);
    assert!(
        wrong.stderr.contains("`statsu=failed`: there is no such filter (did you mean status?)"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn exported_runs_are_checked_without_their_store() {
    let (directory, runs) = ordered(10);
    let place = tempfile::tempdir().unwrap();
    let files: Vec<String> =
        [3, 9].map(|number| place.path().join(format!("{number}.relive")).display().to_string()).into();
    for (number, file) in [3, 9].into_iter().zip(&files) {
        let exported = run(directory.path(), Edit::Original, &["export", &runs[number].to_string(), "-o", file]);
        assert_eq!(exported.status, 0, "{}", exported.stderr);
    }
    let nowhere = place.path().join("nowhere");
    let check = |edit| run(&nowhere, edit, &["check", &files[0], &files[1]]);
    let fits = check(Edit::Original);
    assert_eq!((fits.status, fits.stderr.as_str()), (0, ""));
    assert!(fits.stdout.ends_with("2 runs checked: 2 fit\n"), "{}", fits.stdout);
    assert_eq!(check(Edit::Result).status, 3);
    assert_eq!(check(Edit::Error).status, 3);

    std::fs::write(&files[1], "no export").unwrap();
    let ran = check(Edit::Original);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("9.relive"), "{}", ran.stderr);
    let ran = run(&nowhere, Edit::Original, &["check", "missing.relive"]);
    assert_eq!((ran.status, ran.stderr.contains("missing.relive cannot be read")), (1, true), "{}", ran.stderr);
    assert!(!nowhere.exists());
}
