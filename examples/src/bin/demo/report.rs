//! What people see: plain words and figures on standard output, progress on standard error.

use std::io::{IsTerminal, Write};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::insights::Insights;
use crate::life::Life;
use crate::verdict::Verdict;

/// Prints a line. A reader that has gone away (`| head`) is no reason to stop.
pub(crate) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints the heading of a phase.
pub(crate) fn phase(text: impl std::fmt::Display) {
    line(format_args!("\n{text}"));
}

/// Prints a line under a heading.
pub(crate) fn fact(name: &str, text: impl std::fmt::Display) {
    line(format_args!("   {name:<12} {text}"));
}

/// Prints why the demo cannot go on, or what does not hold.
pub(crate) fn failure(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "demo: {text}");
}

/// 1234567 as 1,234,567.
pub(crate) fn count(number: u64) -> HumanCount {
    HumanCount(number)
}

/// So many of a thing: `1 file`, `1,234 files`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A duration in a unit that fits it.
pub(crate) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// Traces, counted by name, in the order of their first: `1 search, 80 summarize`.
pub(crate) fn by_name<'a>(traces: impl Iterator<Item = &'a str>) -> String {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for trace in traces {
        match counts.iter_mut().find(|(name, _)| *name == trace) {
            Some((_, times)) => *times += 1,
            None => counts.push((trace, 1)),
        }
    }
    let counts: Vec<String> = counts.into_iter().map(|(name, times)| format!("{} {name}", count(times))).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// Columns that prose may have beside the names of facts.
const PROSE_COLUMNS: usize = 84;

/// Prints a text under a fact, broken into lines.
fn prose(text: &str) {
    let mut row = String::new();
    for word in text.split(' ') {
        if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > PROSE_COLUMNS {
            fact("", &row);
            row.clear();
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    fact("", row);
}

/// Which files the pipeline found in front of it.
pub(crate) fn corpus(life: &Life) {
    let Some((corpus, left_out)) = &life.corpus else { return };
    fact("files", format_args!("{}, {}", counted(corpus.file_count, "text file"), HumanBytes(corpus.bytes)));
    fact("", format_args!("in {}", corpus.source.dir));
    if left_out.binary + left_out.large + left_out.unreadable > 0 {
        fact("left out", left_out);
    }
    fact("digest", format_args!("{}… (part of the task's input)", &corpus.digest[..16]));
}

/// What the research found.
pub(crate) fn insights(insights: &Insights, topic: &str) {
    phase(format_args!("What was said about \"{topic}\" in {}:", counted(insights.file_count, "file")));
    for theme in &insights.themes {
        fact(&theme.word, counted(theme.file_count, "file"));
        if let Some(sentence) = &theme.sentence {
            prose(&harmless(sentence));
        }
        fact("", format_args!("— {}", harmless(&theme.path)));
    }
}

/// What files hold must not steer a terminal.
fn harmless(text: &str) -> String {
    text.replace(|character: char| character.is_control(), "\u{fffd}")
}

/// What pipe and witness say.
pub(crate) fn verdict(verdict: &Verdict) {
    let Verdict { traces, replayed, executed, under_way, unsaid, requests: (before, after), .. } = verdict;
    fact("traces", format_args!("{} in the run", count(*traces)));
    fact(
        "replayed",
        format_args!("{} after the kill: their results came from the log, no effect ran", count(*replayed)),
    );
    if *unsaid > 0 {
        fact("", format_args!("{unsaid} of them durable when the kill came, their line not out yet"));
    }
    fact("executed", format_args!("{} after the kill", count(*executed)));
    fact("", format_args!("{under_way} of them for the second time: under way when the kill came (at-least-once)"));
    fact("witness", format_args!("{} before the kill, {} after it", counted(*before, "request"), count(*after)));
    fact("repeated", format_args!("{} of those acknowledged before the kill", verdict.repeated_after_ack));
}

/// The last line.
pub(crate) fn summary(verdict: &Verdict) {
    let Verdict { traces, replayed, executed, repeated_after_ack, cache_hit_us, .. } = verdict;
    line(format_args!(
        "\ndemo: traces={traces} replayed={replayed} executed={executed} repeated_after_ack={repeated_after_ack} \
         cache_hit_us={cache_hit_us}"
    ));
}

/// Lines of a long text that are printed at its beginning (a timeline's head has ten) and at its end.
const EXCERPT_LINES: usize = 14;

/// Lines at either side of a mark.
const MARKED_LINES: usize = 6;

/// Prints a text; of a long one the beginning, the surroundings of the first line that holds `mark`, and the end.
pub(crate) fn excerpt(text: &str, mark: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let marked = lines.iter().position(|line| line.contains(mark)).unwrap_or(0);
    let mut left_out = 0;
    for (index, text) in lines.iter().enumerate() {
        let near =
            index < EXCERPT_LINES || index + EXCERPT_LINES >= lines.len() || index.abs_diff(marked) < MARKED_LINES;
        if !near {
            left_out += 1;
            continue;
        }
        if left_out > 0 {
            line(format_args!("   ⋮  {left_out} more"));
        }
        left_out = 0;
        line(format_args!("   {text}"));
    }
}

/// How far the work is: a bar on a terminal, elsewhere a line now and then. Gone when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: bool,
    told: u64,
}

/// Lines that are printed where there is no terminal: at each quarter.
const PLAIN_STEPS: u64 = 4;

impl Progress {
    /// Begins with the files being read: nobody knows how many there are.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style("   {spinner} {msg}"));
        Self { bar, terminal, told: 0 }
    }

    /// So many files have been read.
    pub(crate) fn reading(&self, file_count: u64) {
        self.bar.set_message(format!("reading files: {}", count(file_count)));
        self.bar.tick();
    }

    /// So many summaries of so many are acknowledged.
    pub(crate) fn summaries(&mut self, done: u64, of: u64) {
        if self.bar.length() != Some(of) {
            self.bar.set_length(of);
            self.bar.set_style(style("   [{bar:40}] {pos} of {len} summaries acknowledged"));
        }
        self.bar.set_position(done);
        let step = done * PLAIN_STEPS / of.max(1);
        if !self.terminal && step > self.told {
            self.told = step;
            let _ = writeln!(std::io::stderr(), "   {done} of {of} summaries acknowledged");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
