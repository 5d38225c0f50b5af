//! A call of a `#[task]` function.
//!
//! Made by the macro's expansion; given to an engine, which finds, joins or starts its run.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use relive_engine::canonical::{canonical, canonical_without};
use relive_engine::definition::{TaskDefinition, as_trace};
use relive_engine::engine::Request;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::ErrorRecord;
use relive_engine::panic::catch;
use relive_engine::payload::{Encoding, Payload, PayloadError};
use relive_engine::run::{Arguments, BoxedFuture, CallWork, ChildCall, TraceCall, current_encoding};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::recorded::encoded;
use crate::trace::{Trace, place};

/// A call of a `#[task]` function: inert until it is given to [`Engine::run`](crate::Engine::run) or
/// [`Engine::start`](crate::Engine::start).
///
/// In another task's body it is a future: awaiting it runs the task as a child, a run of its own. Its result is the
/// child's, its failure the child's error; it is cancelled when its parent is, or drops it, unless somebody else waits for
/// it, too.
#[must_use = "a task does nothing until it is given to an engine, or awaited in another task"]
pub struct Call<T, E> {
    definition: &'static TaskDefinition,
    /// In memory, until an engine says how it is to be written; and its canonical form.
    input: Result<(Payload, Vec<u8>), PayloadError>,
    rewrite: fn(&Payload, &Encoding) -> Result<Payload, PayloadError>,
    id: Option<String>,
    tags: Vec<(String, String)>,
    location: &'static Location<'static>,
    /// The child that it is, once it is polled.
    child: Option<Trace<T, E>>,
    refresh: bool,
    cached: bool,
    result: PhantomData<fn() -> Result<T, E>>,
}

/// Longest id of a run that a caller may choose: 512 bytes, as it is a key.
pub const ID_BYTES_MAX: usize = 512;

impl<T, E> std::fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("task", &self.definition.name).field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T, E> Call<T, E> {
    /// Names the run, and asks for one: a call with an id that names none yet runs, also if an equal call is under way or the
    /// cache holds its result (unless it is [`cached`](Self::cached)). What it finds is cached for calls without an id.
    ///
    /// The same call under the same id gets the same outcome for as long as the run is kept, also a failure; another call
    /// under it is an error. 1 to 512 bytes.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Lets a call with an [`id`](Self::id) join an equal call, or get a cached result, as one without an id does. Then the id
    /// names the run that is joined, or one that is written to say from which run the result is. The call is not run again,
    /// nor are its effects.
    pub fn cached(mut self) -> Self {
        self.cached = true;
        self
    }

    /// Runs the call also if the cache holds its result; what it finds replaces that.
    ///
    /// If an equal call is under way that was itself started by a refresh, it is joined; any other may have begun too long
    /// ago, so this runs beside it, and the result of that one is not cached. Equal calls that come later join this run.
    /// Where an id names a run already, that run is the answer all the same; a new id joins no refresh.
    pub fn refresh(mut self) -> Self {
        self.refresh = true;
        self
    }

    /// A name and a value to find the run by. Of two values for one name the last counts. At most 256 bytes each.
    ///
    /// No tag is dropped: if the call joins another run, or its id names one, that run is found by the tag from then on; if the
    /// cache answers the call, a run is written that has the tag and says from which run the result is.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.tags.retain(|(other, _)| *other != name);
        self.tags.push((name, value.into()));
        self
    }

    /// The task's name on record.
    #[cfg(feature = "testing")]
    pub(crate) fn task_name(&self) -> &'static str {
        self.definition.name
    }

    /// The call as an engine takes it, whose payloads are written like this where the task says nothing else.
    pub(crate) fn into_request(self, encoding: &Encoding) -> Result<Request, Error>
    where
        T: DeserializeOwned,
    {
        let name = self.definition.name;
        let encoding = encoding.clone().with_codec(self.definition.policy.codec);
        let written =
            self.input.and_then(|(input, canonical)| Ok((rewritten(input, &encoding, self.rewrite)?, canonical)));
        let (input, canonical) = written.map_err(|error| {
            Error::new(ErrorKind::Payload, format!("the arguments of task {name} cannot be recorded: {error}"))
        })?;
        if let Some(id) = &self.id
            && !(1..=ID_BYTES_MAX).contains(&id.len())
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the id of a run of task {name} has {} bytes: 1 to {ID_BYTES_MAX} are possible", id.len()),
            ));
        }
        if let Some((tag, _)) = self.tags.iter().find(|(tag, value)| tag.len().max(value.len()) > TAG_BYTES_MAX) {
            let why = format!("tag `{tag}` of a run of task {name} is longer than {TAG_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let readable = |payload: &Payload| payload.decode::<T>().is_ok();
        Ok(Request {
            definition: self.definition,
            input,
            canonical: canonical.into(),
            id: self.id,
            tags: self.tags,
            child: None,
            refresh: self.refresh,
            cached: self.cached,
            readable,
        })
    }
}

/// Longest name or value of a tag: 256 bytes, as it is part of a key.
pub const TAG_BYTES_MAX: usize = 256;

impl<T: DeserializeOwned, E: From<Error>> Future for Call<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.child.is_none() {
            if relive_engine::run::clock_and_entropy().is_err() {
                let (name, location) = (this.definition.name, this.location);
                let why = format!(
                    "{location}: task {name} is awaited outside a task: give the call to engine.run or engine.start"
                );
                return Poll::Ready(Err(Error::new(ErrorKind::OutsideTask, why).into()));
            }
            let definition = as_trace(this.definition);
            let call = Call {
                definition: this.definition,
                input: this.input.clone(),
                rewrite: this.rewrite,
                id: this.id.take(),
                tags: std::mem::take(&mut this.tags),
                refresh: this.refresh,
                cached: this.cached,
                location: this.location,
                child: None,
                result: PhantomData,
            };
            let request = match Call::<T, E>::into_request(call, &current_encoding()) {
                Ok(request) => request,
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            let arguments = Ok(Arguments::encoded(request.input.clone(), &request.canonical));
            let (file, line) = place(definition, this.location);
            let work = CallWork::Child(Box::new(ChildCall { request }));
            this.child = Some(Trace::new(TraceCall { definition, arguments, file, line, work }));
        }
        match &mut this.child {
            Some(child) => Pin::new(child).poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Makes a task's call. Called by the macro's expansion.
#[doc(hidden)]
#[track_caller]
pub fn call<T, E, I>(definition: &'static TaskDefinition, input: &I) -> Call<T, E>
where
    I: Serialize + DeserializeOwned,
    E: From<Error>,
{
    // The form first, which measures how deep the arguments nest.
    let input = canonical(input).and_then(|form| Ok((Payload::readable(&Encoding::IN_MEMORY, input)?, form)));
    let rewrite = |payload: &Payload, encoding: &Encoding| Payload::readable(encoding, &payload.decode::<I>()?);
    Call {
        definition,
        input,
        rewrite,
        id: None,
        tags: Vec::new(),
        refresh: false,
        cached: false,
        location: Location::caller(),
        child: None,
        result: PhantomData,
    }
}

/// An input that is in memory, written as an engine wants it. Nothing to do in the usual case.
fn rewritten(
    input: Payload,
    encoding: &Encoding,
    rewrite: fn(&Payload, &Encoding) -> Result<Payload, PayloadError>,
) -> Result<Payload, PayloadError> {
    let as_it_is = encoding.codec() == input.codec() && encoding.hook().is_none();
    if as_it_is && input.bytes().len() <= encoding.bytes_max() {
        return Ok(input);
    }
    catch(|| rewrite(&input, encoding)).unwrap_or_else(|why| Err(PayloadError::panicked("read back", &why)))
}

/// The canonical form of a recorded input, without the arguments of these names. Called by the macro's expansion.
///
/// # Errors
/// If the payload cannot be read as an input of this type.
#[doc(hidden)]
pub fn canonical_input<I: Serialize + DeserializeOwned>(
    payload: &Payload,
    without: &[&str],
) -> Result<Vec<u8>, PayloadError> {
    canonical_without(&payload.decode::<I>()?, without)
}

/// The body for a recorded input. Called by the macro's expansion.
///
/// # Errors
/// If the payload cannot be read as an input of this type.
#[doc(hidden)]
pub fn task_body<I, T, F>(payload: &Payload, body: impl FnOnce(I) -> F) -> Result<BoxedFuture, PayloadError>
where
    I: DeserializeOwned,
    T: Serialize + DeserializeOwned + 'static,
    F: Future<Output = Result<T, ErrorRecord>> + Send + 'static,
{
    let future = body(payload.decode()?);
    // The result is written as the input was.
    let codec = Some(payload.codec());
    Ok(Box::pin(async move { encoded("the task", codec, future.await) }))
}
