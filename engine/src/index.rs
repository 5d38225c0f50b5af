//! What is stored beside the logs: derived from them, and rebuilt from them if lost.
//!
//! Written in the same atomic write as the events they follow from; read by `engine`, `recover` and `inspect`.
//!
//! Invariant: a run stands in `unfinished` from its first event to its `TaskCompleted`, and in `runs` for as long as its
//! log is kept.

use relive_storage::{KeyRange, Keyspace, Operation, Order, PageLimit, Read, after};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Chain};
use crate::error::{Error, ErrorKind, Result, cut_to, storage_error};
use crate::id::{CodeHash, Epoch, RunId, Sequence, Timestamp};
use crate::payload::Payload;
use crate::run::Letter;

/// Run id → [`RunRecord`].
pub const RUNS: Keyspace = Keyspace::new("runs");
/// Run id → [`UnfinishedRecord`], for the runs that a restart takes up: so that its cost depends on these alone.
pub const UNFINISHED: Keyspace = Keyspace::new("unfinished");
/// The caller's id of a run → [`IdRecord`].
pub const IDS: Keyspace = Keyspace::new("ids");
/// Task, input hash and version → [`CacheRecord`].
pub const CACHE: Keyspace = Keyspace::new("cache");
/// Run id and when it was sent → a signal that is not yet in the run's log.
pub const INBOX: Keyspace = Keyspace::new("inbox");
/// Tag and run id → nothing.
pub const TAGS: Keyspace = Keyspace::new("tags");
/// The same keys → [`CacheUse`]: small rows, so that a pass over the cache need not read results.
pub const CACHE_USE: Keyspace = Keyspace::new("cache_use");
/// Name → what there is one of in a store.
pub const META: Keyspace = Keyspace::new("meta");

/// How a run stands, as far as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RunState {
    /// It has no `TaskCompleted` yet.
    Unfinished,
    /// Its task returned `Ok`.
    Completed,
    /// Its task returned `Err` or panicked, or did what a task must not.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

/// What `runs` shows of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The task's name.
    pub task: String,
    /// The caller's id, if there is one.
    pub id: Option<String>,
    /// How it stands.
    pub state: RunState,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How many attempts there were.
    pub attempts: u32,
    /// Where in its log the last attempt begins.
    pub attempt_at: Sequence,
    /// The run whose body called this one, if it is a child.
    pub parent: Option<RunId>,
    /// Names and values to find it by.
    pub tags: Vec<(String, String)>,
}

/// What a restart needs to know of a run before it reads its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedRecord {
    /// The task's name.
    pub task: String,
    /// The code it was started with.
    pub code: CodeHash,
    /// Which call it is, so that an equal one joins it: a hash of its task, of the part of its input that counts, and of the
    /// salt and the user's version that the task had when the run began.
    pub call_key: [u8; 32],
    /// The attempt under way.
    pub attempt: u32,
    /// Where in its log that attempt begins.
    pub attempt_at: Sequence,
    /// If the last attempt failed and another follows by itself: when that is due.
    pub retry_at: Option<Timestamp>,
    /// The run whose body called this one, if it is a child.
    pub parent: Option<RunId>,
    /// How often in a row the process died while this run was under way and had not got on.
    pub crashes: u32,
    /// The last event of its log then.
    pub crashed_at: Sequence,
    /// What a restart does with it.
    pub standing: Standing,
}

/// What a restart does with an unfinished run. The order is part of the format on disk: the first two were a `bool`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Takes it up.
    UnderWay,
    /// Nothing, until somebody resumes it: it was imported, or forked where no engine runs; if it has counted deaths of the
    /// process, it took that down too often, before there was [`Standing::Blocked`].
    Parked,
    /// Nothing, until it is due: it only waits for a time.
    Asleep {
        /// When it was put to sleep. The wall clock may go back between two lives of the process: it sleeps for no longer
        /// than it had left then.
        since: Timestamp,
        /// When the first of its waits is over.
        until: Timestamp,
    },
    /// Nothing, if it is parked; else it is tried again, as the program may be another one that it fits.
    Blocked(Blocked),
}

/// Why a run could not go on, as an engine found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// What kind of reason.
    pub reason: BlockReason,
    /// The error, for an operator; at most [`BLOCKED_MESSAGE_BYTES_MAX`] long.
    pub message: String,
    /// When it was found first. Finding the same again does not change it.
    pub since: Timestamp,
}

/// Longest message of [`Blocked`]: 4 KiB, as the row is read whole at every open; a divergence takes some hundred bytes.
pub const BLOCKED_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Why a run does not go on until somebody acts. The order is part of the format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BlockReason {
    /// The task's code does not fit its log. Bring back code that does, resume it under the new one, or cancel it.
    Diverged,
    /// It took the process down too often. Look at what it does; then resume or cancel it.
    Parked,
    /// Nobody has said that it is to go on here: it was imported or forked unfinished, or its engine takes no runs up.
    Held,
    /// The program has no such task. Open the store with one that has.
    UnknownTask,
    /// A recorded value cannot be read as its type. Bring back a type that can read it, or cancel the run.
    Unreadable,
    /// Its log is damaged, or of a newer version. Restore it from a copy, or use a newer program.
    Damaged,
    /// The message says it.
    Other,
}

impl BlockReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Diverged, Self::Parked, Self::Held, Self::UnknownTask, Self::Unreadable, Self::Damaged, Self::Other];

    /// Its name, in `kebab-case`: what the command line and fields of events call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Diverged => "diverged",
            Self::Parked => "parked",
            Self::Held => "held",
            Self::UnknownTask => "unknown-task",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::Other => "other",
        }
    }

    /// The reason that an error is.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Diverged => Self::Diverged,
            ErrorKind::Parked => Self::Parked,
            ErrorKind::UnknownTask => Self::UnknownTask,
            ErrorKind::Payload => Self::Unreadable,
            ErrorKind::Corrupt | ErrorKind::NewerFormat => Self::Damaged,
            _ => Self::Other,
        }
    }
}

impl std::fmt::Display for BlockReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Blocked {
    /// The record of an error that keeps a run from going on.
    pub(crate) fn of(error: &Error, reason: BlockReason, since: Timestamp) -> Self {
        Self { reason, message: cut_to(error.to_string(), BLOCKED_MESSAGE_BYTES_MAX), since }
    }
}

impl UnfinishedRecord {
    /// Whether it is not taken up until somebody resumes it: it took the process down too often, or was imported.
    pub fn is_parked(&self) -> bool {
        matches!(self.block_reason(), Some(BlockReason::Parked | BlockReason::Held))
    }

    /// Why it does not go on until somebody acts, if that is so.
    pub fn block_reason(&self) -> Option<BlockReason> {
        match &self.standing {
            Standing::Blocked(blocked) => Some(blocked.reason),
            Standing::Parked if self.crashes == 0 => Some(BlockReason::Held),
            Standing::Parked => Some(BlockReason::Parked),
            Standing::UnderWay | Standing::Asleep { .. } => None,
        }
    }

    /// Since when, if that is on record: not of what was imported, or parked by a version before 3.
    pub fn blocked_since(&self) -> Option<Timestamp> {
        match &self.standing {
            Standing::Blocked(blocked) => Some(blocked.since),
            _ => None,
        }
    }

    /// The error, for an operator, if it is on record.
    pub fn block_message(&self) -> Option<&str> {
        match &self.standing {
            Standing::Blocked(blocked) => Some(&blocked.message),
            _ => None,
        }
    }
}

/// Which run a caller's id names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRecord {
    /// The run.
    pub run: RunId,
    /// The task's name.
    pub task: String,
    /// Hash of the canonical form of its input.
    pub input_hash: [u8; 32],
}

/// A result that an equal call gets without running. Owns copies of all it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// The task's name.
    pub task: String,
    /// The code that finished the run; unless `version` counts, it began it, too.
    pub code: CodeHash,
    /// The user's version, if that counts and not the code.
    pub version: Option<String>,
    /// The task's salt.
    pub salt: String,
    /// The whole input, as it is recorded: compared, as hashes may collide.
    pub input: Payload,
    /// The result.
    pub result: Payload,
    /// What the run called, directly or through child runs. Empty if `version` counts.
    pub uses: Vec<Used>,
    /// The run that found the result.
    pub run: RunId,
    /// When.
    pub created_at: Timestamp,
}

/// A trace or a task that a run called, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Used {
    /// Its name.
    pub name: String,
    /// Its code; of a task with a version of the user's, what stands for that.
    pub code: CodeHash,
    /// Whether it is a task, called as a child run.
    pub is_task: bool,
}

/// How large an entry of the cache is and when it was last used: what decides which entry has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheUse {
    /// Bytes of the entry's key and record.
    pub bytes: u64,
    /// When the entry was made.
    pub created_at: Timestamp,
    /// When it last answered a call, as far as that is written down; at first, when it was made.
    pub used_at: Timestamp,
}

/// Under `cache` in `meta`: the size of all entries, as they were counted. There only from a shutdown in order until the store is
/// opened again, and only if there were few enough to count (65,536).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSize {
    /// The sum of [`CacheUse::bytes`].
    pub bytes: u64,
}

/// Reads one record.
pub(crate) fn read<T: DeserializeOwned>(store: &dyn Read, keyspace: Keyspace, key: &[u8]) -> Result<Option<T>> {
    match store.get(keyspace, key).map_err(storage_error)? {
        Some(bytes) => open(keyspace, key, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Reads a record's bytes.
pub(crate) fn open<T: DeserializeOwned>(keyspace: Keyspace, key: &[u8], bytes: &[u8]) -> Result<T> {
    let (record, ..) = codec::open(key, bytes).map_err(|error| {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Error::new(error.kind(), format!("index {}, key {key}: {error}", keyspace.name()))
    })?;
    Ok(record)
}

/// The change that sets one record.
pub(crate) fn put<T: Serialize>(keyspace: Keyspace, key: Vec<u8>, record: &T) -> Result<Operation> {
    let (value, _) = codec::seal(&key, Chain::default(), record)
        .map_err(|error| Error::new(ErrorKind::Payload, format!("index {}: {error}", keyspace.name())))?;
    Ok(Operation::Put { keyspace, key, value })
}

/// The key of a run in `runs` and `unfinished`.
pub(crate) fn run_key(run: RunId) -> Vec<u8> {
    run.as_bytes().to_vec()
}

/// The run that a key of `runs` or `unfinished` names.
pub(crate) fn run_of(keyspace: Keyspace, key: &[u8]) -> Result<RunId> {
    let bytes = key.try_into().map_err(|_| {
        Error::new(ErrorKind::Corrupt, format!("index {}: a key of {} bytes is no run id", keyspace.name(), key.len()))
    })?;
    Ok(RunId::from_bytes(bytes))
}

/// The key of a signal in the inbox: signals of one run are in the order of these, whatever the clock says. Used once: a life
/// of the process counts the signals that it takes.
pub(crate) fn inbox_key(run: RunId, epoch: Epoch, number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    key.extend_from_slice(run.as_bytes());
    key.extend_from_slice(&epoch.0.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Whether a signal is not in its run's log yet.
pub(crate) fn is_in_inbox(store: &dyn Read, key: &[u8]) -> Result<bool> {
    Ok(store.get(INBOX, key).map_err(storage_error)?.is_some())
}

/// The signals of a run that are not in its log.
pub(crate) fn inbox(store: &dyn Read, run: RunId) -> Result<Vec<Letter>> {
    let mut letters = Vec::new();
    let mut range = KeyRange::prefix(run.as_bytes());
    loop {
        let page = store.scan(INBOX, &range, Order::Ascending, PageLimit::default()).map_err(storage_error)?;
        for row in &page.rows {
            letters.push(Letter { key: row.key.clone(), signal: open(INBOX, &row.key, &row.value)? });
        }
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(letters),
        }
    }
}

/// Makes a run findable by a tag.
pub(crate) fn tag(run: RunId, name: &str, value: &str) -> Result<Operation> {
    Ok(Operation::Put { keyspace: TAGS, key: tag_key(name, value, Some(run)), value: Vec::new() })
}

/// The key of a tag; without a run, what all keys of the tag begin with.
pub(crate) fn tag_key(name: &str, value: &str, run: Option<RunId>) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + value.len() + 24);
    for text in [name, value] {
        key.extend_from_slice(&(text.len() as u32).to_be_bytes());
        key.extend_from_slice(text.as_bytes());
    }
    key.extend(run.iter().flat_map(|run| run.as_bytes()));
    key
}

/// What a row in `ids` is: the one list of them, so that what goes through all rows minds each. First bytes that begin no text
/// tell them from the ids of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdRow {
    /// An id of a caller's: leads to a run by an [`IdRecord`].
    Caller,
    /// See [`joined_tag_key`]: of the run in the key.
    JoinedTag,
    /// See [`joined_key`]: of the run in the key.
    Joined,
    /// See [`holder_key`]: of the run in the key.
    Holder,
    /// See [`child_key`]: leads to a run by an [`IdRecord`].
    Child,
}

impl IdRow {
    const JOINED_TAG: u8 = 0xfc;
    const JOINED: u8 = 0xfd;
    const HOLDER: u8 = 0xfe;
    const CHILD: u8 = 0xff;

    /// What the row with this key is.
    pub(crate) fn of(key: &[u8]) -> Self {
        match key.first() {
            Some(&Self::JOINED_TAG) => Self::JoinedTag,
            Some(&Self::JOINED) => Self::Joined,
            Some(&Self::HOLDER) => Self::Holder,
            Some(&Self::CHILD) => Self::Child,
            _ => Self::Caller,
        }
    }
}

/// The run that a row in `ids` is of: it is of no use without it.
pub(crate) fn run_of_id(key: &[u8], value: &[u8]) -> Result<RunId> {
    match IdRow::of(key) {
        IdRow::Caller | IdRow::Child => Ok(open::<IdRecord>(IDS, key, value)?.run),
        IdRow::JoinedTag | IdRow::Joined | IdRow::Holder => run_of(IDS, key.get(1..17).unwrap_or_default()),
    }
}

/// The key in `ids` of who waits for a child run beside the call that began it: another call, or somebody outside.
pub(crate) fn holder_key(run: RunId, call: Option<RunId>) -> Vec<u8> {
    let mut key = vec![IdRow::HOLDER];
    key.extend_from_slice(run.as_bytes());
    key.extend(call.iter().flat_map(|call| call.as_bytes()));
    key
}

/// Who waits for a child run beside the call that began it: calls with their runs; `None` for somebody outside.
pub(crate) fn holders(store: &dyn Read, run: RunId) -> Result<Vec<(Option<RunId>, RunId)>> {
    let mut holders = Vec::new();
    let prefix = holder_key(run, None);
    let mut range = KeyRange::prefix(&prefix);
    loop {
        let page = store.scan(IDS, &range, Order::Ascending, PageLimit::default()).map_err(storage_error)?;
        for row in &page.rows {
            let call = row.key.get(prefix.len()..).filter(|call| !call.is_empty());
            holders.push((call.map(|call| run_of(IDS, call)).transpose()?, open(IDS, &row.key, &row.value)?));
        }
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(holders),
        }
    }
}

/// Name and value of a tag's key.
pub(crate) fn tag_of(key: &[u8]) -> Option<(String, String)> {
    fn text(key: &[u8]) -> Option<(String, &[u8])> {
        let (length, rest) = key.split_at_checked(4)?;
        let (text, rest) = rest.split_at_checked(u32::from_be_bytes(length.try_into().ok()?) as usize)?;
        Some((String::from_utf8(text.to_vec()).ok()?, rest))
    }
    let (name, rest) = text(key)?;
    Some((name, text(rest)?.0))
}

/// The key in `ids` of who joined a run under another id of a caller's: what leads back to that id from the run.
pub(crate) fn joined_key(run: RunId, id: &[u8]) -> Vec<u8> {
    let mut key = vec![IdRow::JOINED];
    key.extend_from_slice(run.as_bytes());
    key.extend_from_slice(id);
    key
}

/// The key in `ids` of a tag that a call gave which joined a run: what leads from the run to its row in `tags`.
pub(crate) fn joined_tag_key(run: RunId, name: &str, value: &str) -> Vec<u8> {
    let mut key = vec![IdRow::JOINED_TAG];
    key.extend_from_slice(run.as_bytes());
    key.extend(tag_key(name, value, None));
    key
}

/// What the keys of all [`joined_tag_key`]s of a run begin with.
pub(crate) fn joined_tags(run: RunId) -> Vec<u8> {
    [[IdRow::JOINED_TAG].as_slice(), run.as_bytes()].concat()
}

/// The key in `ids` that leads to a row in `tags`, if a call that joined the run gave that tag.
pub(crate) fn joined_tag_key_of(tag: &[u8]) -> Vec<u8> {
    let (tag, run) = tag.split_at(tag.len().saturating_sub(16));
    [[IdRow::JOINED_TAG].as_slice(), run, tag].concat()
}

/// The key in `tags` that a [`joined_tag_key`] leads to.
pub(crate) fn tag_key_of(joined: &[u8]) -> Vec<u8> {
    let (run, tag) = joined.get(1..).and_then(|rest| rest.split_at_checked(16)).unwrap_or_default();
    [tag, run].concat()
}

/// The key in `ids` that leads to a run, by which it was joined: of a [`holder_key`] or a [`joined_key`] that tells.
pub(crate) fn name_of(key: &[u8]) -> Result<Option<Vec<u8>>> {
    let name = key.get(17..).unwrap_or_default();
    Ok(match IdRow::of(key) {
        _ if name.is_empty() => None,
        IdRow::Holder => Some(child_key(run_of(IDS, name)?)),
        _ => Some(name.to_vec()),
    })
}

/// The key in `ids` of a child's id that another run answers for: no id of a caller's, which is text.
pub(crate) fn child_key(child: RunId) -> Vec<u8> {
    let mut key = vec![IdRow::CHILD];
    key.extend_from_slice(child.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SignalReceived;
    use relive_storage::{Durability, MemoryStore, Store, Write};

    const RUN: RunId = RunId::from_bytes([7; 16]);
    const OTHER: RunId = RunId::from_bytes([8; 16]);

    fn commit(store: &MemoryStore, operations: Vec<Operation>) {
        store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
    }

    #[test]
    fn a_name_is_read_off_the_key_that_leads_to_its_run() {
        assert_eq!(name_of(&joined_key(RUN, b"order 1")).unwrap(), Some(b"order 1".to_vec()));
        assert_eq!(name_of(&joined_key(RUN, b"")).unwrap(), None, "it tells nothing");
        let of_child = [[0xfe].as_slice(), RUN.as_bytes(), OTHER.as_bytes()].concat();
        assert_eq!(name_of(&of_child).unwrap(), Some(child_key(OTHER)));
        assert!(joined_key(RUN, b"a").starts_with(&[[0xfd].as_slice(), RUN.as_bytes()].concat()));
    }

    #[test]
    fn signals_lie_in_the_order_in_which_they_were_sent_and_apart_by_run() {
        let store = MemoryStore::new();
        let sent = [(RUN, 2, 0), (RUN, 1, 300), (RUN, 1, 7), (OTHER, 0, 0)];
        for (run, epoch, number) in sent {
            let value = Payload::encode(&number).unwrap();
            let signal = SignalReceived { name: "s".to_owned(), value, at: Timestamp(0) };
            commit(&store, vec![put(INBOX, inbox_key(run, Epoch(epoch), number), &signal).unwrap()]);
        }
        let letters = inbox(&store, RUN).unwrap();
        let numbers: Vec<u64> = letters.iter().map(|letter| letter.signal.value.decode().unwrap()).collect();
        assert_eq!(numbers, [7, 300, 0]);
    }

    #[test]
    fn a_tag_of_a_call_that_joined_leads_to_its_row() {
        let joined = joined_tag_key(RUN, "customer", "42");
        assert_eq!(tag_key_of(&joined), tag_key("customer", "42", Some(RUN)));
        assert_eq!(joined_tag_key_of(&tag_key_of(&joined)), joined);
        assert_eq!(tag_of(&tag_key_of(&joined)), Some(("customer".to_owned(), "42".to_owned())));
        assert!(joined.starts_with(&joined_tags(RUN)) && std::str::from_utf8(&joined).is_err());
    }

    #[test]
    fn no_tag_is_found_by_another() {
        let keys = [("a", "bc"), ("ab", "c"), ("a", "b"), ("", "abc")].map(|(name, value)| tag_key(name, value, None));
        for (index, key) in keys.iter().enumerate() {
            for other in keys.iter().skip(index + 1) {
                assert!(!key.starts_with(other) && !other.starts_with(key));
            }
        }
    }

    #[test]
    fn each_row_in_ids_tells_what_it_is_and_of_which_run() {
        let rows = [
            (IdRow::JoinedTag, joined_tag_key(RUN, "a", "b")),
            (IdRow::Joined, joined_key(RUN, b"order 1")),
            (IdRow::Holder, holder_key(RUN, None)),
            (IdRow::Holder, holder_key(RUN, Some(OTHER))),
        ];
        for (kind, key) in rows {
            assert_eq!((IdRow::of(&key), run_of_id(&key, b"").unwrap()), (kind, RUN));
        }
        assert_eq!((IdRow::of(&child_key(OTHER)), IdRow::of(b"order 1")), (IdRow::Child, IdRow::Caller));
    }

    #[test]
    fn a_childs_id_is_no_callers_id() {
        assert!(std::str::from_utf8(&child_key(RUN)).is_err());
    }

    #[test]
    fn an_index_record_that_is_damaged_is_an_error_that_names_its_place() {
        let store = MemoryStore::new();
        commit(&store, vec![Operation::Put { keyspace: RUNS, key: run_key(RUN), value: b"RL".to_vec() }]);
        let error = read::<RunRecord>(&store, RUNS, &run_key(RUN)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().starts_with("index runs, key 0707"), "{error}");
    }
}
