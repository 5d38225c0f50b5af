//! The last lines of a timeline: what the run returned, or why it does not go on.
//!
//! Called by `draw`.

use std::io::{self, Write};

use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::{ErrorRecord, TaskOutcome};
use relive_engine::id::Timestamp;
use relive_engine::index::BlockReason;

use super::Standing;
use super::timeline::Timeline;
use crate::look::{BAD, DIM, GOOD, LIVE, Look, WARN};
use crate::text::{counted, cut, cut_display, escaped, snake, wrapped};
use crate::time;

/// A result or an error takes at most so many lines: the whole of it is in `relive log`.
const RESULT_LINES_MAX: usize = 6;

/// Draws the result.
pub(super) fn result(
    timeline: &Timeline,
    standing: &Standing,
    damage: Option<&Error>,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    if damage.is_some() {
        return writeln!(out, "└ {}", look.paint(BAD, "the log cannot be read any further"));
    }
    let Some(ended) = &timeline.ended else {
        let last = timeline.lives.last().map_or(Timestamp::default(), |life| life.last);
        let line = match timeline.totals.open() {
            0 => "unfinished".to_owned(),
            open => format!("unfinished, with {} open", counted(open, "trace")),
        };
        let line = format!("{line}; the last event is of {}", time::with_offset(last, &look.zone));
        writeln!(out, "└ {}", look.paint(LIVE, cut(&line, look.width.saturating_sub(2))))?;
        return blocked(standing, look, out);
    };
    match &ended.outcome {
        TaskOutcome::Ok(output) => {
            let inside = look.width.saturating_sub(6);
            let text = cut_display(&output.to_value(), inside * RESULT_LINES_MAX);
            let lines = wrapped(&text, inside, RESULT_LINES_MAX);
            for (index, line) in lines.iter().enumerate() {
                match index {
                    0 => writeln!(out, "└ {}  {line}", look.paint(GOOD, "ok"))?,
                    _ => writeln!(out, "      {line}")?,
                }
            }
            Ok(())
        }
        TaskOutcome::Err(error) => {
            failed(error, ended.imposed, look, out)?;
            if let Some((sequence, call)) = timeline.origin(error) {
                let line = cut(&format!("from {call}, event {sequence}"), look.width.saturating_sub(4));
                writeln!(out, "    {}", look.paint(DIM, line))?;
            }
            if matches!(standing, Standing::Blocked(_)) {
                return blocked(standing, look, out);
            }
            let Some(due) = ended.retry_at else { return Ok(()) };
            let next = timeline.started.attempt.saturating_add(1);
            let line = format!("attempt {next} is due {}", time::with_offset(due, &look.zone));
            writeln!(out, "    {}", look.paint(LIVE, line))
        }
        _ => writeln!(out, "└ {}", look.paint(WARN, "cancelled")),
    }
}

/// Why a run cannot go on, and what somebody can do about it.
fn blocked(standing: &Standing, look: &Look, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let Standing::Blocked(record) = standing else { return Ok(()) };
    let (crashes, crashed_at) = (record.crashes, record.crashed_at);
    let why = match record.block_reason() {
        Some(BlockReason::Parked) => format!(
            "parked: the process died {crashes} times while the run was under way, and its log got no further than \
             event {crashed_at}; `relive resume` or `relive cancel` decide"
        ),
        Some(BlockReason::Held) => {
            "parked: it was imported unfinished; `relive resume` or `relive cancel` decide".to_owned()
        }
        _ => format!("blocked: {}", record.block_message().unwrap_or_default()),
    };
    let lines = why.lines().flat_map(|line| wrapped(&escaped(line), look.width.saturating_sub(4), RESULT_LINES_MAX));
    for line in lines.take(RESULT_LINES_MAX) {
        writeln!(out, "    {}", look.paint(BAD, line))?;
    }
    Ok(())
}

fn failed(error: &ErrorRecord, imposed: bool, look: &Look, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let mut word = "err".to_owned();
    if error.kind != ErrorKind::Failed {
        word.push_str(&format!(" ({})", snake(&format!("{:?}", error.kind))));
    }
    if imposed {
        word.push_str(", ended by the engine");
    }
    writeln!(out, "└ {}", look.paint(BAD, word))?;
    let sources = error.sources.iter().map(|source| format!("caused by: {source}"));
    for message in std::iter::once(error.message.clone()).chain(sources) {
        let lines =
            message.lines().flat_map(|line| wrapped(&escaped(line), look.width.saturating_sub(4), RESULT_LINES_MAX));
        for line in lines.take(RESULT_LINES_MAX * 2) {
            writeln!(out, "    {}", look.paint(BAD, line))?;
        }
    }
    Ok(())
}
