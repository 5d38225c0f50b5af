//! Whether an entry answers a call.
//!
//! Called by `start` for every call that may be cached, and by `explain`, which shows what stands against an entry.
//!
//! Invariant: nothing of an entry is believed for its hash alone.

use bytes::Bytes;
use relive_storage::planted::{Planted, planted};
use relive_storage::{Operation, Precondition, Write};

use crate::definition::TaskDefinition;
use crate::engine::{Inner, Request};
use crate::error::{Result, payload_error, storage_error};
use crate::execute::unpanicked;
use crate::id::Timestamp;
use crate::index::{self, CacheRecord, CacheUse};

use super::explain::Reason;
use super::key::{CallKey, EntryKey};
use super::ledger::Used;

/// What is looked for: the names of a call.
pub(crate) struct Sought {
    /// The canonical form of the part of the input that counts.
    pub(crate) counted: Bytes,
    pub(crate) input_hash: [u8; 32],
    pub(crate) call: CallKey,
    pub(crate) entry: EntryKey,
}

/// The moment from which on an entry of a task no longer holds.
pub(crate) fn expiry(definition: &TaskDefinition, created_at: Timestamp) -> Option<Timestamp> {
    let micros = i64::try_from(definition.cache.ttl?.as_micros()).unwrap_or(i64::MAX);
    Some(Timestamp(created_at.0.saturating_add(micros)))
}

impl Inner {
    /// The names of a call.
    pub(crate) fn sought(&self, request: &Request) -> Result<Sought> {
        let definition = request.definition;
        let counted = definition.counted(&request.input, &request.canonical).map_err(|error| {
            payload_error(format!("the arguments of task {} cannot be read back", definition.name), &error)
        })?;
        let input_hash = (self.cache.hasher)(&counted);
        let (call, entry) = (definition.call_key(&input_hash), definition.entry_key(&input_hash));
        Ok(Sought { counted, input_hash, call, entry })
    }

    /// The entry that answers a call. It counts as used.
    pub(crate) fn cached(&self, request: &Request, sought: &Sought) -> Result<Option<CacheRecord>> {
        let Some((record, bytes)) = self.entry(&sought.entry)? else { return Ok(None) };
        let now = self.environment.clock.now();
        let against = self.objections(request, sought, &record, now);
        if against.is_empty() {
            let usage = CacheUse { bytes, created_at: record.created_at, used_at: now };
            let used = self.cache.used(sought.entry, usage, self.environment.clock.elapsed());
            for write in self.writes_of(used)? {
                self.submit(write);
            }
            return Ok(Some(record));
        }
        if against.iter().any(|reason| matches!(reason, Reason::Expired { .. })) {
            // Before the run that replaces it, as writes are applied in order.
            self.cache.removed(bytes);
            self.cache.evicted(sought.entry, now);
            let write = Write { preconditions: Vec::new(), operations: removal(&sought.entry).into() };
            self.cache.change(|| self.submit(write));
        }
        Ok(None)
    }

    /// The writes that note when entries were used: each only if its row is what it was by then, so that none is left of an
    /// entry that goes or is replaced meanwhile.
    pub(crate) fn writes_of(&self, used: Used) -> Result<Vec<Write>> {
        if used.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.store()?;
        let mut writes = Vec::with_capacity(used.len());
        for (key, usage) in used {
            let key = key.as_bytes().to_vec();
            let Some(value) = store.get(index::CACHE_USE, &key).map_err(storage_error)? else { continue };
            let is_of = |before: CacheUse| (before.bytes, before.created_at) == (usage.bytes, usage.created_at);
            if !index::open(index::CACHE_USE, &key, &value).is_ok_and(is_of) {
                continue;
            }
            let put = index::put(index::CACHE_USE, key.clone(), &usage)?;
            let unchanged = Precondition::Equals { keyspace: index::CACHE_USE, key, value };
            writes.push(Write { preconditions: vec![unchanged], operations: vec![put] });
        }
        Ok(writes)
    }

    /// The entry under a key, and its size.
    pub(crate) fn entry(&self, key: &EntryKey) -> Result<Option<(CacheRecord, u64)>> {
        let key = key.as_bytes();
        let Some(bytes) = self.store()?.get(index::CACHE, key).map_err(storage_error)? else { return Ok(None) };
        let size = (key.len() + bytes.len()) as u64;
        Ok(Some((index::open(index::CACHE, key, &bytes)?, size)))
    }

    /// All that stands against handing out an entry that lies where the call's would. Nothing: it answers the call.
    pub(crate) fn objections(
        &self,
        request: &Request,
        sought: &Sought,
        record: &CacheRecord,
        now: Timestamp,
    ) -> Vec<Reason> {
        let definition = request.definition;
        let mut reasons = Vec::new();
        if record.task != definition.name {
            reasons.push(Reason::NeverCached);
            return reasons;
        }
        reasons.extend(version_reason(definition, record));
        if record.input != request.input && !planted(Planted::HashOnly) {
            // Other bytes may be the same input: a map in another order, an argument that does not count.
            match definition.counted_of(&record.input) {
                Ok(counted) if counted == sought.counted => {}
                Ok(_) => reasons.push(super::explain::other_input(request, record)),
                Err(error) => reasons.push(Reason::Unreadable { run: record.run, why: error.to_string() }),
            }
        }
        if let Some(at) = expiry(definition, record.created_at)
            && at <= now
        {
            reasons.push(Reason::Expired { at });
        }
        reasons.extend(record.uses.iter().filter_map(|used| {
            if used.is_signal() {
                return Some(Reason::Signalled { run: record.run });
            }
            let name = || used.name.clone();
            let (today, is_task) = match used.is_task {
                false => (self.registry.trace(&used.name).map(|today| today.code), false),
                true => (self.registry.task(&used.name).map(TaskDefinition::version_hash), true),
            };
            match today {
                None => Some(Reason::Unknown { name: name(), is_task }),
                Some(code) if code == used.code => None,
                Some(now) if is_task => Some(Reason::ChildEdited { name: name(), cached: used.code, now }),
                Some(now) => Some(Reason::TraceEdited { name: name(), cached: used.code, now }),
            }
        }));
        let mut why = String::new();
        let readable = unpanicked(|| Ok((request.readable)(&record.result)));
        match readable {
            Ok(true) => return reasons,
            Ok(false) => why.push_str("the result is no longer of the type that the task returns"),
            Err(error) => why.push_str(&error.to_string()),
        }
        reasons.push(Reason::Unreadable { run: record.run, why });
        reasons
    }

    /// Gives changes to the committer, and waits for nothing. What becomes of them matters to nobody who calls.
    pub(crate) fn submit(&self, write: Write) {
        self.settings.committer.leave(write);
    }
}

/// What is different about an entry's version.
pub(crate) fn version_reason(definition: &TaskDefinition, record: &CacheRecord) -> Option<Reason> {
    let today = definition.cache.version();
    if record.salt != definition.cache.salt {
        let (cached, now) = (record.salt.clone(), definition.cache.salt.to_owned());
        return Some(Reason::OtherSalt { cached, now });
    }
    match (&record.version, today) {
        (None, None) if record.code == definition.code => None,
        (None, None) => Some(Reason::TaskEdited { cached: record.code, now: definition.code, run: record.run }),
        (Some(cached), Some(now)) if cached == now => None,
        _ => Some(Reason::OtherVersion { cached: record.shown_version(), now: definition.shown_version() }),
    }
}

/// The changes that remove an entry.
pub(crate) fn removal(key: &EntryKey) -> [Operation; 2] {
    [index::CACHE, index::CACHE_USE].map(|keyspace| Operation::Delete { keyspace, key: key.as_bytes().to_vec() })
}
