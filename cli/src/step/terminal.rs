//! The terminal itself: takes it, waits for keys, gives it back.
//!
//! Called by `step`. All that is decided is decided in `app`, all that is drawn is drawn by `screen`.
//!
//! Invariant: the terminal is as it was when this returns, also after an error or a panic.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use relive_engine::id::RunId;
use relive_storage::Read;

use super::app::{App, Next};
use super::screen;
use crate::failure::Failure;
use crate::look::Look;

/// Shows a run until somebody leaves.
pub(super) fn run(store: Arc<dyn Read>, run: RunId, look: &Look) -> Result<(), Failure> {
    // Before the terminal is taken: what is wrong is told on a screen that stays.
    let mut app = App::open(store, run)?;
    // Installs a panic hook that gives it back.
    let mut terminal = ratatui::try_init()?;
    let walked = walk(&mut app, look, &mut terminal);
    let restored = ratatui::try_restore();
    walked?;
    Ok(restored?)
}

fn walk(app: &mut App, look: &Look, terminal: &mut DefaultTerminal) -> io::Result<()> {
    loop {
        terminal.draw(|frame| screen::draw(app, look, frame))?;
        // Works as long as no key comes, and draws how far it got.
        while app.is_busy() && !event::poll(Duration::ZERO)? {
            let known = app.view().state.is_some();
            app.work();
            if !known || app.search.is_some() || app.message.is_some() {
                terminal.draw(|frame| screen::draw(app, look, frame))?;
            }
        }
        // All that has come is taken before it is drawn again: a key that is held down does not run on.
        loop {
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && app.press(key) == Next::Quit
            {
                return Ok(());
            }
            if !event::poll(Duration::ZERO)? {
                break;
            }
        }
    }
}
