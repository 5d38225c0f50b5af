//! Replays run 01M829YVN3HE3CH7J1DZG8MF9R of task exported.order as it was recorded. Written by `relive export --test`.
//!
//! No effect begins. If it fails, the code does not do any more what it did then; the error names the first place.
//! A task that needs clients gets them by `relive::Engine::builder().provide(…).replay_export(…)`.

// Links in the tasks of this package.
use relive_tests as _;

#[test]
fn exported_order_replays_as_it_was_recorded() -> relive::Result<()> {
    relive::replay_export(include_bytes!("exported.relive"))
}
