//! Who decides what becomes of a call or an id, when several ask at once.
//!
//! Used by `start`. A reservation is held while the store is asked and the run is made; others wait for its end and ask
//! again.
//!
//! Invariant: identical calls at the same time run once; two starts under one id name one run.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::engine::Inner;
use crate::handle::RunCell;
use crate::id::RunId;
use crate::index;

/// Calls and ids that are being decided, and calls that are under way.
#[derive(Default)]
pub(crate) struct Reservations {
    calls: Mutex<FxHashMap<[u8; 32], Call>>,
    ids: Mutex<FxHashMap<String, Arc<Notify>>>,
}

/// A call that is under way: as far as others can join it.
enum Call {
    /// Somebody is looking it up; told when that is decided.
    Deciding(Arc<Notify>),
    Run(Arc<RunCell>),
}

/// What identical calls have in common. Without the code: an unfinished run is joined after an edit, too, as a second one
/// would repeat its effects.
pub(crate) fn call_key(task: &str, input_hash: &[u8; 32]) -> [u8; 32] {
    index::cache_key(task, crate::id::CodeHash::from_bytes([0; 16]), input_hash)
}

/// The answer to who wants to start a call.
pub(crate) enum Reserve {
    Reserved(ReservedCall),
    Run(Arc<RunCell>),
    Deciding(OwnedNotified),
}

/// The right to decide what becomes of a call; others wait until it is dropped.
pub(crate) struct ReservedCall {
    inner: Arc<Inner>,
    pub(crate) key: [u8; 32],
    notify: Arc<Notify>,
}

impl ReservedCall {
    /// The call is this run from now on.
    pub(crate) fn becomes(self, cell: &Arc<RunCell>) {
        self.inner.reservations.calls.lock().insert(self.key, Call::Run(Arc::clone(cell)));
    }
}

impl Drop for ReservedCall {
    fn drop(&mut self) {
        let mut calls = self.inner.reservations.calls.lock();
        if matches!(calls.get(&self.key), Some(Call::Deciding(_))) {
            calls.remove(&self.key);
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

    pub(crate) fn reserve_call(self: &Arc<Self>, key: [u8; 32]) -> Reserve {
        let mut calls = self.reservations.calls.lock();
        match calls.get(&key) {
            Some(Call::Run(cell)) => Reserve::Run(Arc::clone(cell)),
            Some(Call::Deciding(notify)) => Reserve::Deciding(Arc::clone(notify).notified_owned()),
            None => {
                let notify = Arc::new(Notify::new());
                calls.insert(key, Call::Deciding(Arc::clone(&notify)));
                Reserve::Reserved(ReservedCall { inner: Arc::clone(self), key, notify })
            }
        }
    }

    /// Makes a run that was taken up joinable.
    pub(crate) fn joinable(&self, key: [u8; 32], cell: &Arc<RunCell>) {
        self.reservations.calls.lock().insert(key, Call::Run(Arc::clone(cell)));
    }

    /// Makes a run joinable, unless another equal one is.
    pub(crate) fn joinable_if_free(&self, key: [u8; 32], cell: &Arc<RunCell>) {
        self.reservations.calls.lock().entry(key).or_insert_with(|| Call::Run(Arc::clone(cell)));
    }

    /// Nobody can join a run that was cancelled while it waited.
    pub(crate) fn unjoinable(&self, run: RunId) {
        self.reservations.calls.lock().retain(|_, call| !matches!(call, Call::Run(cell) if cell.run == run));
    }

    /// Forgets a run that has ended. Its record tells the rest.
    pub(crate) fn forget(&self, cell: &RunCell, key: Option<[u8; 32]>) {
        self.runs.lock().remove(&cell.run);
        if let Some(key) = key {
            let mut calls = self.reservations.calls.lock();
            if matches!(calls.get(&key), Some(Call::Run(other)) if other.run == cell.run) {
                calls.remove(&key);
            }
        }
    }
}
