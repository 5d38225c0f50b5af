//! Directs a run: whenever all of it rests, decides what happens next.
//!
//! That all rests is known by tokio's own paused time, which passes only then. What can happen next is that an effect's
//! outcome is handed over, that a signal comes, or that time passes until the first who sleeps is due.
//!
//! Invariant: which it is depends on the script and on what the run waits for, and on nothing else; so a run that was
//! interrupted goes on in the order that it would have had.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;
use relive_engine::payload::Payload;

use super::clock::VirtualClock;
use super::flow::{self, Wait};
use super::life::Done;
use super::memory::{Scope, drawn};
use super::stage::Stage;
use crate::engine::Engine;

/// In which order what can happen happens.
#[derive(Clone, Debug, Default)]
pub(crate) enum Order {
    /// What effects found, in an order that the case's seed draws; then signals; then time passes.
    #[default]
    Natural,
    /// These calls in this order, then the others.
    Ranked(BTreeMap<Scope, usize>),
    /// Anything before anything else, as this seed draws it.
    Wild(u64),
    /// As naturally, but this call takes longer than whatever waits for a time.
    Late(Scope),
}

/// How often time may pass for one call that is late: a task that sleeps in a loop would never get it.
const LATE_MAX: u32 = 32;

/// How often real time is waited for, 20 ms each: 5 s together, for effects that really wait for somebody.
const REAL_WAITS_MAX: u32 = 250;

/// So many things happen in one life: 100,000, far beyond what a task of a test does; one that does more never ends.
const DECISIONS_MAX: usize = 100_000;

/// What really passes before a thing is handed over slowly: longer than code takes that looks how long it took.
const SLOWLY: Duration = Duration::from_millis(30);

/// So many things are handed over slowly.
const SLOW_MAX: usize = 4;

/// Directs one life.
pub(crate) struct Director<'a> {
    engine: &'a Engine,
    stage: &'a Stage,
    clock: &'a VirtualClock,
    order: &'a Order,
    seed: u64,
    signals: Vec<(String, Payload)>,
    done: Done,
    run: Option<RunId>,
    decision_count: usize,
    contended: BTreeSet<Scope>,
    late_count: u32,
    has_cancelled: bool,
    has_waited: bool,
    gone_on: bool,
}

/// What can happen next.
enum Next {
    Release(Scope),
    Signal,
    Time,
}

impl<'a> Director<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        stage: &'a Stage,
        clock: &'a VirtualClock,
        order: &'a Order,
        seed: u64,
        mut signals: Vec<(String, Payload)>,
        done: Done,
    ) -> Self {
        signals.reverse();
        Self {
            engine,
            stage,
            clock,
            order,
            seed,
            signals,
            done,
            run: None,
            decision_count: 0,
            contended: BTreeSet::new(),
            late_count: 0,
            has_cancelled: false,
            has_waited: false,
            gone_on: false,
        }
    }

    /// Signals and cancellations are for this run.
    pub(crate) fn of(&mut self, run: RunId) {
        self.run = Some(run);
    }

    pub(crate) fn decision_count(&self) -> usize {
        self.decision_count
    }

    pub(crate) fn contended(&self) -> Vec<Scope> {
        self.contended.iter().copied().collect()
    }

    /// Whether effects took their time.
    pub(crate) fn has_waited(&self) -> bool {
        self.has_waited
    }

    pub(crate) fn has_cancelled(&self) -> bool {
        self.has_cancelled
    }

    /// The run is resumed: it is not cancelled again.
    pub(crate) fn go_on(&mut self) {
        self.gone_on = true;
    }

    /// Directs for ever. Returns only if nothing can ever happen any more, and says what is waited for.
    pub(crate) async fn direct(&mut self) -> Error {
        let (mut wait, mut progress, mut real_waits) = (Wait::default(), self.stage.progress(), 0);
        loop {
            flow::rest().await;
            let now = self.stage.progress();
            self.has_waited |= !self.stage.running().is_empty();
            if now != progress {
                (wait, progress, real_waits) = (Wait::default(), now, 0);
            }
            if self.done.cancelled_at == Some(self.decision_count) && !self.has_cancelled && !self.gone_on {
                self.has_cancelled = true;
                if let Some(run) = self.run {
                    // A run that cannot be cancelled has ended, and its handle says so.
                    let _ = self.engine.cancel(run).await;
                    continue;
                }
            }
            let held = self.stage.held();
            if held.is_empty() && !self.stage.running().is_empty() && wait.passes(self.clock).await {
                // Something is under way for real: its time passes first.
                self.has_waited = true;
                continue;
            }
            match self.next(held) {
                Some(next) => {
                    self.decision_count += 1;
                    if self.decision_count > DECISIONS_MAX {
                        let why = format!(
                            "the task goes on for ever: {DECISIONS_MAX} things were handed over, and it has not ended"
                        );
                        return Error::new(ErrorKind::TimedOut, why);
                    }
                    if self.done.slowly && self.decision_count <= SLOW_MAX {
                        really_wait(SLOWLY).await;
                    }
                    if let Some(error) = self.happen(next).await {
                        return error;
                    }
                }
                None if !self.stage.running().is_empty() && real_waits < REAL_WAITS_MAX => {
                    real_waits += 1;
                    really_wait(Duration::from_millis(20)).await;
                }
                None => return self.hangs(),
            }
        }
    }

    async fn happen(&mut self, next: Next) -> Option<Error> {
        match next {
            Next::Release(scope) => self.stage.release(&scope),
            Next::Time => drop(self.clock.advance()),
            Next::Signal => {
                let (name, value) = self.signals.pop()?;
                let sent = self.engine.signal_payload(self.run?, &name, value).await;
                // A run that has ended wants no signal any more.
                return sent.err().filter(|error| !matches!(error.kind(), ErrorKind::Ended | ErrorKind::Closed));
            }
        }
        None
    }

    /// What happens next, of all that can.
    fn next(&mut self, mut held: Vec<Scope>) -> Option<Next> {
        if held.len() > 1 {
            self.contended.extend(&held);
        }
        let sleeper = self.clock.first();
        if let Order::Late(late) = self.order
            && held.contains(late)
            && self.late_count < LATE_MAX
            // Equal calls of two children have one scope.
            && (held.iter().any(|scope| scope != late) || sleeper.is_some() || !self.signals.is_empty())
        {
            held.retain(|scope| scope != late);
            self.late_count += u32::from(held.is_empty());
        }
        let first = held.iter().min_by_key(|scope| self.rank(scope)).copied();
        if let Order::Wild(seed) = self.order {
            let signal = self.signals.last().map(|(name, _)| drawn(*seed, &[0xff; 16], name.len() as u32));
            let time = sleeper.map(|scope| drawn(*seed, &scope, 1));
            let release = first.map(|scope| self.rank(&scope).1);
            let least = [signal, time, release].into_iter().flatten().min()?;
            return Some(match first {
                Some(scope) if release == Some(least) => Next::Release(scope),
                _ if signal == Some(least) => Next::Signal,
                _ => Next::Time,
            });
        }
        match first {
            Some(scope) => Some(Next::Release(scope)),
            None if !self.signals.is_empty() => Some(Next::Signal),
            None => sleeper.map(|_| Next::Time),
        }
    }

    fn rank(&self, scope: &Scope) -> (usize, u64) {
        match self.order {
            Order::Natural | Order::Late(_) => (0, drawn(self.seed, scope, 0)),
            Order::Ranked(ranks) => (ranks.get(scope).copied().unwrap_or(usize::MAX), drawn(self.seed, scope, 0)),
            Order::Wild(seed) => (0, drawn(*seed, scope, 0)),
        }
    }

    fn hangs(&self) -> Error {
        let under_way = self.stage.running().len();
        let why = if under_way > 0 {
            format!("{under_way} effects are under way and never end: stub them")
        } else {
            "it waits for a signal that nobody sends: give it by `signal(name, value)`".to_owned()
        };
        Error::new(ErrorKind::TimedOut, format!("the task waits for ever: {why}"))
    }
}

/// Waits for real time, in which nothing else happens on this thread. Tokio's paused time does not pass meanwhile.
pub(crate) async fn really_wait(span: Duration) {
    #[expect(clippy::disallowed_methods, reason = "what really waits for somebody needs real time")]
    let waited = tokio::task::spawn_blocking(move || std::thread::sleep(span)).await;
    drop(waited);
}
