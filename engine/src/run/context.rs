//! Which run the code on this thread belongs to, while it is polled.
//!
//! Set by the run's loop around each poll of the body and of an effect; read by traces and by what people call in them.
//!
//! Invariant: what is set is taken back when the poll ends, also by a panic.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{InputHash, RunId};

use super::shared::RunShared;

/// What is being polled on this thread.
#[derive(Clone)]
pub(crate) enum Context {
    /// A task's body.
    Body(Arc<RunShared>),
    /// A trace's effect.
    Effect(Arc<EffectContext>),
}

/// What an effect can ask for.
pub(crate) struct EffectContext {
    pub(crate) shared: Arc<RunShared>,
    pub(crate) name: std::borrow::Cow<'static, str>,
    pub(crate) input_hash: InputHash,
    pub(crate) occurrence: u32,
    pub(crate) idempotency_key: OnceLock<String>,
}

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// Takes a context back when dropped.
pub(crate) struct Entered(Option<Context>);

impl Drop for Entered {
    fn drop(&mut self) {
        let inner = CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), self.0.take()));
        // Dropped here, with the cell free: the last reference to a run may run user code.
        drop(inner);
    }
}

/// Sets the context of what this thread does until the guard is dropped.
pub(crate) fn enter(context: Context) -> Entered {
    Entered(CURRENT.with(|current| current.borrow_mut().replace(context)))
}

/// The context of what this thread does.
pub(crate) fn current() -> Option<Context> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Whether this run's body is being polled on this thread, and not an effect.
pub(crate) fn is_body_of(run: RunId) -> bool {
    CURRENT.with(|current| matches!(&*current.borrow(), Some(Context::Body(shared)) if shared.run == run))
}

/// A string that names the effect under way: the same on every try, replay and resume, and different for every other
/// trace. Pass it to the service that is called, and the effect happens once there too.
///
/// 32 hexadecimal digits, made of run, trace name, input hash and occurrence.
///
/// # Errors
/// Of kind `OutsideTask` if no trace's effect is under way on this thread.
pub fn idempotency_key() -> Result<String> {
    let Some(Context::Effect(effect)) = current() else {
        return Err(Error::new(
            ErrorKind::OutsideTask,
            "idempotency_key() names the trace whose effect calls it: call it inside a #[trace] function",
        ));
    };
    let key = effect.idempotency_key.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(effect.shared.run.as_bytes());
        hasher.update(&(effect.name.len() as u64).to_le_bytes());
        hasher.update(effect.name.as_bytes());
        hasher.update(effect.input_hash.as_bytes());
        hasher.update(&effect.occurrence.to_le_bytes());
        hasher.finalize().to_hex()[..32].to_owned()
    });
    Ok(key.clone())
}

/// What was given to the engine's builder under this type: a client, a pool, a configuration.
///
/// Works in a task's body and in a trace's effect. What it returns is not recorded: use it for effects, not to decide
/// what a task does.
///
/// # Errors
/// Of kind `NotProvided` if the builder was given none; of kind `OutsideTask` outside tasks and traces.
pub fn provided<T: Any + Send + Sync>() -> Result<Arc<T>> {
    let shared = match current() {
        Some(Context::Body(shared)) => shared,
        Some(Context::Effect(effect)) => Arc::clone(&effect.shared),
        None => {
            return Err(Error::new(
                ErrorKind::OutsideTask,
                "provided() takes from the engine that runs the task: call it inside a #[task] or #[trace] function",
            ));
        }
    };
    let found = shared.environment.provided.get(&TypeId::of::<T>()).cloned();
    found.and_then(|any| any.downcast().ok()).ok_or_else(|| {
        let name = std::any::type_name::<T>();
        Error::new(
            ErrorKind::NotProvided,
            format!("no {name} was provided: call Engine::builder().provide(…) with one"),
        )
    })
}
