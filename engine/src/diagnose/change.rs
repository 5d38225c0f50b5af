//! What an edit did to the calls of a body: added one, removed one, put them in another order.
//!
//! Called by `diagnose` with both sides of a divergence, and with what the log and the code call before and behind it.
//!
//! Invariant: decided from names, inputs and order alone; no I/O.

use rustc_hash::FxHashMap;

use crate::divergence::{CallSite, Divergence, Side};
use crate::event::TaskOutcome;
use crate::id::InputHash;
use crate::value::{Difference, Value};
use crate::verdict::Change;

/// How often each call is made.
pub(super) type Bag = FxHashMap<(String, InputHash), u64>;

/// What the code calls, as far as recorded results lead it.
#[derive(Debug, Default)]
pub(super) struct Rehearsed {
    pub(super) calls: Bag,
    /// Whether it came to its end.
    pub(super) finished: bool,
}

/// Both sides in full.
pub(super) struct Calls<'a> {
    /// What the log holds in the attempt.
    pub(super) logged: &'a Bag,
    /// What the code does; `None` if that is not known.
    pub(super) rehearsed: Option<&'a Rehearsed>,
    /// Whether this program has a trace or task of a name.
    pub(super) is_known: &'a dyn Fn(&str) -> bool,
}

impl Calls<'_> {
    /// Whether the log holds the code's call somewhere more often than the code would without this one.
    fn is_logged(&self, call: &CallSite) -> bool {
        let logged = count(self.logged, call);
        match self.rehearsed {
            Some(rehearsed) => logged >= count(&rehearsed.calls, call).max(1),
            None => logged > u64::from(call.occurrence),
        }
    }

    /// Whether the code makes the log's call, too; `None` if it does not come so far.
    fn is_made(&self, call: &CallSite) -> Option<bool> {
        let rehearsed = self.rehearsed?;
        if count(&rehearsed.calls, call) >= count(self.logged, call) {
            return Some(true);
        }
        rehearsed.finished.then_some(false)
    }
}

fn count(bag: &Bag, call: &CallSite) -> u64 {
    bag.get(&(call.name.clone(), call.input_hash)).copied().unwrap_or(0)
}

/// Names what differs, and the first argument that does.
pub(super) fn change(divergence: &Divergence, calls: &Calls<'_>) -> (Change, Option<Difference>) {
    let change = match (&divergence.logged, &divergence.called) {
        (Some(Side::Drop(_)), _) | (_, Some(Side::Drop(_))) => Change::Dropped,
        (Some(Side::Call(logged)), Some(Side::Call(called))) => return between(logged, called, calls),
        (_, Some(Side::Call(called))) => {
            if calls.is_logged(called) {
                Change::Reordered
            } else {
                Change::Added
            }
        }
        (Some(Side::Call(logged)), Some(Side::Finished(_))) => match &divergence.outcomes.called {
            Some(TaskOutcome::Ok(_)) if calls.is_made(logged) != Some(true) => Change::Removed,
            _ => Change::Ends,
        },
        (_, Some(Side::Finished(_))) => Change::Ends,
        (Some(Side::Call(logged)), _) if !divergence.is_stuck => match calls.is_made(logged) {
            Some(true) => Change::Reordered,
            Some(false) | None => Change::Removed,
        },
        _ => Change::Waits,
    };
    (change, None)
}

/// Two calls, one in the place of the other.
fn between(logged: &CallSite, called: &CallSite, calls: &Calls<'_>) -> (Change, Option<Difference>) {
    let is_made = calls.is_made(logged);
    if calls.is_logged(called) {
        let change = if is_made == Some(false) { Change::Removed } else { Change::Reordered };
        return (change, None);
    }
    if logged.name == called.name {
        let difference = logged.input.differences(&called.input, 1).pop();
        let is_same_type = difference.as_ref().is_none_or(|difference| match (&difference.old, &difference.new) {
            (Some(old), Some(new)) => kind(old) == kind(new) || *old == Value::Null || *new == Value::Null,
            _ => false,
        });
        return match is_made {
            // Both are called, and one of them is new.
            Some(true) => (Change::Added, difference),
            _ if is_same_type => (Change::Argument, difference),
            _ => (Change::ArgumentType, difference),
        };
    }
    let is_same_input = logged.input.first_difference(&called.input).is_none();
    let change = match is_made {
        Some(true) => Change::Added,
        _ if (calls.is_known)(&logged.name) && is_made.is_none() => Change::Added,
        _ if is_same_input && !(calls.is_known)(&logged.name) => Change::Renamed,
        _ => Change::Replaced,
    };
    (change, None)
}

/// A type as a log knows it: integers have no width.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Negative(_) | Value::Unsigned(_) => 2,
        Value::Float(_) => 3,
        Value::Text(_) => 4,
        Value::Bytes(_) => 5,
        Value::List(_) => 6,
        Value::Map(_) => 7,
    }
}
