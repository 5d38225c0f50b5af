//! What a replay found, for people.
//!
//! Used by `replay`; `check` takes the reasons in a line.

use std::io::{self, Write};
use std::sync::Arc;

use anstyle::Style;
use relive::{CallSite, Diagnosis, Difference, LikelyCause, Replayed, ResultChange, Side, SoFar, Value, Verdict};
use relive_engine::event::TaskOutcome;
use relive_engine::verdict::outcome_value;
use relive_storage::Read;

use crate::call::call_of;
use crate::failure::Failure;
use crate::look::{BAD, BOLD, DIM, GOOD, LIVE, Look, WARN};
use crate::text::{columns, counted, cut, cut_display, cut_front, escaped, excerpt, padded, wrapped};

/// Where what belongs to a label begins.
const INDENT: usize = 10;

/// An explanation takes at most so many lines.
const LINES_MAX: usize = 6;

/// Widest name of a field that differs; a longer path is cut at its front.
const PATH_MAX: usize = 28;

/// Draws a verdict.
pub(crate) fn draw(
    replayed: &Replayed,
    store: &Arc<dyn Read>,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let (style, words) = match &replayed.verdict {
        Verdict::Same(_) => (GOOD, "same".to_owned()),
        Verdict::SameSoFar(so_far) => (GOOD, format!("same until event {}", so_far.end)),
        Verdict::ResultChanged(_) => (BAD, "result changed".to_owned()),
        Verdict::Diverged(diagnosis) => (BAD, format!("diverged at event {}", diagnosis.divergence.sequence)),
        _ => (WARN, replayed.verdict.name().to_owned()),
    };
    let task = cut(&escaped(&replayed.task), look.width.saturating_sub(words.len() + 50).max(12));
    let (run, task) = (look.paint(BOLD, replayed.run), look.paint(BOLD, task));
    writeln!(out, "{}  run {run}  {task}  attempt {}", look.paint(style.bold(), words), replayed.attempt)?;
    let mut page = Page { look, out };
    match &replayed.verdict {
        Verdict::Same(outcome) => {
            page.text(&format!("{}: the same calls, the same end", counted(replayed.event_count, "event")))?;
            page.outcome("ended", outcome)?;
        }
        Verdict::SameSoFar(so_far) => page.so_far(so_far, replayed.event_count)?,
        Verdict::ResultChanged(change) => page.result(change)?,
        Verdict::Diverged(diagnosis) => {
            page.diverged(diagnosis)?;
            if !diagnosis.before.is_empty() {
                writeln!(out, "  {}", look.paint(DIM, "before it in the log"))?;
                crate::log::excerpt(store, replayed.run, &diagnosis.before, look, out)?;
            }
        }
        _ => {}
    }
    if !replayed.redacted.is_empty() && !replayed.verdict.fits() {
        let fields = escaped(&replayed.redacted.join(", "));
        let why = format!("{fields}: replaced when the run was exported. The code may well fit what was recorded");
        Page { look, out }.labelled("redacted", WARN, &why)?;
    }
    Ok(())
}

struct Page<'a, W: ?Sized> {
    look: &'a Look,
    out: &'a mut W,
}

impl<W: Write + ?Sized> Page<'_, W> {
    fn text(&mut self, text: &str) -> io::Result<()> {
        for line in wrapped_at_words(text, self.look.width.saturating_sub(2), LINES_MAX) {
            writeln!(self.out, "  {line}")?;
        }
        Ok(())
    }

    fn labelled(&mut self, label: &str, style: Style, text: &str) -> io::Result<()> {
        let lines = wrapped_at_words(text, self.look.width.saturating_sub(INDENT), LINES_MAX);
        for (index, line) in lines.into_iter().enumerate() {
            let label = padded(if index == 0 { label } else { "" }, INDENT - 2);
            writeln!(self.out, "  {}{}", self.look.paint(DIM, label), self.look.paint(style, line))?;
        }
        Ok(())
    }

    fn outcome(&mut self, label: &str, outcome: &TaskOutcome) -> io::Result<()> {
        let (style, word) = word(outcome);
        let room = self.look.width.saturating_sub(INDENT + word.len() + 2);
        let (label, word) = (self.look.paint(DIM, padded(label, INDENT - 2)), self.look.paint(style, word));
        writeln!(self.out, "  {label}{word}  {}", value_of(outcome, room))
    }

    fn so_far(&mut self, so_far: &SoFar, event_count: u64) -> io::Result<()> {
        self.text(&format!(
            "{}: the same calls; then the log ends, and the run goes on live",
            counted(event_count, "event")
        ))?;
        for call in &so_far.next {
            self.call("next", LIVE, call)?;
        }
        match &so_far.stuck {
            Some(why) => self.labelled("but", WARN, &format!("it would not go on by itself: {}", escaped(why))),
            None => Ok(()),
        }
    }

    fn result(&mut self, change: &ResultChange) -> io::Result<()> {
        self.text(&format!("the same calls up to event {}, and another end", change.sequence))?;
        self.outcome("was", &change.logged)?;
        self.outcome("is", &change.now)?;
        for difference in change.differences.iter().filter(|difference| !difference.path.is_empty()) {
            self.difference(difference)?;
        }
        self.cause(&change.cause)
    }

    fn diverged(&mut self, diagnosis: &Diagnosis) -> io::Result<()> {
        let divergence = &diagnosis.divergence;
        self.text(&diagnosis.change.to_string())?;
        self.side("log", divergence.logged.as_ref())?;
        self.side("code", divergence.called.as_ref())?;
        if let Some(difference) = &diagnosis.difference {
            self.difference(difference)?;
        }
        self.cause(&diagnosis.cause)
    }

    fn side(&mut self, label: &str, side: Option<&Side>) -> io::Result<()> {
        match side {
            Some(Side::Call(call)) => self.call(label, Style::new(), call),
            Some(Side::Drop(call)) => {
                let room = self.look.width.saturating_sub(INDENT + 9);
                self.labelled(label, Style::new(), &format!("{} dropped", call_of(&call.name, &call.input, room)))
            }
            Some(Side::Finished(outcome)) => {
                self.labelled(label, Style::new(), &format!("the task ends: {}", escaped(outcome)))
            }
            Some(Side::Waiting) => self.labelled(label, Style::new(), "waits"),
            None => self.labelled(label, Style::new(), "nothing more in this step"),
        }
    }

    fn call(&mut self, label: &str, style: Style, call: &CallSite) -> io::Result<()> {
        let place = format!("at {}:{}", cut_front(&escaped(&call.file), self.look.width / 3), call.line);
        let times = match call.occurrence {
            0 => String::new(),
            before => format!(" (call {} of its kind)", u64::from(before) + 1),
        };
        let room = self.look.width.saturating_sub(INDENT + columns(&place) + columns(&times) + 2);
        let text = call_of(&call.name, &call.input, room.max(20));
        let label = self.look.paint(DIM, padded(label, INDENT - 2));
        writeln!(self.out, "  {label}{}{times}  {}", self.look.paint(style, text), self.look.paint(DIM, place))
    }

    fn difference(&mut self, difference: &Difference) -> io::Result<()> {
        let path = cut_front(&escaped(&difference.path), PATH_MAX);
        let used = columns(&path).max(INDENT - 4) + 6;
        let room = self.look.width.saturating_sub(used + 3) / 2;
        let (old, new) = (shown(difference.old.as_ref(), room), shown(difference.new.as_ref(), room));
        let path = padded(&path, INDENT - 4);
        writeln!(self.out, "    {path}  {} → {}", self.look.paint(BAD, old), self.look.paint(GOOD, new))
    }

    fn cause(&mut self, cause: &LikelyCause) -> io::Result<()> {
        self.labelled("likely", WARN, &escaped(&cause.to_string()))
    }
}

/// A difference in a few words: `total: 3 → 4`.
fn sides(difference: &Difference) -> String {
    let Difference { path, old, new } = difference;
    let name = if path.is_empty() { String::new() } else { format!("{}: ", escaped(path)) };
    format!("{name}{} → {}", shown(old.as_ref(), 40), shown(new.as_ref(), 40))
}

/// Why code does not fit, in a line; empty if it fits.
pub(crate) fn reason(verdict: &Verdict) -> String {
    match verdict {
        Verdict::ResultChanged(change) => {
            let differs = change.differences.first().map(|first| format!(" ({})", sides(first)));
            let what = match (&change.logged, &change.now) {
                (TaskOutcome::Err(_), TaskOutcome::Err(_)) => "another error",
                (TaskOutcome::Ok(_), TaskOutcome::Ok(_)) => "another result",
                (_, TaskOutcome::Err(_)) => "an error, and it was none",
                (_, _) => "a result, and it was none",
            };
            format!("{what}{}", differs.unwrap_or_default())
        }
        Verdict::Diverged(diagnosis) => {
            let divergence = &diagnosis.divergence;
            if let (Some(Side::Call(call)), Some(difference)) = (&divergence.called, &diagnosis.difference) {
                return format!("{}, {}", escaped(&call.name), sides(difference));
            }
            let side = |side: Option<&Side>| match side {
                Some(Side::Call(call)) => call_of(&call.name, &call.input, 40),
                Some(Side::Drop(call)) => format!("{} dropped", call_of(&call.name, &call.input, 32)),
                Some(Side::Finished(outcome)) => format!("its end, {}", cut(&escaped(outcome), 32)),
                Some(Side::Waiting) => "nothing".to_owned(),
                None => "nothing more".to_owned(),
            };
            format!("{}; the log has {}", side(divergence.called.as_ref()), side(divergence.logged.as_ref()))
        }
        _ => String::new(),
    }
}

fn word(outcome: &TaskOutcome) -> (Style, &'static str) {
    match outcome {
        TaskOutcome::Ok(_) => (GOOD, "ok"),
        TaskOutcome::Err(_) => (BAD, "err"),
        _ => (WARN, "cancelled"),
    }
}

fn value_of(outcome: &TaskOutcome, room: usize) -> String {
    match outcome {
        TaskOutcome::Err(record) => cut_display(&crate::call::OneLine(record), room),
        TaskOutcome::Ok(_) => cut_display(&outcome_value(outcome), room),
        _ => String::new(),
    }
}

fn shown(value: Option<&Value>, room: usize) -> String {
    match value.map(|value| excerpt(value)) {
        None => "nothing".to_owned(),
        Some((text, true)) => cut(&text, room.max(12)),
        Some((text, false)) => cut(&format!("{text}…"), room.max(12)),
    }
}

/// A text in lines, broken between words where they fit.
fn wrapped_at_words(text: &str, columns_max: usize, lines_max: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && columns(&line) + 1 + columns(word) > columns_max {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    let whole = lines.into_iter().flat_map(|line| wrapped(&line, columns_max, lines_max));
    whole.take(lines_max).collect()
}
