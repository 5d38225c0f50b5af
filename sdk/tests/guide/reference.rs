//! `docs/reference.md` names tests: each must be there, and every row must name one.

use std::fs;
use std::path::Path;

const REFERENCE: &str = include_str!("../../../docs/reference.md");

/// A link to a test: the function's name, and its file as seen from `docs`.
fn links(row: &str) -> Vec<(&str, &str)> {
    let links = row.split("[`").skip(1).filter_map(|link| {
        let (name, rest) = link.split_once("`](")?;
        Some((name, rest.split_once(')')?.0))
    });
    links.collect()
}

/// Whether a file has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let is_test = |line: &str| line.starts_with("#[test") || line.starts_with("#[tokio::test");
    let named = [format!("fn {name}("), format!("async fn {name}(")];
    let lines = text.lines().map(str::trim).collect::<Vec<_>>();
    let position = lines.iter().position(|line| named.iter().any(|named| line.starts_with(named)));
    // Other attributes may stand between.
    position
        .is_some_and(|at| lines[..at].iter().rev().take_while(|line| line.starts_with("#[")).any(|line| is_test(line)))
}

#[test]
fn every_row_names_tests_that_exist() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let rows = REFERENCE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| the reference |"));
    let mut count = 0;
    for row in rows {
        let links = links(row);
        assert!(!links.is_empty(), "this row of docs/reference.md names no test:\n{row}");
        for (name, file) in links {
            let text = fs::read_to_string(docs.join(file));
            let text = text.unwrap_or_else(|error| panic!("docs/reference.md links to {file}: {error}"));
            assert!(has_test(&text, name), "docs/reference.md names the test {name}, which {file} does not have");
            count += 1;
        }
    }
    assert!(count > 50, "the table is found");
}
