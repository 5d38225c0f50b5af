//! Runs that cannot go on until somebody acts: that stands on record, so that who only reads the store sees it, too.
//!
//! The record is the run's row in `unfinished`; its log is not touched. Written by `execute`, as an attempt ends with an error
//! that is no outcome, and by `recover` and `park`, for runs that are not taken up at all; taken back before the run is tried
//! again.
//!
//! Invariants: what is blocked in memory is blocked on record, unless the engine cannot write or takes no runs up; finding the
//! same reason again does not change since when it is blocked.

use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::id::{RunId, Timestamp};
use crate::index::{BlockReason, Blocked, Standing};

/// How often a row is read anew that others change meanwhile: signals only read it, so that once is enough.
const TRIES_MAX: u32 = 10;

impl Inner {
    /// Records why a run cannot go on. Gives since when that is so, or `None` if it could not be recorded: the store says so
    /// to everybody. `before` is what kept it from going on before it was tried again.
    pub(crate) async fn put_blocked(
        &self,
        run: RunId,
        error: &Error,
        before: Option<Box<Blocked>>,
    ) -> Option<Timestamp> {
        let reason = BlockReason::of(error.kind());
        let now = self.environment.clock.now();
        let before = before.filter(|before| before.reason == reason).map(|before| before.since);
        for _ in 0..TRIES_MAX {
            // If there is no row, it has ended meanwhile; one that is damaged can say nothing.
            let (mut record, row) = self.unfinished_row(run).ok().flatten()?;
            let on_record = match &record.standing {
                Standing::Blocked(blocked) if blocked.reason == reason => Some(blocked.since),
                _ => None,
            };
            let since = on_record.or(before).unwrap_or(now);
            let blocked = Standing::Blocked(Blocked::of(error, reason, since));
            // `park` has written it just now.
            if record.standing == blocked {
                return Some(since);
            }
            record.standing = blocked;
            if self.replace_row(run, row, &record).await.ok()?.is_some() {
                return Some(since);
            }
        }
        None
    }

    /// Notes that a run is tried again, durably.
    pub(crate) async fn unblock(&self, run: RunId) -> Result<()> {
        for _ in 0..TRIES_MAX {
            let Some((mut record, row)) = self.unfinished_row(run)? else { return Ok(()) };
            if !matches!(record.standing, Standing::Blocked(_)) {
                return Ok(());
            }
            record.standing = Standing::UnderWay;
            if self.replace_row(run, row, &record).await?.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }
}
