//! Moving in a run's log: keys → position, without a terminal.
//!
//! Driven by `terminal`, drawn by `screen`. What may take long (reading on, searching) is done a slice at a time by
//! [`App::work`], so that a key is answered at once.
//!
//! Invariant: the position is that of an event that can be read.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use relive_engine::error::{Error, Result};
use relive_engine::event::Event;
use relive_engine::id::{RunId, Sequence};
use relive_engine::index::RunRecord;
use relive_engine::inspect;
use relive_storage::Read;

use super::history::History;
use super::search::{Search, Step, Wanted};
use super::state::State;
use crate::text::{escaped, thousands};

/// So many events are read or searched before the next key is looked for: 4,096, a few milliseconds.
const SLICE: u64 = 4_096;

/// How deep one goes into children: 64, as a run that calls itself has no end.
const DEPTH_MAX: usize = 64;

/// Longest text that is looked for: 200 characters, more than the line has room for.
const INPUT_MAX: usize = 200;

/// A run, and where one is in it.
pub(super) struct Viewed {
    pub(super) history: History,
    pub(super) record: Option<RunRecord>,
    pub(super) at: Sequence,
    /// The state there, once the log was read so far.
    pub(super) state: Option<State>,
}

impl Viewed {
    fn open(store: &Arc<dyn Read>, run: RunId) -> Result<Self> {
        let history = History::open(Arc::clone(store), run)?;
        let record = inspect::run(store.as_ref(), run)?;
        Ok(Self { at: history.last(), history, record, state: None })
    }
}

/// What is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    /// A position.
    Number(String),
    /// A text to look for.
    Text(String),
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Quit,
}

/// The whole of it.
pub(super) struct App {
    store: Arc<dyn Read>,
    /// The run that was asked for, and the children that were gone into.
    views: Vec<Viewed>,
    pub(super) input: Input,
    pub(super) search: Option<Search>,
    /// What was looked for last.
    sought: Option<String>,
    /// What there is to say about the last key.
    pub(super) message: Option<String>,
    pub(super) help: bool,
    /// How many events the screen shows.
    pub(super) page: u64,
}

impl App {
    /// At the last event of a run.
    ///
    /// # Errors
    /// If there is no such run, or its log cannot be read.
    pub(super) fn open(store: Arc<dyn Read>, run: RunId) -> Result<Self> {
        let view = Viewed::open(&store, run)?;
        let mut app = Self {
            store,
            views: vec![view],
            input: Input::Nothing,
            search: None,
            sought: None,
            message: None,
            help: false,
            page: 20,
        };
        app.settle();
        Ok(app)
    }

    pub(super) fn view(&self) -> &Viewed {
        self.views.last().expect("there is always the run that was asked for")
    }

    pub(super) fn view_mut(&mut self) -> &mut Viewed {
        self.views.last_mut().expect("there is always the run that was asked for")
    }

    /// How many runs one has gone into.
    pub(super) fn depth(&self) -> usize {
        self.views.len() - 1
    }

    /// Whether there is work to do while no key comes.
    pub(super) fn is_busy(&self) -> bool {
        self.search.is_some() || !self.view().history.is_read()
    }

    /// Does a slice of what there is to do.
    pub(super) fn work(&mut self) {
        if let Some(mut search) = self.search.take() {
            match search.step(&self.view().history, SLICE) {
                Ok(Step::Found(at, turned)) => {
                    self.go(at);
                    self.message = turned.then(|| "went on at the other end of the log".to_owned());
                }
                Ok(Step::Nowhere) => {
                    self.message = Some(match &search.wanted {
                        Wanted::Text(text) => format!("no other event says `{}`", escaped(text)),
                        Wanted::End(_) => "it has not ended in this log".to_owned(),
                    });
                }
                Ok(Step::Further) => self.search = Some(search),
                // A damaged record: reading on finds it, and the log ends there.
                Err(error) if !self.view().history.is_read() => {
                    self.message = Some(format!("the search has met damage: {}", escaped(&error.to_string())));
                }
                Err(error) => self.failed(&error),
            }
            return;
        }
        self.view_mut().history.read_on(SLICE);
        self.settle();
    }

    /// Brings the position back into a log that has turned out shorter, and finds the state there if that is quick.
    fn settle(&mut self) {
        let view = self.view_mut();
        if view.at > view.history.last() {
            view.at = view.history.last();
            view.state = None;
        }
        if view.state.is_some() || !view.history.is_read_to(view.at) {
            return;
        }
        match view.history.state(view.at) {
            Ok(state) => view.state = Some(state),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &Error) {
        self.message = Some(escaped(&error.to_string()));
    }

    /// To an event, or the last if there are fewer.
    pub(super) fn go(&mut self, at: Sequence) {
        let view = self.view_mut();
        view.at = at.min(view.history.last());
        view.state = None;
        // A few slices more are not felt, and spare a flicker.
        if !view.history.is_read_to(view.at) {
            view.history.read_on(SLICE);
        }
        self.settle();
    }

    fn forward(&mut self, count: u64) {
        self.go(Sequence(self.view().at.0.saturating_add(count)));
    }

    fn back(&mut self, count: u64) {
        self.go(Sequence(self.view().at.0.saturating_sub(count)));
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        self.message = None;
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Next::Quit;
        }
        if self.search.take().is_some() && key.code == KeyCode::Esc {
            self.message = Some("the search was given up".to_owned());
            return Next::GoOn;
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') { Next::Quit } else { Next::GoOn };
        }
        match std::mem::replace(&mut self.input, Input::Nothing) {
            Input::Text(text) => {
                self.type_text(text, key);
                Next::GoOn
            }
            Input::Number(number) => self.type_number(number, key),
            Input::Nothing => self.command(key),
        }
    }

    fn type_text(&mut self, mut text: String, key: KeyEvent) {
        match key.code {
            KeyCode::Esc => return,
            KeyCode::Enter => {
                if !text.is_empty() {
                    self.sought = Some(text);
                }
                return self.seek(true);
            }
            KeyCode::Backspace if text.pop().is_none() => return,
            KeyCode::Char(character) if text.chars().count() < INPUT_MAX => text.push(character),
            _ => {}
        }
        self.input = Input::Text(text);
    }

    fn type_number(&mut self, mut number: String, key: KeyEvent) -> Next {
        match key.code {
            KeyCode::Esc => return Next::GoOn,
            KeyCode::Enter | KeyCode::Char('g' | 'G') => {
                self.jump(&number);
                return Next::GoOn;
            }
            KeyCode::Backspace => {
                number.pop();
            }
            KeyCode::Char(digit) if digit.is_ascii_digit() => number.push(digit),
            // Another key means itself, and the number is forgotten.
            _ => return self.command(key),
        }
        // No log has more events than 20 digits can count.
        number.truncate(20);
        self.input = if number.is_empty() { Input::Nothing } else { Input::Number(number) };
        Next::GoOn
    }

    fn jump(&mut self, number: &str) {
        let count = self.view().history.count();
        match number.parse::<u64>() {
            Ok(at) if at < count => self.go(Sequence(at)),
            _ => {
                let last = thousands(count.saturating_sub(1));
                self.message =
                    Some(format!("there is no event {number}: the log has {}, 0 to {last}", thousands(count)));
            }
        }
    }

    fn command(&mut self, key: KeyEvent) -> Next {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('d') if control => self.forward(self.page),
            KeyCode::Char('u') if control => self.back(self.page),
            KeyCode::Right | KeyCode::Down | KeyCode::Char('l' | 'j' | ' ') => self.forward(1),
            KeyCode::Left | KeyCode::Up | KeyCode::Char('h' | 'k') => self.back(1),
            KeyCode::PageDown => self.forward(self.page),
            KeyCode::PageUp => self.back(self.page),
            KeyCode::Home | KeyCode::Char('g') => self.go(Sequence(0)),
            KeyCode::End | KeyCode::Char('G') => self.go(self.view().history.last()),
            KeyCode::Char(digit) if digit.is_ascii_digit() => self.input = Input::Number(digit.to_string()),
            KeyCode::Char('/') => self.input = Input::Text(String::new()),
            KeyCode::Char('n') => self.seek(true),
            KeyCode::Char('N') => self.seek(false),
            KeyCode::Char('t') => self.other_end(),
            KeyCode::Char('c') | KeyCode::Enter => self.enter_child(),
            KeyCode::Char('b') | KeyCode::Backspace | KeyCode::Esc => self.leave_child(),
            KeyCode::Char('?') | KeyCode::F(1) => self.help = true,
            _ => self.message = Some("no such key: ? lists them".to_owned()),
        }
        Next::GoOn
    }

    fn seek(&mut self, forward: bool) {
        let Some(text) = self.sought.clone() else {
            self.message = Some("nothing to look for yet: / and a text".to_owned());
            return;
        };
        let view = self.view();
        self.search = Some(Search::new(Wanted::Text(text), view.at, forward, view.history.count()));
    }

    /// From the start of a trace to its end, from anything else of it to its start.
    fn other_end(&mut self) {
        let view = self.view_mut();
        let at = view.at;
        match view.history.event(at).map(|logged| History::trace_of(&logged)) {
            Ok(Some(trace)) if trace != at => self.go(trace),
            Ok(Some(trace)) => {
                self.search = Some(Search::new(Wanted::End(trace), at, true, view.history.count()));
            }
            Ok(None) => self.message = Some("this event is of no trace".to_owned()),
            Err(error) => self.failed(&error),
        }
    }

    /// Into the run of the child that the event is about.
    fn enter_child(&mut self) {
        let view = self.view_mut();
        let at = view.at;
        let child = view.history.event(at).and_then(|logged| {
            let started = match History::trace_of(&logged) {
                Some(trace) => view.history.event(trace)?,
                None => logged,
            };
            Ok(match &started.event {
                Event::TraceStarted(started) => started.child,
                _ => None,
            })
        });
        let opened = match child {
            Ok(None) => {
                self.message = Some("this event is of no task that was called: nothing to go into".to_owned());
                return;
            }
            Ok(Some(_)) if self.views.len() > DEPTH_MAX => {
                self.message = Some(format!("{DEPTH_MAX} runs deep is as deep as it goes"));
                return;
            }
            Ok(Some(child)) => self.open_child(child),
            Err(error) => Err(error),
        };
        match opened {
            Ok(Some(view)) => {
                self.views.push(view);
                self.settle();
            }
            Ok(None) => self.message = Some("its run has not begun, or was removed".to_owned()),
            Err(error) => self.failed(&error),
        }
    }

    fn open_child(&self, child: RunId) -> Result<Option<Viewed>> {
        inspect::child(self.store.as_ref(), child)?.map(|run| Viewed::open(&self.store, run)).transpose()
    }

    fn leave_child(&mut self) {
        if self.views.len() > 1 {
            self.views.pop();
            return;
        }
        let parent = self.view().record.as_ref().and_then(|record| record.parent);
        self.message = Some(match parent {
            Some(parent) => format!("this run was called by another: relive step {parent}"),
            None => "this is the run that you asked for: q leaves".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::testing::{
        RUN, add, child_started, completed, damage, digest, reader, started, stored, task_completed, task_started,
    };

    const CHILD: RunId = RunId::from_bytes([9; 16]);

    fn app() -> App {
        App::open(reader(stored(RUN, digest())), RUN).unwrap()
    }

    fn press(app: &mut App, keys: &str) {
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                other => KeyCode::Char(other),
            };
            assert_eq!(app.press(KeyEvent::from(code)), Next::GoOn, "{keys}");
            while app.is_busy() {
                app.work();
            }
        }
    }

    /// Where one is after these keys.
    fn after(app: &mut App, keys: &str) -> u64 {
        press(app, keys);
        let view = app.view();
        assert_eq!(view.state.as_ref().and_then(State::last), Some(view.at), "{keys}");
        view.at.0
    }

    #[test]
    fn keys_move_within_the_log() {
        let mut app = app();
        assert_eq!(app.view().at, Sequence(13));
        for (keys, at) in [
            ("l", 13),
            ("h", 12),
            ("kk", 10),
            ("j", 11),
            ("g", 0),
            ("k", 0),
            ("G", 13),
            ("4G", 4),
            ("12\n", 12),
            ("7g", 7),
            ("3h", 6),
        ] {
            assert_eq!(after(&mut app, keys), at, "{keys}");
        }
        app.page = 5;
        for (code, at) in [
            (KeyCode::PageUp, 1),
            (KeyCode::PageUp, 0),
            (KeyCode::PageDown, 5),
            (KeyCode::End, 13),
            (KeyCode::Home, 0),
            (KeyCode::Right, 1),
            (KeyCode::Left, 0),
        ] {
            app.press(KeyEvent::from(code));
            assert_eq!(app.view().at, Sequence(at), "{code:?}");
        }
    }

    #[test]
    fn a_number_beyond_the_end_says_how_many_there_are() {
        let mut app = app();
        for keys in ["14G", "99999999999999999999999\n"] {
            press(&mut app, "3G");
            assert_eq!(after(&mut app, keys), 3);
            assert!(app.message.as_ref().unwrap().contains("the log has 14, 0 to 13"), "{:?}", app.message);
        }
        press(&mut app, "12\u{8}\u{8}");
        assert_eq!(app.input, Input::Nothing);
        assert_eq!(after(&mut app, "5\u{1b}"), 3);
    }

    #[test]
    fn a_text_is_looked_for_again_and_again() {
        let mut app = app();
        press(&mut app, "n");
        assert!(app.message.as_ref().unwrap().contains("nothing to look for"));
        assert_eq!(after(&mut app, "g/summ\n"), 7);
        assert_eq!(after(&mut app, "n"), 10);
        assert_eq!(after(&mut app, "n"), 7);
        assert!(app.message.as_ref().unwrap().contains("other end"));
        assert_eq!(after(&mut app, "N"), 10);
        assert_eq!(after(&mut app, "/\n"), 7, "the same again");
        assert_eq!(after(&mut app, "/nowhere\u{8}\u{8}?\n"), 7);
        assert_eq!(app.message.as_deref(), Some("no other event says `nowhe?`"));
        assert_eq!(after(&mut app, "/summ\u{1b}"), 7);
    }

    #[test]
    fn a_search_is_given_up_by_a_key() {
        let mut app = app();
        press(&mut app, "g");
        for key in "/x\n".chars() {
            app.press(KeyEvent::from(if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) }));
        }
        assert!(app.search.is_some());
        app.press(KeyEvent::from(KeyCode::Esc));
        assert!(app.search.is_none() && app.message.as_ref().unwrap().contains("given up"));
    }

    #[test]
    fn a_trace_has_two_ends() {
        let mut app = app();
        assert_eq!(after(&mut app, "3Gt"), 9);
        assert_eq!(after(&mut app, "t"), 3);
        assert_eq!(after(&mut app, "5Gt"), 3, "from a failed try to the start");
        press(&mut app, "gt");
        assert!(app.message.as_ref().unwrap().contains("no trace"));
    }

    #[test]
    fn one_goes_into_a_child_and_comes_back_to_where_one_was() {
        let store =
            stored(RUN, vec![vec![task_started(1), child_started(CHILD)], vec![completed(1, "x"), started("fetch")]]);
        let mut app = App::open(reader(store.clone()), RUN).unwrap();
        press(&mut app, "2Gc");
        assert!(app.message.as_ref().unwrap().contains("not begun") && app.depth() == 0);

        add(&store, CHILD, vec![vec![task_started(1), task_completed()]]);
        let record = relive_engine::index::RunRecord {
            task: "digest".to_owned(),
            id: None,
            state: relive_engine::index::RunState::Completed,
            started_at: super::super::testing::moment(0),
            finished_at: None,
            attempts: 1,
            attempt_at: Sequence(0),
            parent: Some(RUN),
            tags: Vec::new(),
        };
        super::super::testing::put_run(&store, CHILD, &record);
        let mut app = App::open(reader(store), RUN).unwrap();
        // From the end of its call as well as from the start.
        press(&mut app, "2Gc");
        assert_eq!((app.depth(), app.view().history.run, app.view().at), (1, CHILD, Sequence(1)));
        press(&mut app, "gc");
        assert!(app.message.as_ref().unwrap().contains("nothing to go into"));
        press(&mut app, "b");
        assert_eq!((app.depth(), app.view().history.run, app.view().at), (0, RUN, Sequence(2)));
        press(&mut app, "b");
        assert!(app.message.as_ref().unwrap().contains("q leaves"));
    }

    #[test]
    fn a_damaged_log_is_walked_up_to_its_damage() {
        let store = stored(RUN, digest());
        damage(&store, RUN, 5);
        let mut app = App::open(reader(store), RUN).unwrap();
        while app.is_busy() {
            app.work();
        }
        assert_eq!(app.view().at, Sequence(4));
        assert!(app.view().history.damage().is_some());
        assert_eq!(after(&mut app, "gG"), 4);
    }

    #[test]
    fn keys_without_a_meaning_say_so_and_help_is_left_by_any() {
        let mut app = app();
        press(&mut app, "x");
        assert!(app.message.as_ref().unwrap().contains("? lists them"));
        press(&mut app, "?");
        assert!(app.help);
        press(&mut app, "x");
        assert!(!app.help && app.message.is_none());
        assert_eq!(app.press(KeyEvent::from(KeyCode::Char('q'))), Next::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        app.input = Input::Text("q".to_owned());
        assert_eq!(app.press(interrupt), Next::Quit);
    }
}
