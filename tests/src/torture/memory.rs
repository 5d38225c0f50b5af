//! Power cuts without power: a store in memory fails in the middle of a commit, and forgets what was not synced.
//!
//! Used by `campaign` where no power can be cut, and by what is to be quick. The child is no process of its own.
//!
//! Invariant: what a life leaves is what the least of stores promises: what was synced, and a prefix of the rest.

use std::path::Path;
use std::sync::Arc;

use relive_storage::{Fault, FaultStore, Read, Survives};

use super::chance::Chance;
use super::child::{ChildOptions, child_on};
use super::oracle::{Life, Violation};
use super::pipe::Line;
use super::witness::decoded;

/// Lives of one store: a commit costs nothing, so that more than this many are one that does not get on.
const LIVES_MAX: usize = 1000;

/// Lives until all runs have ended. Each but the last ends at a commit that is drawn; once `goes_on` says no, none does.
/// Returns how many were cut, and the store.
pub(super) fn lives(
    root: &Path,
    options: &ChildOptions,
    chance: &mut Chance,
    goes_on: impl Fn() -> bool,
    lives: &mut Vec<Life>,
    found: &mut Vec<Violation>,
) -> relive::Result<(u64, Arc<dyn Read>)> {
    let mut store = FaultStore::new();
    let mut cuts = 0;
    for life in 0..LIVES_MAX {
        let cuts_this = goes_on();
        if cuts_this {
            let survives = match chance.below(3) {
                0 => Survives::None,
                1 => Survives::First(usize::try_from(chance.below(8)).unwrap_or(0)),
                _ => Survives::All,
            };
            store.fail(1 + chance.below(60), Fault::Unknown(survives));
        }
        let pipe = root.join(format!("pipe-{life:04}"));
        let witness = root.join(format!("witness-{life:04}"));
        let options = ChildOptions { witness: witness.clone(), ..options.clone() };
        let ended = child_on(&options, Arc::new(store.clone()), &pipe)?;
        let witness = if witness.exists() { decoded(&std::fs::read(&witness)?)? } else { Vec::new() };
        let pipe: Vec<Line> = decoded(&std::fs::read(&pipe)?)?;
        let done = pipe.last() == Some(&Line::Done);
        lives.push(Life { pipe, witness });
        store = FaultStore::over(&store.surviving());
        if done {
            return Ok((cuts, Arc::new(store)));
        }
        cuts += u64::from(ended.is_some());
        if !cuts_this || ended.is_none() {
            let why = match ended {
                None => "the child fell silent".to_owned(),
                Some(Err(error)) => error.to_string(),
                Some(Ok(())) => "the child ended".to_owned(),
            };
            found.push(Violation::Child { life, why });
            return Ok((cuts, Arc::new(store)));
        }
    }
    found.push(Violation::Child { life: LIVES_MAX, why: "it does not get on".to_owned() });
    Ok((cuts, Arc::new(store)))
}
