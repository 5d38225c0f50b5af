//! What becomes of a call: a run under its id, a cached result, a run that is under way, or a new one.
//!
//! Called by `engine`; spawns new runs through `execute`.
//!
//! Invariants: a cached result is handed out only if all of its input that counts is equal and its version is today's; who
//! gives an id that names no run gets a run of its own, unless told otherwise; no tag of a call is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use relive_storage::{Operation, Outcome, Precondition, Write};

use crate::cache::Sought;
use crate::definition::{CacheMode, TaskDefinition};
use crate::engine::{Inner, Request};
use crate::error::{Error, ErrorKind, Result, payload_error, storage_error};
use crate::event::{Cause, Event, TaskCompleted, TaskOutcome, TaskStarted};
use crate::execute::unpanicked;
use crate::handle::{CellState, Handle, Held, RunCell, Target};
use crate::id::{RunId, Sequence};
use crate::index::{self, CacheRecord, IdRecord, RunRecord, Used};
use crate::log::LogWriter;
use crate::reserve::{Reserve, ReservedCall, Running};
use crate::run::{Plan, closed};

/// How often a start asks again when others decide at the same time: each time somebody got on.
const TRIES_MAX: u32 = 1_000;

impl Inner {
    /// See `Engine::start`.
    pub(crate) async fn start(self: &Arc<Self>, request: &Request) -> Result<Handle> {
        self.check_open()?;
        self.check_input(request)?;
        // Held until it is decided, so that what is found asleep is found again.
        let mut roused = Vec::new();
        for _ in 0..TRIES_MAX {
            if let Some(handle) = self.try_start(request, &mut roused).await? {
                if let (Target::Live(cell), None) = (&handle.target, request.child) {
                    self.root(cell).await?;
                }
                return Ok(handle);
            }
        }
        let name = request.definition.name;
        Err(Error::new(ErrorKind::IdTaken, format!("task {name}: others keep taking the same id: call again")))
    }

    /// A task is run from its recorded input, so that must be the input.
    pub(crate) fn check_input(&self, request: &Request) -> Result<()> {
        let name = request.definition.name;
        let read = unpanicked(|| (request.definition.canonical)(&request.input, &[]))
            .map_err(|error| payload_error(format!("the arguments of task {name} cannot be read back"), &error))?;
        if read == request.canonical {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Payload,
            format!(
                "the arguments of task {name} are not the same when they are read back: a field that is not serialized, or a \
                 HashSet, which has no order (use a BTreeSet, or wrap it by relive::unordered)"
            ),
        ))
    }

    /// `None` if somebody else decided at the same time: to be asked again.
    async fn try_start(self: &Arc<Self>, request: &Request, roused: &mut Vec<Held>) -> Result<Option<Handle>> {
        self.check_open()?;
        let _reserved = match &request.id {
            None => None,
            Some(id) => match self.reserve_id(id) {
                Ok(reserved) => Some(reserved),
                Err(other) => {
                    other.await;
                    return Ok(None);
                }
            },
        };
        if let Some(id) = &request.id
            && let Some(record) = index::read::<IdRecord>(self.store()?.as_ref(), index::IDS, id.as_bytes())?
        {
            let handle = match self.known_id(request, id, &record) {
                Ok(handle) => handle,
                Err(error) if error.kind() == ErrorKind::UnknownRun => return self.free_id(id, record.run).await,
                Err(error) => return Err(error),
            };
            if let Target::Live(cell) = &handle.target
                && cell.is_deleted().await
            {
                return Ok(None);
            }
            return match (&handle.target, request.child) {
                // Its call's own id leads there, too.
                (Target::Live(cell), Some((child, _))) if handle.run != child => {
                    self.join(request, cell.clone(), true).await
                }
                _ => {
                    let write = self.tags_of(handle.run, &request.tags)?;
                    let is_found = write.operations.is_empty() || self.applied(write).await?;
                    Ok(is_found.then_some(handle))
                }
            };
        }
        if !self.cache.is_for(request.definition) {
            return self.fresh(request, None, None).await;
        }
        let sought = self.sought(request)?;
        if request.is_apart() && !request.refresh {
            return self.fresh(request, Some(&sought), None).await;
        }
        let mut reserve = self.reserve_call(sought.call, request.refresh, true);
        if let Reserve::Asleep(runs) = reserve {
            let found = self.rouse_call(&sought.call, &runs)?;
            if !found.is_empty() {
                roused.extend(found);
                return Ok(None);
            }
            // Only the first bytes of their keys are the same.
            reserve = self.reserve_call(sought.call, request.refresh, false);
        }
        let reserved = match reserve {
            Reserve::Reserved(reserved) => reserved,
            Reserve::Asleep(_) => return Ok(None),
            // Another refresh, that is: this one is of its own.
            Reserve::Run(_) if request.is_apart() => return self.fresh(request, Some(&sought), None).await,
            Reserve::Run(running) => {
                if self.counted_of(&running)? == sought.counted {
                    let Some(cell) = self.hold(&running.cell) else {
                        self.release_call(&running.cell);
                        return Ok(None);
                    };
                    return self.join(request, cell, false).await;
                }
                // Another input with the same hash: run beside it, and joined by nobody.
                return self.fresh(request, Some(&sought), None).await;
            }
            Reserve::Deciding(other) => {
                other.await;
                return Ok(None);
            }
        };
        if let Some(previous) = &reserved.previous
            && self.counted_of(previous)? != sought.counted
        {
            drop(reserved);
            return self.fresh(request, Some(&sought), None).await;
        }
        let mut entry = None;
        if !request.refresh {
            entry = self.cached(request, &sought)?;
            if entry.is_none() && self.reread(request.definition).await {
                entry = self.cached(request, &sought)?;
            }
        }
        if let Some(entry) = entry {
            self.environment.metrics.cache_hits.increment(1);
            return self.from_cache(request, &sought, entry).await;
        }
        self.environment.metrics.cache_misses.increment(1);
        self.fresh(request, Some(&sought), Some(reserved)).await
    }

    /// The run that an id names, if the call is the same.
    pub(crate) fn known_id(&self, request: &Request, id: &str, record: &IdRecord) -> Result<Handle> {
        let taken = |what: &str| {
            Err(Error::new(ErrorKind::IdTaken, format!("id `{id}` names run {} of {what}: use another id", record.run)))
        };
        if record.task != request.definition.name {
            return taken(&format!("task {}", record.task));
        }
        let handle = self.handle(record.run)?;
        let known = match &handle.target {
            Target::Live(cell) => self.input_of(cell)?,
            Target::Done(_) => self.stored_input(record.run, request.definition)?,
        };
        if known != request.canonical {
            return taken("the same task with another input");
        }
        Ok(handle)
    }

    /// An id led to a run that is gone: it names nothing any more. To be asked again.
    async fn free_id(&self, id: &str, run: RunId) -> Result<Option<Handle>> {
        let store = self.store()?;
        let key = id.as_bytes().to_vec();
        let Some(value) = store.get(index::IDS, &key).map_err(storage_error)? else { return Ok(None) };
        if crate::inspect::run(store.as_ref(), run)?.is_some() {
            let why = format!("id `{id}` names run {run}, which is listed and has no log: verify the store");
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        let equals = Precondition::Equals { keyspace: index::IDS, key: key.clone(), value };
        let operations = vec![Operation::Delete { keyspace: index::IDS, key }];
        self.settings.committer.commit(Write { preconditions: vec![equals], operations }).await?;
        Ok(None)
    }

    /// The canonical form of a run's input.
    fn input_of(&self, cell: &RunCell) -> Result<Bytes> {
        if let Some(input) = cell.input.get() {
            return Ok(input.clone());
        }
        let Some(definition) = self.registry.task(&cell.task) else {
            return Err(Error::new(
                ErrorKind::UnknownTask,
                format!("run {}: task {} is not linked in", cell.run, cell.task),
            ));
        };
        let input = self.stored_input(cell.run, definition)?;
        Ok(cell.input.get_or_init(|| input).clone())
    }

    /// The canonical form of the part of a run's input that counts.
    pub(crate) fn counted_of(&self, running: &Running) -> Result<Bytes> {
        if let Some(counted) = &running.counted {
            return Ok(counted.clone());
        }
        let cell = &running.cell;
        let whole = self.input_of(cell)?;
        match self.registry.task(&cell.task) {
            Some(definition) if !definition.cache.ignored.is_empty() => {
                let started = crate::recover::first_event(self.store()?, cell.run)?;
                definition.counted_of(&started.input).map_err(|error| {
                    payload_error(format!("run {}: the input of task {} cannot be read", cell.run, cell.task), &error)
                })
            }
            _ => Ok(whole),
        }
    }

    fn stored_input(&self, run: RunId, definition: &TaskDefinition) -> Result<Bytes> {
        let started = crate::recover::first_event(self.store()?, run)?;
        let canonical = unpanicked(|| (definition.canonical)(&started.input, &[])).map_err(|error| {
            crate::error::payload_error(
                format!("run {run}: the input of task {} cannot be read", definition.name),
                &error,
            )
        })?;
        Ok(canonical.into())
    }

    /// A handle on a cached result. Under an id, or with tags, a run is written that says where the result is from.
    async fn from_cache(
        self: &Arc<Self>,
        request: &Request,
        sought: &Sought,
        entry: CacheRecord,
    ) -> Result<Option<Handle>> {
        if request.child.is_some() {
            self.warn_of_sharing(request.definition, entry.run, Some(&entry.uses));
        }
        let outcome = TaskOutcome::Ok(entry.result);
        if request.id.is_none() && request.child.is_none() && request.tags.is_empty() {
            return Ok(Some(Handle { run: entry.run, target: Target::Done(Arc::new(outcome)) }));
        }
        let plan = self.plan(request, Some(sought))?;
        let at = plan.started_at;
        let completed = TaskCompleted {
            outcome: outcome.clone(),
            imposed: true,
            code: request.definition.code,
            retry_at: None,
            at,
        };
        let started = self.started(request, &plan, Cause::CachedFrom { run: entry.run });
        let mut writer = LogWriter::new(plan.run, self.settings.epoch);
        let events = vec![Event::TaskStarted(started.clone()), Event::TaskCompleted(completed.clone())];
        let mut write = plan.beginning(&started, Sequence(0))?;
        write.operations.extend(plan.completion(&completed, None)?);
        write.operations.extend(writer.append(Sequence(0), events, true)?.0);
        let applied = self.applied(write).await?;
        Ok(applied.then(|| Handle { run: plan.run, target: Target::Done(Arc::new(outcome)) }))
    }

    /// A handle on a run of the same call that is under way. An id names it from now on, too, if it does not yet, and it is
    /// found by the call's tags.
    async fn join(self: &Arc<Self>, request: &Request, cell: Held, is_named: bool) -> Result<Option<Handle>> {
        let call = request.child.map(|(child, parent)| (child, parent.run));
        if !cell.hold(call) {
            // It is being cancelled.
            drop(cell.ended().await);
            return Ok(None);
        }
        match cell.started().await {
            Ok(()) => {}
            // It never began: another run under its id did.
            Err(error) if error.kind() == ErrorKind::IdTaken => return Ok(None),
            Err(error) => return Err(error),
        }
        let id = request.id.as_ref().filter(|_| !is_named).map(|id| id.as_bytes().to_vec());
        let keys: Vec<_> = id.iter().cloned().chain(call.map(|(child, _)| index::child_key(child))).collect();
        if call.is_some() {
            self.warn_of_sharing(request.definition, cell.run, None);
        }
        if !keys.is_empty() || !request.tags.is_empty() {
            let mut plan = self.plan(request, None)?;
            plan.run = cell.run;
            let mut write = self.tags_of(cell.run, &request.tags)?;
            for key in keys {
                let (absent, put) = plan.claim_key(key)?;
                write.preconditions.push(absent);
                write.operations.push(put);
            }
            if let Some(id) = id {
                // So that the id goes when the run goes.
                write.operations.push(index::put(index::IDS, index::joined_key(cell.run, &id), &cell.run)?);
            }
            if let Some((child, parent)) = call {
                write.operations.push(index::put(index::IDS, index::holder_key(cell.run, Some(child)), &parent)?);
            }
            if !self.applied(write).await? {
                return Ok(None);
            }
        }
        Ok(Some(Handle { run: cell.run, target: Target::Live(cell) }))
    }

    /// The changes after which a run is found by these tags, too, that a call gave which it answers. They go with it.
    ///
    /// The log, and so the run's record, stays as it is: these tags are not how the run was begun.
    fn tags_of(&self, run: RunId, tags: &[(String, String)]) -> Result<Write> {
        let mut write = Write::default();
        if tags.is_empty() {
            return Ok(write);
        }
        let (store, key) = (self.store()?, index::run_key(run));
        let Some(value) = store.get(index::RUNS, &key).map_err(storage_error)? else {
            return Err(Error::new(ErrorKind::UnknownRun, format!("run {run} was deleted meanwhile: call again")));
        };
        let record: RunRecord = index::open(index::RUNS, &key, &value)?;
        for (name, value) in tags.iter().filter(|tag| !record.tags.contains(tag)) {
            let joined = index::joined_tag_key(run, name, value);
            if store.get(index::IDS, &joined).map_err(storage_error)?.is_none() {
                write.operations.push(index::put(index::IDS, joined, &run)?);
                write.operations.push(index::tag(run, name, value)?);
            }
        }
        if !write.operations.is_empty() {
            // Not one that is being deleted.
            write.preconditions.push(Precondition::Equals { keyspace: index::RUNS, key, value });
        }
        Ok(write)
    }

    /// A task was called, and did not run for it: said once for each that did not say that this is meant, and may have
    /// effects.
    fn warn_of_sharing(&self, definition: &TaskDefinition, from: RunId, uses: Option<&[Used]>) {
        let is_pure = |used: &Used| {
            used.is_task
                || used.name.starts_with("relive::")
                || self.registry.trace(&used.name).is_some_and(|trace| trace.policy.pure)
        };
        let has_effects = uses.is_none_or(|uses| !uses.iter().all(is_pure));
        if definition.cache.mode == CacheMode::Unsaid && has_effects && self.cache.is_first_shared(definition.name) {
            tracing::warn!(
                task = definition.name,
                %from,
                "a child task did not run, as an equal call's run answers for it, and so its effects were not repeated; write \
                 `cache = \"off\"` if each call is to have them, or `cache = \"auto\"` if this is meant. Said once for each task"
            );
        }
    }

    /// Whether a write was applied: an id that it claims may have been claimed meanwhile.
    async fn applied(&self, write: Write) -> Result<bool> {
        Ok(self.settings.committer.commit(write).await? == Outcome::Applied)
    }

    /// Starts a run.
    async fn fresh(
        self: &Arc<Self>,
        request: &Request,
        sought: Option<&Sought>,
        reserved: Option<ReservedCall>,
    ) -> Result<Option<Handle>> {
        let plan = self.plan(request, sought)?;
        let started = self.started(request, &plan, Cause::New);
        let cell = RunCell::new(plan.run, request.definition.name, CellState::Starting, &self.environment.metrics);
        let _ = cell.input.set(request.canonical.clone());
        cell.is_refresh.store(request.refresh, Ordering::Relaxed);
        let held = self.held(&cell);
        {
            let mut holders = cell.holders.lock();
            let call = request.child.map(|(child, parent)| (child, parent.run));
            (holders.rooted, holders.rooted_on_record) = (call.is_none(), call.is_none());
            holders.calls.extend(call);
        }
        let own_call = sought.filter(|_| request.is_apart()).map(|sought| sought.call);
        let key = reserved.as_ref().map(|reserved| reserved.key).or(own_call);
        let alive = {
            // Held while the run is entered, so that a shutdown at the same time finds it.
            let guard = self.alive.lock();
            let Some(alive) = guard.clone() else { return Err(closed(plan.run)) };
            self.runs.lock().insert(plan.run, Arc::clone(&cell));
            alive
        };
        if let (None, true, Some(sought)) = (&reserved, request.is_apart(), sought) {
            // Calls without an id join it, if there is no other that they join.
            let counted = Some(sought.counted.clone());
            let running = Running { cell: Arc::clone(&cell), counted, is_refresh: request.refresh };
            self.joinable_if_free(sought.call, running);
        }
        if let Some(reserved) = reserved {
            let counted = sought.map(|sought| sought.counted.clone());
            reserved.becomes(Running { cell: Arc::clone(&cell), counted, is_refresh: request.refresh });
        }
        let beginning = crate::execute::Beginning::Fresh(Box::new((plan, started)));
        crate::execute::spawn(self, &cell, beginning, key, alive);
        match cell.started().await {
            Ok(()) => Ok(Some(Handle { run: cell.run, target: Target::Live(held) })),
            // Refused: a start under the same id, whose caller went away, was faster.
            Err(error) if error.kind() == ErrorKind::IdTaken => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `sought` is `None` where nothing is cached.
    fn plan(&self, request: &Request, sought: Option<&Sought>) -> Result<Plan> {
        let started_at = self.environment.clock.now();
        let run = match request.child {
            Some((child, _)) => child,
            None => {
                let mut random = [0; 10];
                let why = |why| Error::new(ErrorKind::Storage, format!("no randomness for a run's id: {why}"));
                self.environment.entropy.fill(&mut random).map_err(why)?;
                RunId::new(started_at, random)
            }
        };
        Ok(Plan {
            run,
            definition: request.definition,
            code: request.definition.code,
            id: request.id.clone(),
            input: request.canonical.clone(),
            recorded: request.input.clone(),
            counted: sought.map_or([0; 32], |sought| sought.input_hash),
            call: sought.map(|sought| sought.call),
            cache: Arc::clone(&self.cache),
            started_at,
            series_started_at: started_at,
            attempt_started_at: started_at,
            made_at: (started_at, self.environment.clock.elapsed()),
            attempt: 1,
            attempt_at: Sequence(0),
            tries: 1,
            parent: request.child.map(|(_, parent)| parent),
            tags: request.tags.clone(),
        })
    }

    fn started(&self, request: &Request, plan: &Plan, cause: Cause) -> TaskStarted {
        TaskStarted {
            task: request.definition.name.into(),
            code: request.definition.code,
            input: request.input.clone(),
            attempt: 1,
            cause,
            id: request.id.clone(),
            parent: plan.parent,
            tags: plan.tags.clone(),
            at: plan.started_at,
        }
    }
}
