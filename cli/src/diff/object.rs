//! Where two runs part, as JSON: the fields are in the help of `diff`.

use std::io::{self, Write};

use relive::Value;
use serde::Serialize;

use super::values::{Changed, Kind, Shown};
use super::{Compared, Counts};
use crate::json::{self, OutcomeObject};
use crate::replay::DifferenceObject;

/// A difference.
#[derive(Serialize)]
struct Line<'a, T> {
    difference: &'static str,
    first: Option<T>,
    second: Option<T>,
    differences: Vec<DifferenceObject<'a>>,
}

#[derive(Serialize)]
struct CallObject<'a> {
    sequence: u64,
    name: &'a str,
    input: &'a Value,
    nested: bool,
    outcome: &'static str,
}

#[derive(Serialize)]
struct Summary {
    summary: bool,
    #[serde(flatten)]
    counts: Counts,
    differs: bool,
}

pub(super) fn write(compared: &Compared, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let [first, second] = &compared.tasks;
    if first != second {
        let (first, second) = (Some(first), Some(second));
        json::line(out, &Line { difference: "task", first, second, differences: Vec::new() })?;
    }
    if !compared.input.is_empty() {
        let differences = compared.input.iter().map(DifferenceObject::of).collect();
        json::line(out, &Line::<()> { difference: "input", first: None, second: None, differences })?;
    }
    for changed in &compared.calls {
        json::line(out, &line(changed))?;
    }
    let kinds = |end: &Option<_>| end.as_ref().map(std::mem::discriminant);
    if !compared.result.is_empty() || kinds(&compared.ends[0]) != kinds(&compared.ends[1]) {
        let [first, second] = compared.ends.each_ref().map(|end| end.as_ref().map(OutcomeObject::of_task));
        let differences = compared.result.iter().map(DifferenceObject::of).collect();
        json::line(out, &Line { difference: "result", first, second, differences })?;
    }
    json::line(out, &Summary { summary: true, counts: compared.counts, differs: compared.differs() })
}

fn line(changed: &Changed) -> Line<'_, CallObject<'_>> {
    let difference = match changed.kind {
        Kind::Only => "only",
        Kind::Argument => "argument",
        Kind::Outcome => "outcome",
        Kind::Moved => "moved",
    };
    Line {
        difference,
        first: changed.first.as_ref().map(call),
        second: changed.second.as_ref().map(call),
        differences: changed.differences.iter().map(DifferenceObject::of).collect(),
    }
}

fn call(shown: &Shown) -> CallObject<'_> {
    let Shown { sequence, name, input, nested, outcome } = shown;
    CallObject { sequence: sequence.0, name, input, nested: *nested, outcome }
}
