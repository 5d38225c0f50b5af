//! What the parent has heard of one process of the pipeline, from its start to its end.
//!
//! Filled line by line; read by the report and the verdict.

use std::collections::{BTreeMap, BTreeSet};

use crate::corpus::{Corpus, LeftOut};
use crate::insights::Insights;
use crate::pipe::{Acknowledged, Began, PipelineLine};

/// What a process of the pipeline said from its start to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    pub(crate) process: u32,
    pub(crate) corpus: Option<(Corpus, LeftOut)>,
    /// The effects that began.
    pub(crate) began: Vec<Began>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) finished: Option<Finished>,
    pub(crate) failed: Option<String>,
}

/// How the call ended.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) run: String,
    pub(crate) call_micros: u64,
    pub(crate) insights: Insights,
}

impl Life {
    /// Of a process that has said nothing yet.
    pub(crate) fn of(process: u32) -> Self {
        Self { process, ..Self::default() }
    }

    /// Takes a line down.
    pub(crate) fn take(&mut self, line: PipelineLine) {
        match line {
            PipelineLine::Reading { .. } => {}
            PipelineLine::Corpus { corpus, left_out } => self.corpus = Some((corpus, left_out)),
            PipelineLine::Began(began) => self.began.push(began),
            PipelineLine::Acknowledged(event) => self.acknowledged.push(event),
            PipelineLine::Finished { run, call_micros, insights } => {
                self.finished = Some(Finished { run, call_micros, insights });
            }
            PipelineLine::Failed { message } => self.failed = Some(message),
        }
    }

    /// How many files the search chose, and of how many; once that is acknowledged.
    pub(crate) fn found(&self) -> Option<(u64, u64)> {
        self.acknowledged.iter().find_map(|event| event.found)
    }

    /// How many traces are acknowledged.
    pub(crate) fn acknowledged_count(&self) -> u64 {
        self.acknowledged.iter().filter(|event| event.key.is_some()).count() as u64
    }

    /// The effects that began.
    pub(crate) fn effects(&self) -> BTreeSet<Effect<'_>> {
        self.began.iter().map(effect).collect()
    }

    /// The effects whose results are acknowledged. One that never began is named by its key.
    pub(crate) fn acknowledged_effects(&self) -> BTreeSet<Effect<'_>> {
        let began: BTreeMap<&str, Effect<'_>> =
            self.began.iter().map(|began| (began.key.as_str(), effect(began))).collect();
        let keys = self.acknowledged.iter().filter_map(|event| event.key.as_deref());
        keys.map(|key| began.get(key).copied().unwrap_or(("", key))).collect()
    }
}

/// Which effect it is: a trace's name and what it is about. Not its key, so that an effect that is repeated in another
/// run is seen too.
pub(crate) type Effect<'a> = (&'a str, &'a str);

/// Which effect begins.
pub(crate) fn effect(began: &Began) -> Effect<'_> {
    (&began.trace, &began.about)
}
