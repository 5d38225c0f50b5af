//! `diff`: two runs, side by side.

use relive_tests::edits::{Careless, Edit, careless};

use crate::{block_on, engine, ordered, ordered_by, run};

#[test]
fn runs_of_equal_inputs_do_not_differ() {
    let (directory, mut runs) = ordered(4);
    block_on(async {
        let engine = engine(directory.path()).await;
        let handle = engine.start(relive_tests::edits::order(3)).await.expect("starts");
        runs.push(handle.id());
        handle.await.expect("it runs");
        engine.shutdown().await.expect("nothing has failed");
    });
    let ran = run(directory.path(), Edit::Original, &["diff", &runs[3].to_string(), &runs[4].to_string()]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("\ncalls: 5 the same\n"), "{}", ran.stdout);
}

#[test]
fn inputs_calls_and_results_that_differ_are_told_field_by_field() {
    let (directory, runs) = ordered(10);
    let ran = run(directory.path(), Edit::Original, &["diff", &runs[1].to_string(), &runs[8].to_string()]);
    assert_eq!(ran.status, 3);
    for part in [
        "\nthe input differs\n      number  1 → 8\n",
        "\nthe calls differ, first at event 2 of a, event 2 of b\n",
        "      shelf  1 → 2\n",
        "      to  \"customer 1\" → \"customer 8\"\n",
        "\nthe end differs: completed → completed\n",
        "      number         1 → 8\n      customer.name  \"customer 1\" → \"customer 8\"\n",
        "\ncalls: 2 the same, 3 with other arguments\n",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    // One of them failed after the first two calls.
    let ran = run(directory.path(), Edit::Original, &["diff", &runs[2].to_string(), &runs[9].to_string(), "--json"]);
    let lines = ran.lines();
    let kinds: Vec<_> = lines.iter().filter_map(|line| line["difference"].as_str()).collect();
    assert_eq!((ran.status, kinds), (3, vec!["input", "argument", "only", "only", "only", "result"]));
    let summary = lines.last().expect("there is a summary");
    assert_eq!((summary["only_first"].as_u64(), summary["only_second"].as_u64()), (Some(3), Some(0)), "{summary}");
}

#[test]
fn each_kind_of_difference_between_calls_is_told() {
    let (directory, runs) = ordered(4);
    let original = runs[3].to_string();
    // The order within a step carries no meaning.
    let swapped = ordered_by(directory.path(), Edit::JoinSwapped, 3).to_string();
    assert_eq!(run(directory.path(), Edit::Original, &["diff", &original, &swapped]).status, 0);
    for (edit, kinds, told) in [
        (Edit::Reordered, &["moved"] as &[&str], ", moved\n"),
        (Edit::Added, &["only"], "  + edits.note(5)  event "),
        (Edit::Removed, &["only"], "  - edits.mail(to: \"customer 3\", subject: \"Your order\")  event 7\n"),
        (Edit::Argument, &["argument"], "      subject  \"Your order\" → \"Thank you!\"\n"),
        (Edit::ArgumentType, &["argument"], "      shelf  0 → \"0\"\n"),
        (Edit::Replaced, &["only", "only"], "  + edits.letter("),
        (Edit::Result, &["result"], "the end differs: completed → completed\n      customer.points  6 → 9\n"),
    ] {
        let other = ordered_by(directory.path(), edit, 3).to_string();
        let ran = run(directory.path(), Edit::Original, &["diff", &original, &other]);
        assert_eq!(ran.status, 3, "{edit:?}");
        assert!(ran.stdout.contains(told), "{edit:?}: {}", ran.stdout);
        let lines = run(directory.path(), Edit::Original, &["diff", &original, &other, "--json"]).lines();
        let found: Vec<_> = lines.iter().filter_map(|line| line["difference"].as_str()).collect();
        assert_eq!(found, kinds, "{edit:?}");
    }
}

#[test]
fn runs_of_different_tasks_are_said_to_be() {
    let (directory, mut runs) = ordered(2);
    block_on(async {
        let engine = engine(directory.path()).await;
        let handle = engine.start(careless(Careless::Clock)).await.expect("starts");
        runs.push(handle.id());
        handle.await.expect("it runs");
        engine.shutdown().await.expect("nothing has failed");
    });
    let ran = run(directory.path(), Edit::Original, &["diff", &runs[1].to_string(), &runs[2].to_string()]);
    assert_eq!(ran.status, 3);
    assert!(ran.stdout.contains("the runs are of different tasks"), "{}", ran.stdout);
}
