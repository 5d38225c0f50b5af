//! Words for what is in a log: causes, forms, tags.
//!
//! Used by every command; in JSON the first words of these are the values.

use relive_engine::event::{Cause, TraceForm, TraceStarted};
use relive_engine::inspect::Answered;

use crate::text::escaped;

/// Why there is an attempt, in a word.
pub(crate) fn cause(cause: &Cause) -> &'static str {
    match cause {
        Cause::New => "new",
        Cause::Cached | Cause::CachedFrom { .. } => "cached",
        Cause::Resumed(_) => "resumed",
        Cause::Retried => "retried",
        Cause::Forked { .. } => "forked",
        _ => "other",
    }
}

/// Why there is an attempt, and what it does not take from earlier ones.
pub(crate) fn whole_cause(of: &Cause) -> String {
    let mut text = cause(of).to_owned();
    if let Cause::Forked { run, at } = of {
        text.push_str(&format!(" from run {run} at event {at}"));
    }
    if let Cause::CachedFrom { run } = of {
        text.push_str(&format!(" from run {run}"));
    }
    if let Cause::Resumed(rerun) = of {
        let edited = rerun.edited.then_some("edited traces");
        let again: Vec<String> =
            rerun.names.iter().map(|name| escaped(name)).chain(edited.map(str::to_owned)).collect();
        if !again.is_empty() {
            text.push_str(&format!(", rerunning {}", again.join(", ")));
        }
    }
    text
}

/// Which run answered a child's call that did not run.
pub(crate) fn answered(by: Answered) -> String {
    match by {
        Answered::Joined(run) => format!("joined run {run}"),
        Answered::Cached(Some(run)) => format!("cached, from run {run}"),
        _ => "cached".to_owned(),
    }
}

/// How a trace hands on what it finds, in a word.
pub(crate) fn form(form: TraceForm) -> &'static str {
    match form {
        TraceForm::Future => "future",
        TraceForm::Inline => "inline",
        TraceForm::Stream => "stream",
        TraceForm::Iterator => "iterator",
        _ => "other",
    }
}

/// Whether a trace is one of `relive::now`, `relive::random`, `relive::uuid`: shown by its value.
pub(crate) fn is_immediate(started: &TraceStarted) -> bool {
    started.form == TraceForm::Inline && started.name.starts_with("relive::")
}

/// `customer=42, region=eu`.
pub(crate) fn tags(tags: &[(String, String)]) -> String {
    let tags = tags.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    tags.collect::<Vec<_>>().join(", ")
}

/// The name that was probably meant: the one that looks most like it, if one does.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &&str| (strsim::jaro_winkler(name, other) * 1e6) as u64;
    names.filter(|other| *other != name).max_by_key(likeness).filter(|other| likeness(other) > 700_000)
}
