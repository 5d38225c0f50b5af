//! The head of a timeline: which run it is, how it stands, and its counts.
//!
//! Called by `draw`.

use std::io::{self, Write};

use relive_engine::event::{Cause, TaskOutcome};
use relive_engine::index::RunState;

use super::Standing;
use super::timeline::Timeline;
use crate::look::{self, BOLD, DIM, Look};
use crate::text::{cut, cut_display, escaped, padded, thousands};
use crate::{time, words};

fn state(timeline: &Timeline) -> RunState {
    match timeline.ended.as_ref().filter(|ended| ended.retry_at.is_none()).map(|ended| &ended.outcome) {
        None => RunState::Unfinished,
        Some(TaskOutcome::Ok(_)) => RunState::Completed,
        Some(TaskOutcome::Err(_)) => RunState::Failed,
        Some(_) => RunState::Cancelled,
    }
}

/// Draws the head.
pub(super) fn head(
    timeline: &Timeline,
    standing: &Standing,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let started = &timeline.started;
    let (word, style) = match standing {
        Standing::Blocked(record) if record.is_parked() => look::PARKED,
        Standing::Blocked(_) => look::BLOCKED,
        Standing::AsItsLogSays => look::state(state(timeline)),
    };
    let end = timeline.ended.as_ref().filter(|ended| ended.retry_at.is_none()).map(|ended| ended.at);
    let begun = timeline.lives.first().map_or(started.at, |life| life.first);
    let took = end.map(|end| format!(" in {}", time::duration(time::between(begun, end)))).unwrap_or_default();
    let task = cut(&escaped(&started.task), look.width.saturating_sub(60).max(12));
    writeln!(
        out,
        "run {}  {}  {}{took}",
        look.paint(BOLD, timeline.run),
        look.paint(BOLD, task),
        look.paint(style, word)
    )?;
    let mut line = |name: &str, value: &str| {
        let value = cut(value, look.width.saturating_sub(11));
        writeln!(out, "  {} {value}", look.paint(DIM, padded(name, 8)))
    };
    if let Some(id) = &started.id {
        line("id", &escaped(id))?;
    }
    if let Some(parent) = &started.parent {
        line("parent", &format!("run {}, attempt {}", parent.run, parent.attempt))?;
    }
    if !started.tags.is_empty() {
        line("tags", &words::tags(&started.tags))?;
    }
    if !timeline.joined_tags.is_empty() {
        line("joined", &format!("by calls with tags {}", words::tags(&timeline.joined_tags)))?;
    }
    line("started", &time::with_offset(begun, &look.zone))?;
    if let Some(end) = end {
        line("ended", &time::with_offset(end, &look.zone))?;
    }
    let cause = words::whole_cause(&started.cause);
    let cause = match &started.cause {
        Cause::Cached => "from the cache".to_owned(),
        Cause::CachedFrom { run } => format!("from the cache: run {run} found it"),
        _ => cause,
    };
    line("attempt", &format!("{} ({cause})", started.attempt))?;
    if let Some(lives) = lives(timeline) {
        line("lives", &lives)?;
    }
    if let Standing::Blocked(record) = standing
        && let Some(reason) = record.block_reason()
    {
        let since = record.blocked_since().map(|since| format!(" since {}", time::with_offset(since, &look.zone)));
        line("blocked", &format!("{reason}{}", since.unwrap_or_default()))?;
    }
    line("input", &cut_display(&started.input.to_value(), look.width))?;
    line("traces", &totals(timeline))
}

/// In how many lives of the process the run went on, if there was more than one.
fn lives(timeline: &Timeline) -> Option<String> {
    let ends = timeline.lives.windows(2).filter(|pair| pair[0].part.epoch != pair[1].part.epoch);
    let down = ends.map(|pair| time::between(pair[0].last, pair[1].first));
    let (count, down) = down.fold((1, 0u64), |(count, all), down| (count + 1, all.saturating_add(down)));
    (count > 1).then(|| format!("{} of the process; {} between them", thousands(count), time::duration(down)))
}

fn totals(timeline: &Timeline) -> String {
    let totals = &timeline.totals;
    // Two counts of the same traces: how they ended, and who found that.
    let ended = [(totals.ok, "ok"), (totals.err, "err"), (totals.dropped, "dropped")];
    let open = (totals.open(), if timeline.is_over(timeline.attempt()) { "stopped" } else { "open" });
    let found = [(totals.repeated, "repeated"), (totals.replayed(), "replayed"), (totals.executed, "executed")];
    let mut text = thousands(totals.started);
    if timeline.attempt() > 0 {
        text.push_str(&format!(" in attempt {}", timeline.started.attempt));
    }
    let counts = |counts: &[(u64, &str)]| {
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        counts.map(|(count, word)| format!("{} {word}", thousands(*count))).collect::<Vec<_>>().join(", ")
    };
    let ended: Vec<_> = ended.into_iter().chain([open]).collect();
    for (separator, part) in [(": ", counts(&ended)), ("; ", counts(&found))] {
        if !part.is_empty() {
            text.push_str(&format!("{separator}{part}"));
        }
    }
    if totals.effect_micros > 0 {
        text.push_str(&format!("; {} of effects", time::duration(totals.effect_micros)));
    }
    text
}
