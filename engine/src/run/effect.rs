//! An effect and its tries: timeouts, retries and the waits between them, in one future.
//!
//! Made when a trace is called; polled by the run's loop, or by the effect that called the trace.
//!
//! Invariants: a failed try is in the log, durably, before the next one begins; no try begins while a blocking one before it
//! is still on its thread.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tracing::{Instrument, Span};

use relive_storage::planted::{Planted, planted};

use crate::definition::{RetryPolicy, TraceDefinition};
use crate::error::{Error, ErrorKind};
use crate::event::{ErrorRecord, Event, TraceRetried};
use crate::execute;
use crate::id::{Sequence, Timestamp};
use crate::observe::spans;
use crate::panic::{Contained, catch, drop_quietly};

use super::context::{EffectContext, InContext};
use super::drive::until;
use super::linger::Lingering;
use super::rest::{Moment, Resting, Rests};
use super::shared::{BoxedFuture, Output};
use super::trace::micros;

/// A function for a thread of its own.
pub type Blocking = Box<dyn FnOnce() -> Output + Send>;

/// What a trace does.
pub enum Effect {
    /// Once.
    Once(BoxedFuture),
    /// Anew for every try.
    Again(Box<dyn FnMut() -> BoxedFuture + Send>),
    /// On a thread that may block, anew for every try.
    Blocking(Box<dyn FnMut() -> Blocking + Send>),
}

/// The future of an effect with all its tries.
pub(crate) fn whole(context: &Arc<EffectContext>, definition: &'static TraceDefinition, effect: Effect) -> BoxedFuture {
    let policy = &definition.policy;
    let is_plain = policy.retry.retries == 0 && policy.timeout.is_none() && policy.deadline.is_none() && !policy.spawn;
    match effect {
        Effect::Once(future) if is_plain => spans::only_try(future),
        effect => Box::pin(tries(Arc::clone(context), definition, effect)),
    }
}

/// The effect of a plain call outside a task: one try, and nothing is recorded.
pub(crate) fn outside(definition: &'static TraceDefinition, effect: Effect) -> BoxedFuture {
    match effect {
        Effect::Once(future) => future,
        Effect::Again(mut make) => make(),
        Effect::Blocking(mut make) => {
            let run = make();
            let name = definition.name;
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => execute::spawn_blocking(&runtime, move || unpanicked(name, run).unwrap_or_else(Err)),
                Err(_) => Box::pin(async move { run() }),
            }
        }
    }
}

/// The outcome of a trace that must not begin again.
pub(crate) fn interrupted(name: &str) -> ErrorRecord {
    ErrorRecord::new(
        ErrorKind::Interrupted,
        format!(
            "trace {name} had begun and how it ended is not known; it is at_most_once, so it is not begun again: look what \
             became of it"
        ),
    )
}

async fn tries(context: Arc<EffectContext>, definition: &'static TraceDefinition, effect: Effect) -> Output {
    // It holds the arguments, whose destructors are not what the effect found.
    let mut effect = Contained::new(effect);
    let policy = &definition.policy;
    let clock = Arc::clone(&context.shared.environment.clock);
    let deadline =
        policy.deadline.map(|deadline| clock.elapsed().saturating_add(left(&context, context.called_at, deadline)));
    let deadline_moment = policy.deadline.zip(deadline).map(|(span, deadline)| {
        Moment::new(Timestamp(context.called_at.0.saturating_add_unsigned(micros(span))), deadline)
    });
    let before = context.shared.state.lock().replay.tries(context.sequence);
    let mut count = 0;
    if let Some(before) = before {
        count = before.count;
        let (now, elapsed) = context.shared.moment(context.sequence);
        let due = elapsed.saturating_add(until(now, before.due));
        let rests = Resting { due: Moment::new(before.due, due), deadline: deadline_moment };
        resting(&context, rests, clock.sleep_until(due)).await;
    }
    let (blocking, run) = (Arc::new(Lingering::default()), context.shared.run);
    loop {
        if blocking.is_any(run) {
            waiting(&context, blocking.none(run)).await;
        }
        if context.shared.mailbox.is_stopping() {
            return never(&context).await;
        }
        let (started_at, since) = (clock.now(), clock.elapsed());
        if deadline.is_some_and(|deadline| since >= deadline) {
            // It came to its end while the process was down.
            return Err(out_of_time(definition.name, policy.deadline, None));
        }
        context.begin_try();
        count = count.saturating_add(1);
        context.tries.store(count, Ordering::Relaxed);
        let span = spans::attempted(count);
        let Some(tried) = effect.get_mut() else { return never(&context).await };
        let this = one(&context, definition, tried, &blocking, &span);
        let Some(output) = in_time(&context, definition, this, deadline).await else {
            return Err(out_of_time(definition.name, policy.deadline, None));
        };
        spans::try_ended(&span, &output);
        drop(span);
        let record = match output {
            Err(record) if count <= policy.retry.retries && !record.terminal => record,
            output => return output,
        };
        let wait = wait_before(&policy.retry, count, context.shared.environment.entropy.as_ref());
        // As it is recorded.
        let wait = Duration::from_micros(micros(wait));
        let due_elapsed = clock.elapsed().saturating_add(wait);
        if deadline.is_some_and(|deadline| due_elapsed >= deadline) {
            return Err(out_of_time(definition.name, policy.deadline, Some(record)));
        }
        let due = Timestamp(clock.now().0.saturating_add_unsigned(micros(wait)));
        context.is_tried_again((due, wait), &record);
        let retried = TraceRetried {
            trace: context.sequence,
            tries: count,
            error: record,
            due,
            started_at,
            duration_micros: micros(clock.elapsed().saturating_sub(since)),
        };
        let appended = {
            let mut state = context.shared.state.lock();
            (!state.is_over).then(|| {
                state.replay.aside(Event::TraceRetried(retried));
                context.shared.append_aside(&mut state, context.is_inline)
            })
        };
        let end = match appended {
            None => return never(&context).await,
            Some(Ok(end)) => end,
            Some(Err(error)) => return lost(&context, error).await,
        };
        durable(&context, end).await;
        let rests = Resting { due: Moment::new(due, due_elapsed), deadline: deadline_moment };
        resting(&context, rests, clock.sleep_until(due_elapsed)).await;
    }
}

/// One try.
fn one(
    context: &Arc<EffectContext>,
    definition: &'static TraceDefinition,
    effect: &mut Effect,
    blocking: &Arc<Lingering>,
    span: &Span,
) -> BoxedFuture {
    let future = match effect {
        Effect::Once(future) => std::mem::replace(future, Box::pin(pending())),
        Effect::Again(make) => match made(definition.name, make) {
            Ok(future) => future,
            Err(record) => Box::pin(std::future::ready(Err(record))),
        },
        Effect::Blocking(make) => {
            let run = match made(definition.name, make) {
                Ok(run) => run,
                Err(record) => return Box::pin(std::future::ready(Err(record))),
            };
            let shared = &context.shared;
            let lingers = (blocking.begin(shared.run), shared.environment.lingering.begin(shared.run));
            let context = Arc::clone(context);
            let (name, span) = (definition.name, span.clone());
            return execute::spawn_blocking(&context.shared.environment.runtime.clone(), move || {
                let _lingers = lingers;
                let _entered = super::context::enter(super::context::Context::Effect(context));
                span.in_scope(|| unpanicked(name, run).unwrap_or_else(Err))
            });
        }
    };
    let caught = Caught { future, name: definition.name }.instrument(span.clone());
    if !definition.policy.spawn {
        return Box::pin(caught);
    }
    // Aborted, it still runs to its next await: no other try begins before.
    let shared = &context.shared;
    let lingers = (blocking.begin(shared.run), shared.environment.lingering.begin(shared.run));
    let future = InContext { context: Arc::clone(context), future: caught };
    execute::spawn_effect(&shared.environment.runtime, async move {
        let _lingers = lingers;
        future.await
    })
}

/// What a try is made of: the function itself has not begun, but its arguments were cloned.
fn made<T>(name: &str, make: impl FnOnce() -> T) -> Result<T, ErrorRecord> {
    catch(make).map_err(|why| {
        let message = format!("trace {name} could not be begun: an argument's Clone panicked: {why}");
        ErrorRecord::new(ErrorKind::Panicked, message)
    })
}

/// Catches a panic of user code as a recorded failure.
pub(crate) fn unpanicked<T>(name: &str, run: impl FnOnce() -> T) -> Result<T, ErrorRecord> {
    catch(run).map_err(|why| panicked(name, &why))
}

/// The record of a panic in a trace.
pub(crate) fn panicked(name: &str, why: &str) -> ErrorRecord {
    ErrorRecord::new(ErrorKind::Panicked, format!("trace {name} panicked: {why}"))
}

/// A try of user code: neither a panic of it nor one of its destructors goes further.
pub(super) struct Caught {
    pub(super) future: BoxedFuture,
    pub(super) name: &'static str,
}

impl Caught {
    fn drop_future(&mut self) {
        // Without an allocation: what takes its place has no size.
        drop_quietly(std::mem::replace(&mut self.future, Box::pin(pending())));
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        self.drop_future();
    }
}

impl Future for Caught {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Output> {
        let this = &mut *self;
        catch(|| this.future.as_mut().poll(cx)).unwrap_or_else(|why| {
            // What is left of it is of no use.
            this.drop_future();
            Poll::Ready(Err(panicked(this.name, &why)))
        })
    }
}

/// A try that ends in time, or an error that says that it did not. `None` if the time of all tries is over.
async fn in_time(
    context: &Arc<EffectContext>,
    definition: &'static TraceDefinition,
    mut this: BoxedFuture,
    deadline: Option<Duration>,
) -> Option<Output> {
    let clock = &context.shared.environment.clock;
    let policy = &definition.policy;
    let try_end = policy.timeout.map(|timeout| clock.elapsed().saturating_add(timeout));
    let Some(end) = try_end.into_iter().chain(deadline).min() else { return Some(this.await) };
    let mut alarm = clock.sleep_until(end);
    let output = poll_fn(|cx| match this.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
    })
    .await;
    if output.is_some() || deadline == Some(end) {
        return output;
    }
    let span = policy.timeout.unwrap_or_default();
    let message = format!("trace {} took longer than the {span:?} that a try may take", definition.name);
    Some(Err(ErrorRecord::new(ErrorKind::TimedOut, message)))
}

fn out_of_time(name: &str, deadline: Option<Duration>, last: Option<ErrorRecord>) -> ErrorRecord {
    let sources = last.map(|last| std::iter::once(last.message).chain(last.sources).collect()).unwrap_or_default();
    let message =
        format!("trace {name} took longer than the {:?} that all its tries may take", deadline.unwrap_or_default());
    ErrorRecord::new(ErrorKind::TimedOut, message).with_sources(sources)
}

/// What is left of a span that began at this moment: by the wall clock as far as other lives of the process go, as a call
/// that is replayed was made in one; from where this life took it up, by the clock that never jumps.
pub(crate) fn left(context: &EffectContext, from: Timestamp, span: Duration) -> Duration {
    let clock = &context.shared.environment.clock;
    let (taken_up, since) = if planted(Planted::WallClock) { (clock.now(), clock.elapsed()) } else { context.made_at };
    let before = Duration::from_micros(u64::try_from(taken_up.0.saturating_sub(from.0)).unwrap_or(0));
    span.saturating_sub(before).saturating_sub(clock.elapsed().saturating_sub(since))
}

/// The wait after so many tries.
pub(crate) fn wait_before(retry: &RetryPolicy, tries: u32, entropy: &dyn crate::entropy::Entropy) -> Duration {
    let exponent = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = retry.backoff.as_secs_f64() * retry.factor.max(1.0).powi(exponent);
    // A first wait that is longer than the default's longest is meant so.
    let longest = retry.backoff_max.max(retry.backoff);
    let max = longest.as_secs_f64();
    let seconds = if seconds.is_finite() { seconds.min(max) } else { max };
    let mut bytes = [0; 4];
    let part = if retry.jitter && entropy.fill(&mut bytes).is_ok() {
        0.5 + f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) / 2.0
    } else {
        1.0
    };
    Duration::try_from_secs_f64(seconds * part).unwrap_or(longest)
}

/// Waits for something that is no work of the effect's own: a time, a signal, a child. Frees the run's turn.
pub(crate) async fn waiting<F: Future>(context: &EffectContext, future: F) -> F::Output {
    let _waiting = Waiting::begin(context);
    future.await
}

/// As [`waiting`], for a time: the effect could as well be begun again then, as it is between two tries, or has no work at all.
pub(crate) async fn resting<F: Future>(context: &EffectContext, resting: Resting, future: F) -> F::Output {
    let _rests = Rests::begin(context, resting);
    waiting(context, future).await
}

/// Says that an effect waits, until it is dropped: also with a future that lost a race.
pub(super) struct Waiting<'a>(&'a EffectContext);

impl<'a> Waiting<'a> {
    /// Noted of the effect that the run's loop polls.
    pub(super) fn begin(mut context: &'a EffectContext) -> Self {
        while let Some(outer) = &context.outer {
            context = outer;
        }
        context.wait_count.fetch_add(1, Ordering::Relaxed);
        Self(context)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.wait_count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until everything before this position is durable. If it will not be, the run ends, and this with it.
pub(crate) async fn durable(context: &EffectContext, end: Sequence) {
    poll_fn(|cx| if context.shared.mailbox.is_durable(end.0, cx.waker()) { Poll::Ready(()) } else { Poll::Pending })
        .await;
    if context.shared.state.lock().is_over {
        // Its end may stand where the effect's events were to stand.
        waiting(context, pending::<()>()).await;
    }
}

/// The run is about to end: nothing more is to be begun.
async fn never(context: &EffectContext) -> Output {
    waiting(context, pending()).await
}

/// The log cannot be written: the run ends with this error, and the effect with the run.
pub(crate) async fn lost(context: &EffectContext, error: Error) -> Output {
    context.shared.fail(error);
    never(context).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No randomness is asked for.
    struct Undrawn;

    impl crate::entropy::Entropy for Undrawn {
        fn fill(&self, _bytes: &mut [u8]) -> std::result::Result<(), String> {
            unreachable!("without jitter")
        }
    }

    #[test]
    fn waits_grow_up_to_the_longest_and_a_long_first_one_stays() {
        let wait = |first, tries| {
            let backoff = Duration::from_secs(first);
            let retry = RetryPolicy { retries: 9, backoff, jitter: false, ..RetryPolicy::DEFAULT };
            wait_before(&retry, tries, &Undrawn).as_secs()
        };
        assert_eq!([1, 2, 3, 20].map(|tries| wait(1, tries)), [1, 2, 4, 300]);
        assert_eq!([1, 2, u32::MAX].map(|tries| wait(7200, tries)), [7200, 7200, 7200]);
    }
}
