//! Child runs: a task awaited in a task's body.
//!
//! The parent's `TraceStarted` fixes the child's run id; the effect finds that run, joins an equal one, or starts it, and
//! waits for its outcome.
//!
//! Invariant: a crash between any two steps finds the same run again.

use std::sync::Arc;

use crate::engine::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunId;

use super::context::EffectContext;
use super::effect;
use super::shared::{BoxedFuture, RunShared};

/// A call of a task in a task's body.
pub struct ChildCall {
    /// The call.
    pub request: Request,
}

/// An id for a run that may be started.
pub(super) fn new_id(shared: &RunShared) -> Result<RunId> {
    let environment = &shared.environment;
    let mut random = [0; 10];
    environment
        .entropy
        .fill(&mut random)
        .map_err(|why| Error::new(ErrorKind::Storage, format!("no randomness for a run's id: {why}")))?;
    Ok(RunId::new(environment.clock.now(), random))
}

/// Finds, joins or starts the child, and waits for it. `is_repeated`: an earlier attempt made the call.
pub(super) fn effect(context: Arc<EffectContext>, run: RunId, is_repeated: bool, call: ChildCall) -> BoxedFuture {
    Box::pin(async move {
        let Some(engine) = context.shared.engine.upgrade() else {
            return effect::waiting(&context, std::future::pending()).await;
        };
        let parent = context.shared.run;
        let attempt = context.shared.attempt;
        let outcome = effect::waiting(&context, engine.child(parent, attempt, run, is_repeated, call.request)).await;
        match outcome {
            Ok(output) => output,
            // The engine's own troubles are not the body's.
            Err(error) if error.kind() == ErrorKind::Closed => effect::waiting(&context, std::future::pending()).await,
            // What is wrong with the call is.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::IdTaken | ErrorKind::Payload | ErrorKind::Unsupported | ErrorKind::UnknownTask
                ) =>
            {
                Err(error.to_record())
            }
            Err(error) => effect::lost(&context, error).await,
        }
    })
}
