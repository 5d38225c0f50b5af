//! What the compiler says to someone who uses `#[task]` or `#[trace]` wrongly, and that it is silent otherwise.
//!
//! A file below `ui` is one theme, with a function for each message. After a change of words, let
//! `TRYBUILD=overwrite cargo test -p relive-ui` write the `.stderr` files, and read the difference.

#[test]
fn a_mistake_is_explained_where_it_was_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

#[test]
fn what_is_right_compiles_without_a_warning() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}
