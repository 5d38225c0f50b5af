//! The same without a terminal: an event and the state behind it, as text or as JSON.
//!
//! Called by `step`.

use std::io::Write;
use std::sync::Arc;

use anstyle::Style;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::{Event, TraceForm};
use relive_engine::id::{RunId, Sequence};
use relive_engine::inspect::{self, LoggedEvent};
use relive_storage::Read;
use serde::Serialize;

use super::history::History;
use super::state::{Latest, State};
use super::view;
use crate::failure::Failure;
use crate::json::{self, EventLine};
use crate::look::{BOLD, Look, state};
use crate::text::{escaped, thousands};
use crate::time::rfc_3339;

/// So many of each kind are printed: as many as are kept.
const ITEMS_MAX: usize = super::state::LATEST_MAX;

/// An event in a line of its own may take so many lines of the width.
const DETAIL_LINES_MAX: usize = 20;

/// What is printed.
struct Moment {
    history: History,
    at: Sequence,
    state: State,
}

impl Moment {
    /// The event that is asked for, else the last.
    fn find(store: Arc<dyn Read>, run: RunId, at: Option<u64>) -> Result<Self, Failure> {
        let mut history = History::open(store, run)?;
        let wanted = at.map_or(history.last(), Sequence);
        let state = history.state(wanted)?;
        let at = match (at, state.last()) {
            (_, Some(last)) if last == wanted => wanted,
            // A log that is damaged is shown up to there.
            (None, Some(last)) => last,
            _ => {
                if let Some(damage) = history.take_damage() {
                    return Err(damage.into());
                }
                let count = history.count();
                let last = thousands(count.saturating_sub(1));
                let message = format!(
                    "run {run} has no event {wanted}: its log has {} so far, 0 to {last}",
                    crate::text::counted(count, "event")
                );
                return Err(Error::new(ErrorKind::Failed, message).into());
            }
        };
        Ok(Self { history, at, state })
    }
}

/// Prints it for people.
pub(super) fn text(
    store: Arc<dyn Read>,
    run: RunId,
    at: Option<u64>,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let record = inspect::run(store.as_ref(), run)?;
    let Moment { mut history, at, state } = Moment::find(store, run, at)?;
    write!(out, "{}", look.paint(BOLD, format!("run {run}")))?;
    if let Some(record) = &record {
        let (word, style) = self::state(record.state);
        write!(out, "  {}  {}", escaped(&record.task), look.paint(style, word))?;
    }
    writeln!(out, "\n{}", view::bar(at, history.count(), look.width))?;
    writeln!(
        out,
        "{}",
        look.paint(BOLD, format!("event {at} of {}, 0 to {}", thousands(history.count()), history.last()))
    )?;
    let mut lines = view::detail(&mut history, at, look.width - 2, DETAIL_LINES_MAX, &look.zone);
    lines.push(Vec::new());
    lines.iter_mut().filter(|line| !line.is_empty()).for_each(|line| line.insert(0, (Style::new(), "  ".to_owned())));
    lines.push(vec![(BOLD, format!("behind event {at}"))]);
    let mut summary = view::summary(&mut history, &state, look.width - 2, &look.zone);
    summary.iter_mut().for_each(|line| line.insert(0, (Style::new(), "  ".to_owned())));
    lines.extend(summary);
    let sections = view::sections(&mut history, &state, look.width, ITEMS_MAX);
    lines.extend(view::fitted(sections, usize::MAX, look.width));
    for line in lines {
        let text: String = line.iter().map(|(style, text)| look.paint(*style, text).to_string()).collect();
        writeln!(out, "{}", text.trim_end())?;
    }
    damaged(&mut history)
}

/// Prints it for programs.
pub(super) fn json(
    store: Arc<dyn Read>,
    run: RunId,
    at: Option<u64>,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let Moment { mut history, at, state } = Moment::find(store, run, at)?;
    let mut named = |at: Sequence| -> Result<Named, Failure> {
        let logged = history.event(at)?;
        let trace = History::trace_of(&logged).filter(|trace| *trace != at);
        let name = match trace.map(|trace| history.event(trace)).transpose()?.as_deref().map(|logged| &logged.event) {
            Some(Event::TraceStarted(started)) => Some(started.name.to_string()),
            _ => None,
        };
        Ok(Named { logged, name })
    };
    let mut all = |latest: &Latest| latest.at.iter().map(|at| named(*at)).collect::<Result<Vec<_>, _>>();
    let (delivered, nested) = (all(&state.delivered)?, all(&state.nested)?);
    let (values, signals) = (all(&state.values)?, all(&state.signals)?);
    let started = state.open.keys().take(ITEMS_MAX).map(|at| named(*at)).collect::<Result<Vec<_>, _>>()?;
    let (event, ended) = (named(at)?, state.ended.map(&mut named).transpose()?);
    let open = started.iter().zip(&state.open).map(|(event, (_, open))| OpenObject {
        age_us: state.since(open.at),
        failed_tries: open.failed,
        next_try_due: open.due.map(rfc_3339),
        items: matches!(open.form, TraceForm::Stream | TraceForm::Iterator).then_some(open.items),
        started: event.line(run),
    });
    let printed = StateObject {
        run: run.to_string(),
        events: history.count(),
        at: at.0,
        event: event.line(run),
        attempt: state.attempt,
        moment: state.at.map(rfc_3339),
        elapsed_us: state.began_at.map(|began_at| state.since(began_at)),
        totals: TotalsObject {
            started: state.totals.started,
            ok: state.totals.ok,
            err: state.totals.err,
            dropped: state.totals.dropped,
            repeated: state.totals.repeated,
            retried: state.totals.retried,
            items: state.totals.items,
            open: state.open.len(),
            delivered: state.delivered.count,
            nested: state.nested.count,
            values: state.values.count,
            signals: state.signals.count,
        },
        open: open.collect(),
        delivered: lines(run, &delivered),
        nested: lines(run, &nested),
        values: lines(run, &values),
        signals: lines(run, &signals),
        ended: ended.as_ref().map(|event| event.line(run)),
    };
    json::line(out, &printed)?;
    damaged(&mut history)
}

/// What was shown is all that can be read: that is told by the exit status, too.
fn damaged(history: &mut History) -> Result<(), Failure> {
    history.take_damage().map_or(Ok(()), |damage| Err(damage.into()))
}

/// An event and the name of its trace.
struct Named {
    logged: std::rc::Rc<LoggedEvent>,
    name: Option<String>,
}

impl Named {
    fn line(&self, run: RunId) -> EventLine<'_> {
        EventLine::of(run, &self.logged, self.name.as_deref(), None)
    }
}

fn lines(run: RunId, events: &[Named]) -> Vec<EventLine<'_>> {
    events.iter().map(|event| event.line(run)).collect()
}

#[derive(Serialize)]
struct StateObject<'a> {
    run: String,
    events: u64,
    at: u64,
    event: EventLine<'a>,
    attempt: u32,
    moment: Option<String>,
    elapsed_us: Option<u64>,
    totals: TotalsObject,
    open: Vec<OpenObject<'a>>,
    delivered: Vec<EventLine<'a>>,
    nested: Vec<EventLine<'a>>,
    values: Vec<EventLine<'a>>,
    signals: Vec<EventLine<'a>>,
    ended: Option<EventLine<'a>>,
}

#[derive(Serialize)]
struct TotalsObject {
    started: u64,
    ok: u64,
    err: u64,
    dropped: u64,
    repeated: u64,
    retried: u64,
    items: u64,
    open: usize,
    delivered: u64,
    nested: u64,
    values: u64,
    signals: u64,
}

#[derive(Serialize)]
struct OpenObject<'a> {
    age_us: u64,
    failed_tries: u32,
    next_try_due: Option<String>,
    items: Option<u64>,
    started: EventLine<'a>,
}
