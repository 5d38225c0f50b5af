//! Where two runs part, for people.

use std::io::{self, Write};

use relive::Difference;
use relive_engine::event::TaskOutcome;
use relive_engine::id::RunId;

use super::values::{Changed, Kind, Shown};
use super::{Compared, Counts};
use crate::call::call_of;
use crate::look::{BAD, BOLD, DIM, GOOD, Look, WARN};
use crate::text::{columns, cut, cut_front, escaped, excerpt, padded, thousands};

pub(super) fn draw(
    runs: [RunId; 2],
    compared: &Compared,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let letters = ["a", "b"];
    for index in 0..2 {
        let task = cut(&escaped(&compared.tasks[index]), look.width.saturating_sub(50));
        let ended = state(compared.ends[index].as_ref());
        writeln!(out, "{}  {}  {task}  {ended}", look.paint(BOLD, letters[index]), runs[index])?;
    }
    if compared.tasks[0] != compared.tasks[1] {
        writeln!(out, "{}", look.paint(WARN, "the runs are of different tasks"))?;
    }
    let mut page = Page { look, out };
    if !compared.input.is_empty() {
        page.head("the input differs")?;
        page.differences(&compared.input)?;
    }
    for (index, changed) in compared.calls.iter().enumerate() {
        if index == 0 {
            page.head(&first(changed))?;
        }
        page.changed(changed)?;
    }
    let left_out = compared.counts.differing() - compared.calls.len() as u64;
    if left_out > 0 {
        let line = format!("  and {} more (--limit shows more)", thousands(left_out));
        writeln!(page.out, "{}", look.paint(DIM, line))?;
    }
    match &compared.ends {
        [Some(a), Some(b)] if compared.result.is_empty() && state(Some(a)) == state(Some(b)) => {}
        [None, None] => {}
        ends => {
            page.head(&format!("the end differs: {} → {}", state(ends[0].as_ref()), state(ends[1].as_ref())))?;
            page.differences(&compared.result)?;
        }
    }
    page.summary(&compared.counts, compared.differs())
}

fn state(end: Option<&TaskOutcome>) -> &'static str {
    match end {
        None => "unfinished",
        Some(TaskOutcome::Ok(_)) => "completed",
        Some(TaskOutcome::Err(_)) => "failed",
        Some(_) => "cancelled",
    }
}

fn first(changed: &Changed) -> String {
    let at =
        |letter: &str, call: &Option<Shown>| call.as_ref().map(|call| format!("event {} of {letter}", call.sequence));
    let places: Vec<String> = [at("a", &changed.first), at("b", &changed.second)].into_iter().flatten().collect();
    format!("the calls differ, first at {}", places.join(", "))
}

struct Page<'a, W: ?Sized> {
    look: &'a Look,
    out: &'a mut W,
}

impl<W: Write + ?Sized> Page<'_, W> {
    fn head(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{}", self.look.paint(BOLD, text))
    }

    fn changed(&mut self, changed: &Changed) -> io::Result<()> {
        match (&changed.first, &changed.second) {
            (Some(a), Some(b)) if changed.kind == Kind::Argument => {
                self.call("-", BAD, a, &format!("{}", a.sequence))?;
                self.call("+", GOOD, b, &format!("{}", b.sequence))?;
            }
            (Some(a), Some(b)) => {
                let ends = if a.outcome == b.outcome {
                    a.outcome.to_owned()
                } else {
                    format!("{} → {}", a.outcome, b.outcome)
                };
                let what = if changed.kind == Kind::Moved { "moved" } else { ends.as_str() };
                self.call("~", WARN, a, &format!("{} → {}, {what}", a.sequence, b.sequence))?;
            }
            (Some(a), None) => self.call("-", BAD, a, &format!("{}", a.sequence))?,
            (None, Some(b)) => self.call("+", GOOD, b, &format!("{}", b.sequence))?,
            (None, None) => {}
        }
        self.differences(&changed.differences)
    }

    fn call(&mut self, mark: &str, style: anstyle::Style, call: &Shown, at: &str) -> io::Result<()> {
        let at = format!("event {at}");
        let indent = if call.nested { "  " } else { "" };
        let room = self.look.width.saturating_sub(columns(&at) + 6 + indent.len());
        let text = format!("{mark} {indent}{}", call_of(&call.name, &call.input, room));
        writeln!(self.out, "  {}  {}", self.look.paint(style, text), self.look.paint(DIM, at))
    }

    fn differences(&mut self, differences: &[Difference]) -> io::Result<()> {
        let widest =
            differences.iter().map(|difference| columns(&escaped(&difference.path))).max().unwrap_or(0).min(32);
        for Difference { path, old, new } in differences {
            let path = padded(&cut_front(&escaped(path), 32), widest);
            let room = (self.look.width.saturating_sub(widest + 11) / 2).max(16);
            let shown = |value: &Option<relive::Value>| match value.as_ref().map(|value| excerpt(value)) {
                None => "nothing".to_owned(),
                Some((text, true)) => cut(&text, room),
                Some((text, false)) => cut(&format!("{text}…"), room),
            };
            let (old, new) = (shown(old), shown(new));
            writeln!(self.out, "      {path}  {} → {}", self.look.paint(BAD, old), self.look.paint(GOOD, new))?;
        }
        Ok(())
    }

    fn summary(&mut self, counts: &Counts, differs: bool) -> io::Result<()> {
        let Counts { same, only_first, only_second, argument, outcome, moved } = *counts;
        let parts = [
            (same, "the same"),
            (only_first, "only in a"),
            (only_second, "only in b"),
            (argument, "with other arguments"),
            (outcome, "with another outcome"),
            (moved, "moved"),
        ];
        let parts = parts.into_iter().filter(|(count, word)| *count > 0 || *word == "the same");
        let parts: Vec<String> = parts.map(|(count, word)| format!("{} {word}", thousands(count))).collect();
        let style = if differs { WARN } else { GOOD };
        writeln!(self.out, "\n{}", self.look.paint(style, format!("calls: {}", parts.join(", "))))
    }
}
