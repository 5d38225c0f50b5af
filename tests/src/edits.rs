//! A task in the versions that people edit it into, and one that does what cannot be replayed.
//!
//! Which version of its code the task follows it asks the engine that runs it: two engines over one store, one after the
//! other, are two releases of a program. Used by the tests of verdicts, and by `src/bin/edited.rs`, a user's program.
//!
//! Invariant: the original is deterministic, and so is every edit of it.

use relive::{task, trace};
use relive_engine::event::Event;
use relive_engine::id::Epoch;
use relive_engine::index::RUNS;
use relive_engine::inspect;
use relive_engine::log::{LogReader, LogWriter};
use relive_storage::{Durability, KeyRange, Operation, Order, PageLimit, Read, Store, Write};
use serde::{Deserialize, Serialize};

/// What was edited since the original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edit {
    /// Nothing.
    #[default]
    Original,
    /// Two calls, one after the other, changed places.
    Reordered,
    /// A call was added.
    Added,
    /// A call was removed.
    Removed,
    /// The last call was removed.
    RemovedLast,
    /// An argument has another value.
    Argument,
    /// An argument has another type.
    ArgumentType,
    /// A call was added that is made for every other order.
    Branch,
    /// Another trace is called.
    Replaced,
    /// A field of the result has another value.
    Result,
    /// An error has another message.
    Error,
    /// An order that failed no longer does.
    NoError,
    /// The branches of a join changed places.
    JoinSwapped,
    /// It awaits what is no trace.
    Foreign,
}

impl Edit {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Original,
        Self::Reordered,
        Self::Added,
        Self::Removed,
        Self::RemovedLast,
        Self::Argument,
        Self::ArgumentType,
        Self::Branch,
        Self::Replaced,
        Self::Result,
        Self::Error,
        Self::NoError,
        Self::JoinSwapped,
        Self::Foreign,
    ];

    /// The edit of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|edit| format!("{edit:?}") == name)
    }
}

/// What an order comes to.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Receipt {
    /// Which order.
    pub number: u32,
    /// For whom.
    pub customer: Customer,
    /// What it costs.
    pub total: u64,
}

/// Who ordered.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Customer {
    /// Their name.
    pub name: String,
    /// Their points.
    pub points: u64,
}

#[trace(name = "edits.price")]
async fn price(item: String) -> relive::Result<u64> {
    Ok(item.len() as u64)
}

#[trace(name = "edits.stock")]
async fn stock<S>(item: String, shelf: S) -> relive::Result<u64>
where
    S: Serialize + Send + 'static,
{
    drop(shelf);
    Ok(item.len() as u64 * 2)
}

#[trace(name = "edits.pay")]
async fn pay(total: u64) -> relive::Result<String> {
    Ok(format!("paid {total}"))
}

#[trace(name = "edits.mail")]
async fn mail(to: String, subject: String) -> relive::Result<()> {
    drop((to, subject));
    Ok(())
}

#[trace(name = "edits.letter")]
async fn letter(to: String, subject: String) -> relive::Result<()> {
    drop((to, subject));
    Ok(())
}

#[trace(name = "edits.note")]
async fn note(about: u32) -> relive::Result<()> {
    let _ = about;
    Ok(())
}

/// An order: asks for price and stock at once, then takes the money, then writes a mail and a note. Every tenth is sold out.
#[task(name = "edits.order", cache = "off")]
pub async fn order(number: u32) -> relive::Result<Receipt> {
    let edit = *relive::provided::<Edit>()?;
    let item = format!("item {}", number % 7);
    if edit == Edit::Branch && number.is_multiple_of(2) {
        note(number + 1).await?;
    }
    let shelf = number % 3;
    let (price, _) = match edit {
        Edit::JoinSwapped => {
            let (stock, price) = futures::try_join!(stock(item.clone(), shelf), price(item.clone()))?;
            (price, stock)
        }
        Edit::ArgumentType => futures::try_join!(price(item.clone()), stock(item.clone(), shelf.to_string()))?,
        _ => futures::try_join!(price(item.clone()), stock(item.clone(), shelf))?,
    };
    if number % 10 == 9 && edit != Edit::NoError {
        let what = if edit == Edit::Error { "no longer sold" } else { "sold out" };
        return Err(relive::Error::msg(format!("{item} is {what}")));
    }
    let total = price * 3;
    let subject = if edit == Edit::Argument { "Thank you!" } else { "Your order" };
    let mail = || mail(format!("customer {number}"), subject.to_owned());
    match edit {
        Edit::Reordered => {
            mail().await?;
            pay(total).await?;
        }
        Edit::Added => {
            pay(total).await?;
            note(number + 2).await?;
            mail().await?;
        }
        Edit::Removed => drop(pay(total).await?),
        Edit::Replaced => {
            pay(total).await?;
            letter(format!("customer {number}"), subject.to_owned()).await?;
        }
        Edit::Foreign => std::future::pending().await,
        _ => {
            pay(total).await?;
            mail().await?;
        }
    }
    if edit != Edit::RemovedLast {
        note(number).await?;
    }
    let points = if edit == Edit::Result { total / 2 } else { total / 3 };
    Ok(Receipt { number, customer: Customer { name: format!("customer {number}"), points }, total })
}

/// What a careless task does in its body.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub enum Careless {
    /// Calls traces in the order of a `HashMap`.
    MapOfCalls,
    /// Passes the entries of a `HashSet`, in its order.
    SetAsArgument,
    /// Passes the time.
    Clock,
    /// Passes a random number.
    Randomness,
    /// Returns the time.
    ClockInResult,
    /// Returns the entries of a `HashSet`, in its order.
    SetInResult,
    /// Returns an id of its own.
    RandomResult,
}

#[trace(name = "edits.take")]
async fn take<T>(value: T) -> relive::Result<()>
where
    T: Serialize + Send + 'static,
{
    drop(value);
    Ok(())
}

/// What a careless task returns.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Carelessly {
    /// Some texts.
    pub texts: Vec<String>,
    /// A number.
    pub number: u64,
}

/// Does in its body what belongs into a trace.
#[task(name = "edits.careless", cache = "off")]
pub async fn careless(how: Careless) -> relive::Result<Carelessly> {
    take(0u8).await?;
    let mut result = Carelessly::default();
    match how {
        Careless::MapOfCalls => {
            for text in texts() {
                take(text).await?;
            }
        }
        Careless::SetAsArgument => take(texts()).await?,
        Careless::Clock => take(since_1970().as_micros() as u64).await?,
        Careless::Randomness => take(random()).await?,
        Careless::ClockInResult => result.number = since_1970().as_millis() as u64,
        Careless::SetInResult => result.texts = texts(),
        Careless::RandomResult => result.number = random(),
    }
    take(1u8).await?;
    Ok(result)
}

/// Twelve texts in an order of chance.
#[expect(clippy::disallowed_types, reason = "its order is what is tested")]
fn texts() -> Vec<String> {
    let texts: std::collections::HashSet<String> = (0..12).map(|number| format!("text {number}")).collect();
    texts.into_iter().collect()
}

#[expect(clippy::disallowed_methods, reason = "that a task must not read it is what is tested")]
fn since_1970() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // Drawn anew for every hasher.
    std::hash::RandomState::new().build_hasher().finish()
}

/// Copies all runs of a store into another, with their events edited: as an earlier release would have recorded them.
///
/// # Errors
/// If a store fails, or a log is damaged.
pub fn rewritten(from: &std::sync::Arc<dyn Read>, to: &dyn Store, edit: impl Fn(&mut Event)) -> relive::Result<()> {
    let storage = |error| relive_engine::error::storage_error(error);
    let write = |operations| {
        let write = Write { preconditions: Vec::new(), operations };
        to.commit(&[write], Durability::Buffered).map_err(|failed| storage(failed.error))
    };
    for stored in inspect::runs(std::sync::Arc::clone(from)) {
        let run = stored?.run;
        let mut reader = LogReader::new(std::sync::Arc::clone(from), run);
        let mut writer = LogWriter::new(run, Epoch(1));
        while let Some(mut batch) = reader.next_batch()? {
            batch.events.iter_mut().for_each(&edit);
            write(writer.append(batch.first, batch.events, batch.settled)?.0)?;
        }
    }
    let all = PageLimit { row_count: usize::MAX, bytes: usize::MAX };
    let rows = from.scan(RUNS, &KeyRange::all(), Order::Ascending, all).map_err(storage)?.rows;
    let put = |row: relive_storage::Row| Operation::Put { keyspace: RUNS, key: row.key, value: row.value };
    write(rows.into_iter().map(put).collect())?;
    Ok(())
}
