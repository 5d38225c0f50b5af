//! What must hold, decided from the pipe and the witness alone: never from the log under test.
//!
//! Pure: evidence in, verdict out.
//!
//! Invariant: a figure is counted, never subtracted from one that was assumed.

use std::collections::{BTreeMap, BTreeSet};

use crate::life::{Effect, Life};
use crate::pipe::{Phase, Request};

/// Everything that was seen.
pub(crate) struct Evidence<'a> {
    /// Until the kill.
    pub(crate) killed: &'a Life,
    /// After it.
    pub(crate) resumed: &'a Life,
    /// The call once more.
    pub(crate) again: &'a Life,
    /// What the witness noted, in its order.
    pub(crate) requests: &'a [Request],
}

/// What was seen, in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Traces of the run.
    pub(crate) traces: u64,
    /// Those whose effect did not begin again after the kill.
    pub(crate) replayed: u64,
    /// Those whose effect began after the kill.
    pub(crate) executed: u64,
    /// Those of the executed that had begun before the kill, and were not acknowledged by then.
    pub(crate) under_way: u64,
    /// Those of the replayed whose line was not out when the kill came.
    pub(crate) unsaid: u64,
    /// Requests to the service before and after the kill.
    pub(crate) requests: (u64, u64),
    /// Traces that were acknowledged before the kill, and whose effect began again after it. Must be 0.
    pub(crate) repeated_after_ack: u64,
    /// How long the call took once more.
    pub(crate) cache_hit_us: u64,
    /// What does not hold, in plain words.
    pub(crate) complaints: Vec<String>,
}

/// Looks at the evidence.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Verdict {
    let Evidence { killed, resumed, again, requests } = evidence;
    let mut complaints = Vec::new();
    let mut must = |holds: bool, otherwise: String| {
        if !holds {
            complaints.push(otherwise);
        }
    };

    let acknowledged = killed.acknowledged_effects();
    let (before, after) = (killed.effects(), resumed.effects());
    let traces: BTreeSet<Effect<'_>> = before.union(&after).copied().collect();
    let (first, second) = (requests_of(requests, killed.process), requests_of(requests, resumed.process));
    let ran_after: BTreeSet<Effect<'_>> = after.iter().chain(second.keys()).copied().collect();
    let repeated = acknowledged.intersection(&ran_after).count() as u64;
    must(repeated == 0, format!("{repeated} traces ran again after they were acknowledged"));

    let chosen = killed.found().map_or(0, |(chosen, _)| chosen);
    must(
        traces.len() as u64 == chosen + 2,
        format!("{} traces ran, not the search, {chosen} summaries and the insights", traces.len()),
    );
    must(
        acknowledged.is_subset(&before),
        "a trace was acknowledged before the kill though its effect had not begun".to_owned(),
    );
    must(
        after.is_subset(&resumed.acknowledged_effects()),
        "a trace that ran after the kill was never acknowledged".to_owned(),
    );
    must(
        resumed.began.len() == after.len() && killed.began.len() == before.len(),
        "a trace's effect began twice in one process".to_owned(),
    );

    let all: BTreeSet<Effect<'_>> = first.keys().chain(second.keys()).copied().collect();
    must(
        all.len() as u64 == chosen,
        format!("the witness was asked for {} files, where the search chose {chosen}", all.len()),
    );
    must(
        first.values().chain(second.values()).all(|count| *count == 1),
        "the witness was asked twice for one file by one process".to_owned(),
    );
    must(
        first.keys().all(|effect| before.contains(effect)) && second.keys().all(|effect| after.contains(effect)),
        "the witness was asked for a file whose trace had not begun".to_owned(),
    );
    let stray = requests.iter().any(|request| ![killed.process, resumed.process].contains(&request.process));
    must(!stray && again.began.is_empty(), "the call was made once more, and its effects ran again".to_owned());

    let runs: BTreeSet<&str> =
        killed.acknowledged.iter().chain(&resumed.acknowledged).map(|event| event.run.as_str()).collect();
    must(runs.len() == 1, format!("the call after the kill went on with another run: {runs:?}"));
    let result = |life: &Life| life.finished.as_ref().map(|finished| finished.insights.clone());
    must(
        result(resumed).is_some() && result(resumed) == result(again),
        "the call once more had another result".to_owned(),
    );

    Verdict {
        traces: traces.len() as u64,
        replayed: traces.difference(&after).count() as u64,
        executed: after.len() as u64,
        under_way: before.intersection(&after).filter(|effect| !acknowledged.contains(*effect)).count() as u64,
        unsaid: before.difference(&after).filter(|effect| !acknowledged.contains(*effect)).count() as u64,
        requests: (first.values().sum(), second.values().sum()),
        repeated_after_ack: repeated,
        cache_hit_us: again.finished.as_ref().map_or(0, |finished| finished.call_micros),
        complaints,
    }
}

/// How often a process asked for each summary.
fn requests_of(requests: &[Request], process: u32) -> BTreeMap<Effect<'_>, u64> {
    let mut counts = BTreeMap::new();
    for request in requests.iter().filter(|request| request.process == process && request.phase == Phase::Began) {
        *counts.entry(("summarize", request.path.as_str())).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::Insights;
    use crate::life::Finished;
    use crate::pipe::{Acknowledged, Began};

    struct Story {
        killed: Life,
        resumed: Life,
        again: Life,
        requests: Vec<Request>,
    }

    impl Story {
        /// A search and three summaries: one acknowledged, one under way when the kill comes, one not begun.
        fn good() -> Self {
            let mut story =
                Self { killed: Life::of(1), resumed: Life::of(2), again: Life::of(3), requests: Vec::new() };
            began(&mut story.killed, &["search", "a", "b"]);
            acknowledged(&mut story.killed, &["search", "a"]);
            story.killed.acknowledged[0].found = Some((3, 9));
            began(&mut story.resumed, &["b", "c", "insights"]);
            acknowledged(&mut story.resumed, &["b", "c", "insights"]);
            story.requests = vec![asked(1, "a"), asked(1, "b"), asked(2, "b"), asked(2, "c")];
            for (life, call_micros) in [(&mut story.resumed, 1000), (&mut story.again, 10)] {
                let insights = Insights { key: "insights".into(), file_count: 3, themes: vec![] };
                life.finished = Some(Finished { run: "run".into(), call_micros, insights });
            }
            story
        }

        fn verdict(&self) -> Verdict {
            let Self { killed, resumed, again, requests } = self;
            judge(&Evidence { killed, resumed, again, requests })
        }

        fn complaint(&self) -> String {
            self.verdict().complaints.join("; ")
        }
    }

    fn began(life: &mut Life, keys: &[&str]) {
        life.began.extend(keys.iter().map(|key| named(key)));
    }

    /// A summary by the name of its file, or one of the other two traces.
    fn named(name: &str) -> Began {
        let (trace, about) = if name.len() == 1 { ("summarize", name) } else { (name, "") };
        Began { trace: trace.to_owned(), about: about.to_owned(), key: format!("key of {name}") }
    }

    fn acknowledged(life: &mut Life, keys: &[&str]) {
        life.acknowledged.extend(keys.iter().map(|key| Acknowledged {
            run: "run".into(),
            key: Some(named(key).key),
            ..Acknowledged::default()
        }));
    }

    fn asked(process: u32, key: &str) -> Request {
        Request { phase: Phase::Began, key: named(key).key, process, path: key.into(), digest: String::new() }
    }

    #[test]
    fn what_went_well_is_counted() {
        let expected = Verdict {
            traces: 5,
            replayed: 2,
            executed: 3,
            under_way: 1,
            unsaid: 0,
            requests: (2, 2),
            repeated_after_ack: 0,
            cache_hit_us: 10,
            complaints: vec![],
        };
        assert_eq!(Story::good().verdict(), expected);
    }

    #[test]
    fn a_trace_that_was_durable_before_its_line_was_out_counts_as_replayed() {
        let mut story = Story::good();
        story.resumed.began.retain(|began| began.about != "b");
        story.resumed.acknowledged.retain(|event| event.key != Some(named("b").key));
        story.requests.retain(|request| (request.process, request.path.as_str()) != (2, "b"));
        let verdict = story.verdict();
        assert_eq!(verdict.complaints, Vec::<String>::new());
        assert_eq!((verdict.replayed, verdict.executed, verdict.unsaid), (3, 2, 1));
    }

    #[test]
    fn an_acknowledged_trace_that_runs_again_is_seen_by_the_pipe_and_by_the_witness() {
        let mut by_pipe = Story::good();
        began(&mut by_pipe.resumed, &["search"]);
        acknowledged(&mut by_pipe.resumed, &["search"]);
        assert_eq!(by_pipe.verdict().repeated_after_ack, 1);
        assert!(by_pipe.complaint().contains("ran again after they were acknowledged"));

        let mut by_witness = Story::good();
        by_witness.requests.push(asked(2, "a"));
        assert_eq!(by_witness.verdict().repeated_after_ack, 1);

        let mut in_another_run = Story::good();
        in_another_run.resumed.began.push(Began { key: "another".into(), ..named("a") });
        assert_eq!(in_another_run.verdict().repeated_after_ack, 1);
    }

    #[test]
    fn each_thing_that_does_not_hold_is_told() {
        let told = |change: fn(&mut Story), expected: &str| {
            let mut story = Story::good();
            change(&mut story);
            let complaint = story.complaint();
            assert!(complaint.contains(expected), "{expected}: {complaint}");
        };
        told(|story| story.killed.acknowledged[0].found = Some((4, 9)), "5 traces ran, not the search, 4 summaries");
        told(|story| acknowledged(&mut story.killed, &["d"]), "though its effect had not begun");
        told(|story| story.resumed.acknowledged.clear(), "never acknowledged");
        told(|story| began(&mut story.resumed, &["b"]), "began twice in one process");
        told(|story| story.requests.truncate(3), "asked for 2 files, where the search chose 3");
        told(|story| story.requests.push(asked(2, "c")), "asked twice for one file");
        told(|story| story.requests.push(asked(2, "x")), "whose trace had not begun");
        told(|story| story.requests.push(asked(3, "a")), "its effects ran again");
        told(|story| story.again.began.push(named("a")), "its effects ran again");
        told(|story| story.resumed.acknowledged[0].run = "other".into(), "another run");
        told(|story| story.again.finished = None, "another result");
    }
}
