//! Draws `app` in a terminal: events on the left, the state behind the chosen one on the right, all that it says below.
//!
//! Called by `terminal` after every key.
//!
//! Invariant: whatever the size of the terminal, nothing is drawn beyond it.

use anstyle::{AnsiColor, Effects};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};
use relive_engine::id::Sequence;

use super::app::{App, Input};
use super::search::Wanted;
use super::view;
use crate::look::{BAD, DIM, Look, WARN};
use crate::text::{columns, cut, cut_front, escaped, thousands};

/// Below this there is no room for two columns of text: it is said, instead.
const WIDTH_MIN: u16 = 40;
const HEIGHT_MIN: u16 = 12;

const KEYS: &[(&str, &str)] = &[
    ("→ ↓ l j space", "one event on"),
    ("← ↑ h k", "one event back"),
    ("PgDn PgUp ^d ^u", "a screen on, a screen back"),
    ("g G Home End", "the first event, the last"),
    ("17 Enter, 17g", "event 17"),
    ("/text Enter", "look for a text; n on, N back; Esc gives up"),
    ("t", "from the start of a trace to its end, and back"),
    ("c Enter", "into the run of the task that was called here"),
    ("b Backspace", "back to the run that called it"),
    ("? q", "this help; leave"),
];

const HELP: &[&str] = &[
    "",
    "On the right is what was going on when the log was so long. Open are",
    "traces that had begun and not ended, and for how long; delivered is what",
    "the body was given. A life is one of the process: each opening of the",
    "store begins another. Nothing is run, nothing is written.",
];

pub(super) fn draw(app: &mut App, look: &Look, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let text = format!("the terminal is smaller than {WIDTH_MIN}×{HEIGHT_MIN}: make it larger, or press q");
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let detail = if area.height >= 36 { 8 } else { 4 };
    let rows = [1, 1].map(Constraint::Length);
    let [head, bar, middle, below, keys] =
        Layout::vertical([rows[0], rows[1], Constraint::Min(4), Constraint::Length(detail + 1), Constraint::Length(1)])
            .areas(area);
    let [events, state] = Layout::horizontal([Constraint::Percentage(42), Constraint::Fill(1)]).areas(middle);
    line(frame, head, look, head_line(app, usize::from(head.width)));
    let (at, count) = (app.view().at, app.view().history.count());
    line(frame, bar, look, vec![(DIM, view::bar(at, count, usize::from(bar.width)))]);
    draw_events(app, look, frame, events);
    draw_state(app, look, frame, state);
    draw_detail(app, look, frame, below);
    line(frame, keys, look, bottom_line(app, usize::from(keys.width)));
    if app.help {
        draw_help(frame, area);
    }
}

fn head_line(app: &App, width: usize) -> view::Line {
    let view = app.view();
    let place = format!("  event {} of 0–{}", view.at, view.history.last());
    let task = view.record.as_ref().map(|record| format!("{} ", escaped(&record.task))).unwrap_or_default();
    let within = if app.depth() > 0 { format!("  ({} within; b: back)", app.depth()) } else { String::new() };
    let state = view.record.as_ref().map(|record| crate::look::state(record.state));
    let state = state.map(|(word, style)| (style, format!("  {word}")));
    let room = width.saturating_sub(columns(&place) + within.len() + state.as_ref().map_or(0, |(_, word)| word.len()));
    let run = cut(&format!("{task}{}", view.history.run), room);
    let mut parts = vec![(crate::look::BOLD, run)];
    parts.extend(state);
    parts.extend([(anstyle::Style::new(), place), (DIM, within)]);
    parts
}

fn draw_events(app: &mut App, look: &Look, frame: &mut Frame<'_>, area: Rect) {
    let block = Block::new().borders(Borders::TOP | Borders::RIGHT).title(" events ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let height = u64::from(inner.height);
    app.page = height.saturating_sub(1).max(1);
    let view = app.view_mut();
    let (at, last) = (view.at.0, view.history.last().0);
    // The chosen one is in the middle, but where the log begins or ends.
    let first = at.saturating_sub(height / 2).min((last + 1).saturating_sub(height));
    let until = (first + height - 1).min(last);
    let digits = last.to_string().len();
    // What cannot be read is said in its row.
    let _ = view.history.load(Sequence(first), Sequence(until));
    let lines: Vec<Line<'_>> = (first..=until)
        .map(|row| {
            let parts = view::row(&mut view.history, Sequence(row), digits, usize::from(inner.width), &look.zone);
            let shown = shown(look, parts);
            if row == at { shown.patch_style(Style::new().add_modifier(Modifier::REVERSED)) } else { shown }
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn draw_state(app: &mut App, look: &Look, frame: &mut Frame<'_>, area: Rect) {
    let view = app.view_mut();
    let block = Block::new().borders(Borders::TOP).title(format!(" behind event {} ", view.at));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    // A column of space beside the line.
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    let lines = match &view.state {
        Some(state) => {
            let mut lines = view::summary(&mut view.history, state, width, &look.zone);
            let sections = view::sections(&mut view.history, state, width, height);
            let room = height.saturating_sub(lines.len());
            lines.extend(view::fitted(sections, room, width));
            lines
        }
        None => {
            let (read, to) = (view.history.read(), view.at.0.max(1));
            let percent = u128::from(read) * 100 / u128::from(to);
            vec![vec![(WARN, cut(&format!("reading the log up to here: {percent} %"), width))]]
        }
    };
    frame.render_widget(Paragraph::new(lines.into_iter().map(|line| shown(look, line)).collect::<Vec<_>>()), inner);
}

fn draw_detail(app: &mut App, look: &Look, frame: &mut Frame<'_>, area: Rect) {
    let view = app.view_mut();
    let block = Block::new().borders(Borders::TOP).title(format!(" event {} ", view.at));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    let lines = view::detail(&mut view.history, view.at, width, height, &look.zone);
    frame.render_widget(Paragraph::new(lines.into_iter().map(|line| shown(look, line)).collect::<Vec<_>>()), inner);
}

/// What is typed, what there is to say, or the keys.
fn bottom_line(app: &App, width: usize) -> view::Line {
    let plain = anstyle::Style::new();
    if let Input::Text(text) = &app.input {
        return vec![(plain, format!("/{}▏", cut_front(&escaped(text), width.saturating_sub(2))))];
    }
    if let Input::Number(number) = &app.input {
        return vec![(plain, cut(&format!("event {number}▏  Enter goes there"), width))];
    }
    if let Some(search) = &app.search {
        let what = match &search.wanted {
            Wanted::Text(text) => format!("looking for `{}`", escaped(text)),
            Wanted::End(trace) => format!("looking for the end of event {trace}"),
        };
        let left = thousands(search.left);
        return vec![(WARN, cut(&format!("{left} events left: {what}. Esc gives up"), width))];
    }
    if let Some(message) = &app.message {
        return vec![(WARN, cut(message, width))];
    }
    if let Some(damage) = app.view().history.damage() {
        return vec![(BAD, cut(&format!("the log ends in damage: {}", escaped(&damage.to_string())), width))];
    }
    vec![(DIM, cut("→ ← step  g G ends  17⏎ go to  / search  t other end  c child  ? help  q quit", width))]
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let keys = KEYS.iter().map(|(keys, what)| Line::from(format!(" {keys:<16} {what}")));
    let text = HELP.iter().map(|line| Line::from(format!(" {line}")));
    let lines: Vec<Line<'_>> = keys.chain(text).collect();
    let (width, height) = (76.min(area.width), (lines.len() as u16 + 2).min(area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), place);
}

fn line(frame: &mut Frame<'_>, area: Rect, look: &Look, parts: view::Line) {
    frame.render_widget(Paragraph::new(shown(look, parts)), area);
}

/// A line in the terminal's styles.
fn shown(look: &Look, parts: view::Line) -> Line<'static> {
    Line::from(parts.into_iter().map(|(style, text)| Span::styled(text, styled(look, style))).collect::<Vec<_>>())
}

fn styled(look: &Look, style: anstyle::Style) -> Style {
    let mut styled = Style::new();
    if !look.color {
        return styled;
    }
    if let Some(anstyle::Color::Ansi(color)) = style.get_fg_color() {
        styled = styled.fg(match color {
            AnsiColor::Green => Color::Green,
            AnsiColor::Red => Color::Red,
            AnsiColor::Yellow => Color::Yellow,
            AnsiColor::Cyan => Color::Cyan,
            AnsiColor::Blue => Color::Blue,
            _ => Color::Reset,
        });
    }
    let effects = style.get_effects();
    for (effect, modifier) in [(Effects::BOLD, Modifier::BOLD), (Effects::DIMMED, Modifier::DIM)] {
        if effects.contains(effect) {
            styled = styled.add_modifier(modifier);
        }
    }
    styled
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use jiff::tz::TimeZone;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent};

    use super::*;
    use crate::step::testing::{RUN, damage, digest, reader, started_with, stored, task_started};

    fn terminal(width: u16, height: u16) -> Terminal<TestBackend> {
        Terminal::new(TestBackend::new(width, height)).unwrap()
    }

    fn look() -> Look {
        Look { zone: TimeZone::UTC, ..Look::new(100, true) }
    }

    /// What the terminal shows after these keys.
    fn screen(app: &mut App, keys: &str, width: u16, height: u16) -> String {
        for key in keys.chars() {
            app.press(KeyEvent::from(if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) }));
            while app.is_busy() {
                app.work();
            }
        }
        let mut terminal = terminal(width, height);
        terminal.draw(|frame| draw(app, &look(), frame)).unwrap();
        terminal.backend().to_string()
    }

    fn app() -> App {
        App::open(reader(stored(RUN, digest())), RUN).unwrap()
    }

    #[test]
    fn a_screen_shows_events_and_what_was_going_on() {
        assert_snapshot!(screen(&mut app(), "8G", 80, 24));
        assert_snapshot!(screen(&mut app(), "G", 120, 40));
    }

    #[test]
    fn what_is_typed_and_what_there_is_to_say_is_in_the_last_line() {
        let mut app = app();
        let mut last = |keys: &str| screen(&mut app, keys, 80, 24).lines().last().unwrap_or_default().to_owned();
        assert!(last("g").contains("→ ← step"), "{}", last("g"));
        assert!(last("/sum").contains("/sum"));
        assert!(last("\n12").contains("event 12"));
        assert!(last("\n").contains("→ ← step"));
        assert!(last("99\n").contains("there is no event 99"));
    }

    #[test]
    fn help_lists_the_keys() {
        assert_snapshot!(screen(&mut app(), "?", 80, 24));
    }

    #[test]
    fn damage_is_said_below_what_precedes_it() {
        let store = stored(RUN, digest());
        damage(&store, RUN, 5);
        let text = screen(&mut App::open(reader(store), RUN).unwrap(), "gG", 100, 24);
        assert!(text.contains("event 4 of 0–4") && text.contains("the log ends in damage: run"), "{text}");
    }

    #[test]
    fn a_state_that_is_not_known_yet_says_how_far_the_log_was_read() {
        let batches = std::iter::once(vec![task_started(1)])
            .chain((0..20_000).map(|_| vec![started_with("fetch", "a", 0)]))
            .collect();
        let mut app = App::open(reader(stored(RUN, batches)), RUN).unwrap();
        let mut terminal = terminal(80, 24);
        terminal.draw(|frame| draw(&mut app, &look(), frame)).unwrap();
        let text = terminal.backend().to_string();
        assert!(text.contains("reading the log up to here: 0 %") && text.contains("20000  call"), "{text}");
        assert!(screen(&mut app, "G", 80, 24).contains("20,000 traces: 20,000 open"));
    }

    #[test]
    fn nothing_is_drawn_beyond_a_terminal_of_any_size() {
        let mut app = app();
        for (width, height) in [(1, 1), (10, 3), (39, 50), (40, 12), (41, 13), (80, 12), (300, 100)] {
            for keys in ["", "g", "?", "x", "/a", "\n"] {
                let text = screen(&mut app, keys, width, height);
                assert_eq!(text.lines().count(), usize::from(height), "{width}×{height}");
                assert!(!text.contains('\u{1b}'));
            }
        }
    }
}
