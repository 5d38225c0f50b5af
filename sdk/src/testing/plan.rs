//! The points that can be explored of a case, the simplest first: what is done to the run, and where.
//!
//! Invariant: a point is made of what the uninterrupted run did, so none names what is not there.

use std::collections::BTreeMap;
use std::fmt;

use super::direct::Order;
use super::entropy;
use super::life::{Done, Lived, Script};
use super::memory::{Memory, Name, Scope};
use super::recorder::{Lost, Written};
use super::stage::Injected;

/// So many contended calls are tried in every order: 4, in 24.
const PERMUTED_MAX: usize = 4;

/// So many orders are drawn where there are more.
const DRAWN_ORDERS: u64 = 8;

/// What is done to a run.
#[derive(Clone)]
pub(crate) enum Variant {
    /// Nothing.
    Undisturbed,
    /// Real time passes between deliveries.
    Slowly,
    /// Calls end in this order.
    Ordered(Vec<(Scope, String)>),
    /// Things happen in an order that this seed draws.
    Drawn(u64),
    Failing(Scope, Name),
    Panicking(Scope, Name),
    Late(Scope, Name),
}

/// Where a run is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// The process dies after so many of the run's commits.
    After(usize),
    /// The run is cancelled when so many things were handed over, and resumed.
    Cancelled(usize),
    /// Nobody gets to know what became of this commit; the process goes down.
    Lost { commit: usize, survives: bool },
}

/// One point that is explored.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) variant: Variant,
    pub(crate) interruption: Option<Interruption>,
}

impl Variant {
    pub(crate) fn script(&self) -> Script {
        let (order, injected) = match self {
            Self::Undisturbed | Self::Slowly => (Order::Natural, None),
            Self::Ordered(calls) => {
                let ranks = calls.iter().enumerate().map(|(rank, (scope, _))| (*scope, rank));
                (Order::Ranked(ranks.collect()), None)
            }
            Self::Drawn(seed) => (Order::Wild(*seed), None),
            Self::Failing(scope, _) => (Order::Natural, Some((*scope, Injected::Failure))),
            Self::Panicking(scope, _) => (Order::Natural, Some((*scope, Injected::Panic))),
            Self::Late(scope, _) => (Order::Late(*scope), None),
        };
        Script { order, injected: injected.into_iter().collect::<BTreeMap<_, _>>(), ..Script::default() }
    }
}

/// Where the run's own commits begin among all writes, and how many there are.
pub(crate) fn commits(lived: &Lived) -> (usize, usize) {
    let is_own = |written: &Written| lived.run.is_some_and(|run| written.is_of(run));
    match lived.written.iter().position(is_own) {
        Some(first) => (first, lived.written.len() - first),
        None => (lived.written.len(), 0),
    }
}

/// What is done to a life that a point interrupts, before it is taken up again.
pub(crate) fn done(interruption: Option<Interruption>, first: usize) -> Done {
    match interruption {
        Some(Interruption::Cancelled(at)) => Done { cancelled_at: Some(at), ..Done::default() },
        Some(Interruption::Lost { commit, survives }) => {
            Done { lost: Some(Lost { at: first + commit, survives }), ..Done::default() }
        }
        _ => Done::default(),
    }
}

/// All interruptions of a run that made so many commits and deliveries.
pub(crate) fn interruptions(commit_count: usize) -> Vec<Point> {
    let after = (1..=commit_count).map(Interruption::After);
    after.map(|at| Point { variant: Variant::Undisturbed, interruption: Some(at) }).collect()
}

/// Everything else that can be explored of a case.
pub(crate) fn others(lived: &Lived, memory: &Memory, seed: u64) -> Vec<Point> {
    let (_, commit_count) = commits(lived);
    let at = |interruption| Point { variant: Variant::Undisturbed, interruption: Some(interruption) };
    let mut points: Vec<_> = (0..lived.decision_count).map(|decision| at(Interruption::Cancelled(decision))).collect();
    let lost =
        (1..commit_count).flat_map(|commit| [false, true].map(|survives| Interruption::Lost { commit, survives }));
    points.extend(lost.map(at));
    let of = |variant| Point { variant, interruption: None };
    points.extend(orders(lived, memory, seed).into_iter().map(of));
    for (scope, name) in memory.calls() {
        // What comes with Relive does not fail.
        if name.trace.starts_with("relive::") {
            continue;
        }
        points.push(of(Variant::Failing(scope, name.clone())));
        points.push(of(Variant::Panicking(scope, name.clone())));
        points.push(of(Variant::Late(scope, name)));
    }
    points
}

fn orders(lived: &Lived, memory: &Memory, seed: u64) -> Vec<Variant> {
    let calls: Vec<_> = lived
        .contended
        .iter()
        .map(|scope| (*scope, memory.name(scope).map_or_else(String::new, |name| name.to_string())))
        .collect();
    let mut orders = Vec::new();
    if (2..=PERMUTED_MAX).contains(&calls.len()) {
        permutations(&calls, &mut Vec::new(), &mut orders);
    }
    let drawn = if calls.len() > PERMUTED_MAX { DRAWN_ORDERS } else { DRAWN_ORDERS / 4 };
    if lived.decision_count > 1 {
        let mut state = seed;
        orders.extend((0..drawn).map(|_| Variant::Drawn(entropy::next(&mut state))));
    }
    orders
}

fn permutations(calls: &[(Scope, String)], chosen: &mut Vec<usize>, into: &mut Vec<Variant>) {
    if chosen.len() == calls.len() {
        into.push(Variant::Ordered(chosen.iter().map(|index| calls[*index].clone()).collect()));
        return;
    }
    for index in 0..calls.len() {
        if !chosen.contains(&index) {
            chosen.push(index);
            permutations(calls, chosen, into);
            chosen.pop();
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match &self.variant {
            Variant::Undisturbed => {}
            Variant::Slowly => parts.push("real time passes between what is handed over".to_owned()),
            Variant::Ordered(calls) => {
                let calls: Vec<_> = calls.iter().map(|(_, call)| call.as_str()).collect();
                parts.push(format!("ended in this order: {}", calls.join(", then ")));
            }
            Variant::Drawn(seed) => parts.push(format!("ended in an order that {seed:#x} draws")),
            Variant::Failing(_, name) => parts.push(format!("{name} made to fail")),
            Variant::Panicking(_, name) => parts.push(format!("{name} made to panic")),
            Variant::Late(_, name) => parts.push(format!("{name} made to take longer than all that waits for a time")),
        }
        match self.interruption {
            None => {}
            Some(Interruption::After(count)) => parts.push(format!("interrupted after commit {count}, and resumed")),
            Some(Interruption::Cancelled(at)) => {
                parts.push(format!("cancelled when {at} things were handed over, and resumed"));
            }
            Some(Interruption::Lost { commit, survives }) => {
                let became = if survives { "was made, but" } else { "was not made, and" };
                parts.push(format!("commit {} {became} nobody got to know, and resumed", commit + 1));
            }
        }
        if parts.is_empty() {
            return f.write_str("run from the beginning, and replayed");
        }
        f.write_str(&parts.join("; "))
    }
}
