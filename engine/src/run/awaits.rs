//! An effect that waits for another run of its engine, by a handle: its own run's turn is free meanwhile.
//!
//! Otherwise runs that hold all turns could wait for runs that wait for one. Known only where the handle is awaited in the
//! effect itself, also on a thread or task that the engine gave it; a task that the effect spawns is nobody's.
//!
//! Invariant: a wait that closes a circle is an error, as it is between a task and its children.

use std::future::Future;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;

use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::execute;
use crate::id::RunId;

use super::context::{self, Context, EffectContext};
use super::effect::Waiting;

/// Waits for what becomes of a run. `run` is the one that is awaited, `engine` the one that runs it.
///
/// # Errors
/// Of kind `Cycle` if an effect of a run awaits it for which that run waits, or of which it is itself.
pub(crate) async fn by_handle<F: Future>(engine: &Weak<Inner>, run: RunId, future: F) -> Result<F::Output> {
    let effect = match context::current() {
        Some(Context::Effect(effect)) if effect.shared.engine.ptr_eq(engine) => effect,
        // Nobody's, a body's (which is a stranger's wait), or of another engine, whose turns are others.
        _ => return Ok(future.await),
    };
    let parent = effect.shared.run;
    let Some(inner) = engine.upgrade() else { return Ok(future.await) };
    let Some(_waits) = inner.wait_for(parent, run) else {
        return Err(Error::new(
            ErrorKind::Cycle,
            format!(
                "trace {} of run {parent} waits for run {run}, which waits for run {parent}: neither would end",
                effect.name
            ),
        )
        .terminal());
    };
    let turns = Arc::clone(&inner.turns);
    // It does not keep the engine.
    drop(inner);
    // In this order: the loop is told when the effect waits, and again when it waits no more.
    let lent = Lent::begin(&effect, turns);
    let _waiting = Waiting::begin(&effect);
    lent.tell_loop();
    Ok(future.await)
}

/// A turn that is lent while an effect waits, and is taken back when this is dropped.
enum Lent<'a> {
    /// The loop finds it out when it polls the effect.
    ByTheLoop(&'a EffectContext),
    /// The loop cannot: it waits itself for the effect, which runs in place.
    InPlace(&'a EffectContext, Arc<Semaphore>),
}

impl<'a> Lent<'a> {
    fn begin(effect: &'a Arc<EffectContext>, turns: Arc<Semaphore>) -> Self {
        if effect.is_inline {
            turns.add_permits(1);
            return Self::InPlace(effect, turns);
        }
        Self::ByTheLoop(effect)
    }

    /// Has the loop poll the effect that it knows, which may run on another thread.
    fn tell_loop(&self) {
        let Self::ByTheLoop(effect) = self else { return };
        let mut outermost = *effect;
        while let Some(outer) = &outermost.outer {
            outermost = outer;
        }
        let waker = {
            let state = effect.shared.state.lock();
            let slot = state.traces.values().find(|slot| std::ptr::eq(&*slot.context, outermost));
            slot.and_then(|slot| slot.waker.clone())
        };
        if let Some(waker) = waker {
            std::task::Wake::wake(waker);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        match self {
            Self::ByTheLoop(_) => self.tell_loop(),
            Self::InPlace(effect, turns) => {
                // At once if one is free; else when the next one is.
                if turns.forget_permits(1) == 0 {
                    execute::spawn_taking_back(&effect.shared.environment.runtime, Arc::clone(turns));
                }
            }
        }
    }
}
