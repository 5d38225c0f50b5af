//! A run's own future is dropped, after whichever poll, as by a runtime that ends under it.

use relive_tests::torture::dropped;

use super::support::guard;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_dropped_after_whichever_poll_loses_nothing_and_goes_on_in_the_next_life() {
    for number in [0, 1] {
        let report = guard(dropped(23, number)).await.expect("the lives go on");
        assert!(report.violations.is_empty(), "program {number}: {:#?}", report.violations);
        // How many polls it takes depends on what becomes durable together; each of its steps needs one of its own.
        assert!(report.moments >= 10 && report.acknowledged > 0, "program {number}: {report:?}");
    }
}
