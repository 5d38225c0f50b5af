//! A test that finds nothing may see nothing: here each scenario finds a bug that is planted for it.
//!
//! Which bug a process has is said to it before it begins, so this program is called again for each.

use std::process::Command;

use relive_storage::planted::{Planted, VARIABLE};

/// A bug, the test that finds it, and what that says: one of these, as the schedule has it.
type Case = (Planted, &'static str, &'static [&'static str]);

const CASES: [Case; 6] = [
    (
        Planted::AcknowledgedEarly,
        "group_commit::whoever_is_told_that_a_batch_is_durable_finds_it_on_the_disk",
        &["before it was durable"],
    ),
    (
        Planted::LastGroupDropped,
        "group_commit::whoever_is_told_that_a_batch_is_durable_finds_it_on_the_disk",
        &["before it was durable"],
    ),
    (
        Planted::NotPoisoned,
        "group_commit::a_commit_that_fails_is_told_to_everyone_and_is_the_last",
        &["the failure was told to nobody"],
    ),
    (Planted::LostWake, "mailbox::what_is_posted_is_received_once_and_in_order", &["deadlock!"]),
    (Planted::SleptThrough, "sleepers::a_cancellation_does_not_wait_for_the_run_to_be_due", &["deadlock!"]),
    (
        Planted::LetGoTooSoon,
        "sleepers::whoever_holds_a_run_that_sleeps_hears_of_its_end",
        &["is unfinished, and this engine has stopped it", "deadlock!"],
    ),
];

#[test]
fn planted_bugs_are_found() {
    let program = std::env::current_exe().expect("the test's own program is known");
    for (bug, test, words) in CASES {
        let mut command = Command::new(&program);
        command.args(["--exact", &format!("interleavings::{test}")]).env(VARIABLE, format!("{bug:?}"));
        // Enough for each, however few the others are run through.
        command.env("RELIVE_INTERLEAVINGS", "2000").env_remove("RELIVE_SCHEDULE");
        let output = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{bug:?} was not found by {test}: {said}");
        assert!(words.iter().any(|words| said.contains(words)), "{bug:?} was found by {test} in another way: {said}");
    }
    let found = |bug| CASES.iter().any(|(found, ..)| *found == bug);
    assert!(Planted::INTERLEAVED.into_iter().all(found), "each bug has a test that finds it");
}
