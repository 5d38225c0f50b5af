//! Which of the checks finds which fault: the table in `docs/testing.md`, made here so that it stays true.

use std::fmt::Debug;

use relive::testing::proptest::collection::vec;
use relive::testing::proptest::strategy::Strategy;
use relive::testing::{Determinism, Failure, TaskFunction, any, determinism};

use crate::faults::{self, ROWS};
use crate::sound;

/// Short words: what is shrunk is small from the beginning.
fn words() -> impl Strategy<Value = Vec<String>> {
    vec("[a-c]{0,2}", 0..5)
}

/// What is found in a task with a fault.
fn found<F, M, S, T, E>(of: Determinism<F, M, S>) -> Box<Failure>
where
    F: TaskFunction<M, Value = T, Error = E>,
    F::Input: Clone + Debug,
    T: serde::de::DeserializeOwned,
    E: From<relive::Error>,
    S: Strategy<Value = F::Input>,
{
    match of.keeping(false).cases(1_000).find() {
        Err(failure) => failure,
        Ok(report) => panic!("the fault was not found: {report:?}"),
    }
}

#[test]
fn each_planted_fault_is_found_and_the_guide_says_by_what() {
    let rows = [
        ("the clock", found(determinism(faults::reads_the_clock).inputs(any::<String>()))),
        ("randomness", found(determinism(faults::draws_lots).inputs(any::<String>()))),
        ("the order of a map", found(determinism(faults::walks_a_map).inputs(words()))),
        ("a foreign sleep", found(determinism(faults::sleeps_by_itself).inputs(any::<String>()))),
        ("a spawned task", found(determinism(faults::spawns_a_task).inputs(any::<String>()))),
        ("a global counter", found(determinism(faults::counts_its_calls).inputs(any::<String>()))),
        ("an environment variable", found(determinism(faults::asks_the_environment).inputs(any::<String>()))),
        (
            "an effect outside a trace",
            found(
                determinism(faults::writes_by_itself).inputs(any::<String>()).watching(|| ROWS.lock().unwrap().len()),
            ),
        ),
        ("a channel fed by a thread", found(determinism(faults::hears_a_thread).inputs(any::<String>()))),
        ("a pointer's address", found(determinism(faults::tells_an_address).inputs(any::<String>()))),
        ("an unstable input type", found(determinism(faults::passes_a_set_on).inputs(words()))),
        ("a select in any order", found(determinism(faults::takes_either).inputs(any::<String>()))),
    ];
    let mut table = String::from("| fault | found when | as |\n|---|---|---|\n");
    for (fault, failure) in &rows {
        println!("{fault}: {failure}");
        table += &format!("| {fault} | {} | {} |\n", failure.point, failure.check);
    }
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/testing.md");
    let text = std::fs::read_to_string(&guide).unwrap_or_default();
    if !text.contains(&table) {
        panic!("docs/testing.md does not hold the table as it is now:\n{table}");
    }
}

macro_rules! nothing_is_found {
    ($($name:ident: $inputs:expr;)*) => {$(
        #[test]
        fn $name() {
            let report = determinism(sound::$name).inputs($inputs).cases(1_000).keeping(false).check();
            assert_eq!((report.cases, report.interruptions), (1_000, report.commits), "{report:?}");
        }
    )*};
}

nothing_is_found! {
    asks_for_the_time: any::<String>();
    has_lots_drawn: any::<String>();
    walks_a_sorted_map: words();
    sleeps_in_the_log: any::<String>();
    spawns_an_effect: any::<String>();
    counts_for_itself: words();
    has_the_environment_asked: any::<String>();
    hears_its_own_branch: words();
    tells_a_place: words();
    passes_a_sorted_set_on: words();
    takes_the_left_first: any::<String>();
}

#[test]
fn writes_in_a_trace() {
    let report = determinism(sound::writes_in_a_trace)
        .inputs(any::<String>())
        .watching(|| sound::ROWS.lock().unwrap().len())
        .cases(1_000)
        .check();
    assert_eq!(report.cases, 1_000);
}

/// Faults of the same kinds, in other clothes.
#[test]
fn variations_are_found() {
    let failures = [
        found(determinism(faults::spawns_and_forgets).inputs(any::<String>())),
        found(determinism(faults::reads_the_second).inputs(any::<String>()).points(1)),
        found(determinism(faults::looks_how_long_it_took).inputs(any::<String>())),
        found(determinism(faults::tells_the_first_of_a_set).inputs(words())),
        found(determinism(faults::names_its_process).inputs(any::<String>())),
        found(determinism(faults::asks_for_a_home).inputs(any::<String>())),
    ];
    for failure in failures {
        println!("{failure}");
    }
}
