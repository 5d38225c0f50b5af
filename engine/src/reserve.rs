//! Who decides what becomes of a call or an id, when several ask at once.
//!
//! Used by `start`. A reservation is held while the store is asked and the run is made; others wait for its end and ask
//! again.
//!
//! Invariant: identical calls at the same time that give no ids run once; two starts under one id name one run.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::cache::CallKey;
use crate::engine::Inner;
use crate::handle::RunCell;
use crate::id::RunId;
use crate::sync::Mutex;

/// Calls and ids that are being decided, and calls that are under way.
#[derive(Default)]
pub(crate) struct Reservations {
    calls: Mutex<FxHashMap<CallKey, Call>>,
    ids: Mutex<FxHashMap<String, Arc<Notify>>>,
}

/// A call that is under way: as far as others can join it.
enum Call {
    /// Somebody is looking it up; told when that is decided.
    Deciding(Arc<Notify>),
    Run(Running),
}

/// A run that equal calls join.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) cell: Arc<RunCell>,
    /// The canonical form of the part of its input that counts; `None` if it was taken up, and its log tells.
    pub(crate) counted: Option<Bytes>,
    /// Whether it was started by a refresh, in this life of the process.
    pub(crate) is_refresh: bool,
}

impl Running {
    /// One that an earlier life of the process began, or that slept: its log has its input.
    pub(crate) fn taken_up(cell: &Arc<RunCell>) -> Self {
        Self { cell: Arc::clone(cell), counted: None, is_refresh: false }
    }
}

/// The answer to who wants to start a call.
pub(crate) enum Reserve {
    Reserved(ReservedCall),
    Run(Running),
    /// Runs that sleep and may be the call: what decides is to be read.
    Asleep(Vec<RunId>),
    Deciding(OwnedNotified),
}

/// The right to decide what becomes of a call; others wait until it is dropped.
pub(crate) struct ReservedCall {
    inner: Arc<Inner>,
    pub(crate) key: CallKey,
    notify: Arc<Notify>,
    /// The run that the call was before, if this is to refresh it.
    pub(crate) previous: Option<Running>,
}

impl ReservedCall {
    /// The call is this run from now on.
    pub(crate) fn becomes(self, running: Running) {
        if running.is_refresh {
            // They go on, but what they find is older than what is asked for: the run that the call was, and those that have
            // ids of their own. The lock is held, so that a run that ends at the same time is either gone already or is
            // forgotten afterwards.
            let runs = self.inner.runs.lock();
            let is_older =
                |cell: &RunCell| *cell.call.lock() == Some(self.key) && !cell.is_refresh.load(Ordering::Relaxed);
            let older = runs.values().filter(|cell| is_older(cell));
            older.for_each(|cell| self.inner.cache.supersede(cell.run));
        }
        *running.cell.call.lock() = Some(self.key);
        self.inner.reservations.calls.lock().insert(self.key, Call::Run(running));
    }
}

impl Drop for ReservedCall {
    fn drop(&mut self) {
        let mut calls = self.inner.reservations.calls.lock();
        if matches!(calls.get(&self.key), Some(Call::Deciding(_))) {
            calls.remove(&self.key);
            // It is joined as before; unless it has ended meanwhile, as then nobody would take it out again.
            if let Some(previous) = self.previous.take()
                && self.inner.runs.lock().contains_key(&previous.cell.run)
            {
                calls.insert(self.key, Call::Run(previous));
            }
        }
        drop(calls);
        self.notify.notify_waiters();
    }
}

/// The right to decide which run an id names; others wait until it is dropped.
pub(crate) struct ReservedId {
    inner: Arc<Inner>,
    id: String,
    notify: Arc<Notify>,
}

impl Drop for ReservedId {
    fn drop(&mut self) {
        self.inner.reservations.ids.lock().remove(&self.id);
        self.notify.notify_waiters();
    }
}

impl Inner {
    pub(crate) fn reserve_id(self: &Arc<Self>, id: &str) -> Result<ReservedId, OwnedNotified> {
        let mut ids = self.reservations.ids.lock();
        if let Some(notify) = ids.get(id) {
            return Err(Arc::clone(notify).notified_owned());
        }
        let notify = Arc::new(Notify::new());
        ids.insert(id.to_owned(), Arc::clone(&notify));
        Ok(ReservedId { inner: Arc::clone(self), id: id.to_owned(), notify })
    }

    /// A refresh takes the call over from a run that is none: that one may have begun long before the call.
    /// `wakes`: also runs that sleep are asked for.
    pub(crate) fn reserve_call(self: &Arc<Self>, key: CallKey, refresh: bool, wakes: bool) -> Reserve {
        let mut calls = self.reservations.calls.lock();
        let previous = match calls.get(&key) {
            Some(Call::Run(running)) if refresh && !running.is_refresh => Some(running.clone()),
            Some(Call::Run(running)) => return Reserve::Run(running.clone()),
            Some(Call::Deciding(notify)) => return Reserve::Deciding(Arc::clone(notify).notified_owned()),
            None => {
                // A run that falls asleep is among the sleepers before it leaves the calls.
                let asleep = self.sleepers.of_call(&key);
                if wakes && !asleep.is_empty() {
                    return Reserve::Asleep(asleep);
                }
                None
            }
        };
        let notify = Arc::new(Notify::new());
        calls.insert(key, Call::Deciding(Arc::clone(&notify)));
        Reserve::Reserved(ReservedCall { inner: Arc::clone(self), key, notify, previous })
    }

    /// The run that an equal call would join.
    pub(crate) fn running(&self, key: &CallKey) -> Option<Running> {
        match self.reservations.calls.lock().get(key) {
            Some(Call::Run(running)) => Some(running.clone()),
            _ => None,
        }
    }

    /// Makes a run that was taken up joinable.
    pub(crate) fn joinable(&self, key: CallKey, cell: &Arc<RunCell>) {
        *cell.call.lock() = Some(key);
        self.reservations.calls.lock().insert(key, Call::Run(Running::taken_up(cell)));
    }

    /// Makes a run joinable, unless another equal one is, or it is being decided which is.
    pub(crate) fn joinable_if_free(&self, key: CallKey, running: Running) {
        *running.cell.call.lock() = Some(key);
        self.reservations.calls.lock().entry(key).or_insert(Call::Run(running));
    }

    /// Whether equal calls join this run.
    pub(crate) fn is_call_of(&self, key: &CallKey, cell: &Arc<RunCell>) -> bool {
        let calls = self.reservations.calls.lock();
        matches!(calls.get(key), Some(Call::Run(other)) if Arc::ptr_eq(&other.cell, cell))
    }

    /// A run that sleeps lets its cell go: equal calls find it among the sleepers, unless another run is the call by now.
    pub(crate) fn release_call(&self, cell: &Arc<RunCell>) {
        let Some(key) = *cell.call.lock() else { return };
        let mut calls = self.reservations.calls.lock();
        match calls.get(&key) {
            Some(Call::Run(other)) if Arc::ptr_eq(&other.cell, cell) => drop(calls.remove(&key)),
            Some(Call::Run(other)) if other.cell.run != cell.run => self.sleepers.set_apart(&key, cell.run),
            _ => {}
        }
    }

    /// Nobody can join a run that was cancelled while it waited.
    pub(crate) fn unjoinable(&self, run: RunId) {
        self.reservations.calls.lock().retain(|_, call| !matches!(call, Call::Run(running) if running.cell.run == run));
    }

    /// Forgets a run that has ended. Its record tells the rest.
    pub(crate) fn forget(self: &Arc<Self>, cell: &RunCell, key: Option<CallKey>) {
        self.runs.lock().remove(&cell.run);
        self.cache.ended(cell.run);
        if let Some(key) = key {
            let mut calls = self.reservations.calls.lock();
            if matches!(calls.get(&key), Some(Call::Run(other)) if std::ptr::eq(Arc::as_ptr(&other.cell), cell)) {
                calls.remove(&key);
            }
        }
        // It may have entered a result.
        self.tend_cache();
    }
}
