//! What a check found: counted by task, with the reasons of what does not fit; or a line of JSON per run.
//!
//! Used by `check`.
//!
//! Invariant: of runs that do not fit for the same kind of reason, [`SHOWN_EACH`] are kept and the others counted.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use relive::{LikelyCause, Replayed, Verdict};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;
use relive_engine::index::RunState;
use serde::Serialize;

use super::{Candidate, Found};
use crate::context::Status;
use crate::failure::Failure;
use crate::json;
use crate::look::{BAD, BOLD, DIM, GOOD, Look, WARN};
use crate::replay::{VerdictObject, reason};
use crate::text::{columns, counted, cut, escaped, padded, right, snake, thousands, wrapped};

/// So many runs of a task are listed that do not fit for one kind of reason: 5, enough to see what they have in common.
const SHOWN_EACH: usize = 5;

/// Why a run does not fit takes at most so many lines: 6, room for the names of a dozen tasks.
const WHY_LINES_MAX: usize = 6;

/// How many runs were found so.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    checked: u64,
    fit: u64,
    result_changed: u64,
    diverged: u64,
    unreadable: u64,
    missing: u64,
    damaged: u64,
}

impl Counts {
    fn count(&mut self, found: &Found) {
        self.checked += 1;
        *match found {
            Found::Replayed(replayed) => match &replayed.verdict {
                Verdict::ResultChanged(_) => &mut self.result_changed,
                Verdict::Diverged(_) => &mut self.diverged,
                _ => &mut self.fit,
            },
            Found::Unreadable(_) => &mut self.unreadable,
            Found::Missing(_) => &mut self.missing,
            Found::Damaged(_) => &mut self.damaged,
        } += 1;
    }

    fn words(&self) -> String {
        let Self { checked: _, fit, result_changed, diverged, unreadable, missing, damaged } = *self;
        let parts = [
            (fit, "fit"),
            (result_changed, "with another result"),
            (diverged, "diverged"),
            (unreadable, "unreadable"),
            (missing, "of tasks this program does not have"),
            (damaged, "damaged"),
        ];
        let parts = parts.into_iter().filter(|(count, word)| *count > 0 || *word == "fit");
        parts.map(|(count, word)| format!("{} {word}", thousands(count))).collect::<Vec<_>>().join(", ")
    }
}

/// Runs that do not fit for one kind of reason.
#[derive(Default)]
struct Misfits {
    /// The first of them, and why.
    shown: Vec<(RunId, String)>,
    count: u64,
    /// What probably made the difference, if that is the same for all.
    cause: Option<LikelyCause>,
}

/// What was found so far.
pub(super) struct Report {
    json: bool,
    total: Counts,
    tasks: BTreeMap<Arc<str>, Counts>,
    misfits: BTreeMap<(Arc<str>, String), Misfits>,
    /// Finished runs that are not in the sample.
    left_out: u64,
    /// Whether a run does not fit, or would wait for its task.
    differs: bool,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            total: Counts::default(),
            tasks: BTreeMap::new(),
            misfits: BTreeMap::new(),
            left_out: 0,
            differs: false,
        }
    }

    /// Notes how many finished runs are not in the sample.
    pub(super) fn leave_out(&mut self, count: u64) {
        self.left_out += count;
    }

    /// Takes what was found of a run.
    pub(super) fn take(
        &mut self,
        candidate: &Candidate,
        found: Found,
        out: &mut (impl Write + ?Sized),
    ) -> Result<(), Failure> {
        self.total.count(&found);
        self.tasks.entry(Arc::clone(&candidate.task)).or_default().count(&found);
        self.differs |= match &found {
            Found::Replayed(replayed) => !replayed.verdict.fits(),
            Found::Unreadable(_) => true,
            // A finished run of a task that is gone waits for nothing.
            Found::Missing(_) => candidate.state == RunState::Unfinished,
            Found::Damaged(_) => false,
        };
        if self.json {
            return Ok(json::line(out, &Line::of(candidate, &found))?);
        }
        let (kind, why, cause) = match found {
            Found::Replayed(replayed) => match &replayed.verdict {
                verdict if verdict.fits() => return Ok(()),
                Verdict::Diverged(diagnosis) => {
                    let why = format!("event {}: {}", diagnosis.divergence.sequence, reason(&replayed.verdict));
                    (format!("diverged: {}", diagnosis.change), why, Some(diagnosis.cause.clone()))
                }
                Verdict::ResultChanged(change) => {
                    ("another result".to_owned(), reason(&replayed.verdict), Some(change.cause.clone()))
                }
                _ => (replayed.verdict.name().to_owned(), String::new(), None),
            },
            Found::Unreadable(why) => ("unreadable".to_owned(), why, None),
            Found::Missing(why) => {
                let what = if candidate.state == RunState::Unfinished { "missing, and unfinished" } else { "missing" };
                (what.to_owned(), why, None)
            }
            Found::Damaged(why) => ("damaged".to_owned(), why, None),
        };
        let misfits = self.misfits.entry((Arc::clone(&candidate.task), kind)).or_default();
        misfits.cause = if misfits.count == 0 {
            cause
        } else {
            misfits.cause.take().filter(|of_all| Some(of_all) == cause.as_ref())
        };
        misfits.count += 1;
        if misfits.shown.len() < SHOWN_EACH {
            misfits.shown.push((candidate.run, why));
        }
        Ok(())
    }

    /// Prints the whole.
    pub(super) fn end(self, look: &Look, out: &mut (impl Write + ?Sized)) -> Result<Status, Failure> {
        if self.json {
            json::line(out, &Summary { summary: true, counts: self.total, left_out: self.left_out })?;
        } else {
            self.table(look, out)?;
            self.reasons(look, out)?;
            let sample = match self.left_out {
                0 => String::new(),
                count => format!("; {} more are finished and not in the sample (--all checks them)", thousands(count)),
            };
            let style = if self.differs || self.total.damaged > 0 { BAD } else { GOOD };
            let line = format!("{} checked: {}{sample}", counted(self.total.checked, "run"), self.total.words());
            writeln!(out, "{}", look.paint(style, line))?;
        }
        if self.total.damaged > 0 {
            let why = format!("{} cannot be read: damaged", counted(self.total.damaged, "log"));
            return Err(Error::new(ErrorKind::Corrupt, why).into());
        }
        Ok(if self.differs { Status::Differs } else { Status::Success })
    }

    fn table(&self, look: &Look, out: &mut (impl Write + ?Sized)) -> Result<(), Failure> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.tasks.keys().map(|task| escaped(task)).collect();
        let widest = names.iter().map(|name| columns(name)).max().unwrap_or(0);
        let width = widest.clamp(4, look.width.saturating_sub(52));
        let line = |name: &str, numbers: [String; 5]| {
            let [runs, fit, changed, diverged, other] = numbers;
            let numbers = [right(&runs, 7), right(&fit, 7), right(&changed, 7), right(&diverged, 8), right(&other, 7)];
            format!("{}  {}", padded(&cut(name, width), width), numbers.join("  "))
        };
        let head = ["RUNS", "FIT", "RESULT", "DIVERGED", "OTHER"].map(str::to_owned);
        writeln!(out, "{}", look.paint(BOLD, line("TASK", head)))?;
        for (name, counts) in names.iter().zip(self.tasks.values()) {
            let other = counts.unreadable + counts.missing + counts.damaged;
            let numbers = [counts.checked, counts.fit, counts.result_changed, counts.diverged, other].map(thousands);
            writeln!(out, "{}", line(name, numbers))?;
        }
        Ok(())
    }

    fn reasons(&self, look: &Look, out: &mut (impl Write + ?Sized)) -> Result<(), Failure> {
        for ((task, kind), misfits) in &self.misfits {
            let head = format!("{}: {}, {kind}", escaped(task), counted(misfits.count, "run"));
            writeln!(out, "\n{}", look.paint(WARN, cut(&head, look.width)))?;
            for (run, why) in &misfits.shown {
                let lines = wrapped(&escaped(without(run, why)), look.width.saturating_sub(30), WHY_LINES_MAX);
                for (index, line) in lines.iter().enumerate() {
                    match index {
                        0 => writeln!(out, "  {run}  {line}")?,
                        _ => writeln!(out, "  {:26}  {line}", "")?,
                    }
                }
            }
            let more = misfits.count - misfits.shown.len() as u64;
            if more > 0 {
                writeln!(out, "  {}", look.paint(DIM, format!("and {} more", thousands(more))))?;
            }
            if let Some(cause) = &misfits.cause {
                let line = cut(&escaped(&format!("likely: {cause}")), look.width.saturating_sub(2));
                writeln!(out, "  {}", look.paint(DIM, line))?;
            }
        }
        if !self.misfits.is_empty() {
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Why, without the run that it begins with: its id precedes it already.
fn without<'a>(run: &RunId, why: &'a str) -> &'a str {
    why.strip_prefix(&format!("run {run}")).map_or(why, |rest| rest.trim_start_matches([':', ' ']))
}

/// A run, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    run: String,
    task: &'a str,
    state: String,
    #[serde(flatten)]
    found: FoundObject<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum FoundObject<'a> {
    Replayed {
        attempt: u32,
        events: u64,
        #[serde(flatten)]
        verdict: Box<VerdictObject<'a>>,
    },
    Not {
        verdict: &'static str,
        why: &'a str,
    },
}

impl<'a> Line<'a> {
    fn of(candidate: &'a Candidate, found: &'a Found) -> Self {
        let replayed = |replayed: &'a Replayed| FoundObject::Replayed {
            attempt: replayed.attempt,
            events: replayed.event_count,
            verdict: Box::new(VerdictObject::of(replayed)),
        };
        let found = match found {
            Found::Replayed(found) => replayed(found),
            Found::Unreadable(why) => FoundObject::Not { verdict: "unreadable", why },
            Found::Missing(why) => FoundObject::Not { verdict: "missing", why },
            Found::Damaged(why) => FoundObject::Not { verdict: "damaged", why },
        };
        let state = snake(&format!("{:?}", candidate.state));
        Self { run: candidate.run.to_string(), task: &candidate.task, state, found }
    }
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    summary: bool,
    #[serde(flatten)]
    counts: Counts,
    left_out: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_run_does_not_fit_is_whole_and_names_the_run_once() {
        let run = RunId::from_bytes([7; 16]);
        let candidate = Candidate { run, task: "orders.place".into(), state: RunState::Completed };
        let why = format!("run {run} at event 3: the result of trace {}.charge_card is no Receipt", "shop.".repeat(20));
        let mut report = Report::new(false);
        let mut out = Vec::new();
        report.take(&candidate, Found::Unreadable(why), &mut out).unwrap();
        report.end(&Look::new(100, false), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let dense: String = text.split_whitespace().collect();
        assert_eq!(text.matches(&run.to_string()).count(), 1, "{text}");
        assert!(dense.contains("charge_cardisnoReceipt") && text.contains(&format!("  {run}  at event 3: ")), "{text}");
        assert!(text.lines().all(|line| columns(line) <= 100), "{text}");
    }
}
