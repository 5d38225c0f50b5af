//! A failure as a story that a person can follow: what went in, what was done to the run, and where it parted from itself.

use std::fmt::Write;

use super::explore::Failed;
use super::life::Lived;
use super::log::Log;
use super::plan::{self, Interruption};

/// So many lines of a log are told.
const LINES_MAX: usize = 60;

/// Tells a failure.
pub(crate) fn tell(task: &str, input: &str, failed: &Failed) -> String {
    let mut story = String::new();
    // A string takes every line.
    let mut line = |text: &str| {
        let _ = writeln!(story, "{text}");
    };
    line(&format!("task {task} is not deterministic: {}", failed.finding.check));
    line("");
    line(&format!("  input     {input}"));
    line(&format!("  what      {}", failed.point));
    line("");
    for what in &failed.finding.what {
        line(&format!("  {what}"));
    }
    line("");
    match &failed.reference {
        Some(reference) => {
            line("  the run that nothing was done to:");
            let cut = cut_of(failed, reference);
            told(reference, cut, &mut line);
            line("  this run:");
            told(&failed.lived, None, &mut line);
        }
        None => {
            line("  the run:");
            told(&failed.lived, None, &mut line);
        }
    }
    story
}

/// Behind which line of its log the run was interrupted.
fn cut_of(failed: &Failed, reference: &Lived) -> Option<usize> {
    let Some(Interruption::After(count)) = failed.point.interruption else { return None };
    let (first, _) = plan::commits(reference);
    let kept = reference.written.get(..first + count)?;
    let events = kept.iter().flat_map(super::recorder::Written::events);
    let own = events.filter(|(run, ..)| Some(*run) == reference.run).map(|(_, at, event)| (at, event));
    Some(Log::made(own).steps.len())
}

fn told(lived: &Lived, cut: Option<usize>, line: &mut impl FnMut(&str)) {
    let lines = lived.log.lines();
    let mut steps = 0;
    for (index, told) in lines.iter().enumerate() {
        let begins = !told.starts_with("     ");
        if begins && cut == Some(steps) {
            line("    --- here the process died; the engine was opened again over what it left ---");
        }
        steps += usize::from(begins);
        if index == LINES_MAX {
            line(&format!("       … and {} lines more", lines.len() - index));
            return;
        }
        line(&format!("  {told}"));
    }
    if let Some(error) = &lived.error {
        line(&format!("    it could not go on: {error}"));
    }
    if let Some(error) = &lived.replayed {
        line(&format!("    replayed: {error}"));
    }
    line("");
}
