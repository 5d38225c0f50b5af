//! The form of a collection whose order means nothing: its elements, sorted by their forms.
//!
//! A form is its own measure, so the elements are found again in what was written.

use super::kind;

/// The form with the elements of its list sorted, also of one in an `Option`. Any other form stays as it is.
pub(super) fn sorted(mut form: Vec<u8>) -> Vec<u8> {
    let at = form.iter().take_while(|byte| **byte == kind::SOME).count();
    let Some((&kind::LIST, rest)) = form[at..].split_first() else { return form };
    let (count, mut rest) = unsigned(rest);
    let mut elements = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let (element, behind) = rest.split_at(length(rest));
        elements.push(element);
        rest = behind;
    }
    elements.sort_unstable();
    let list = elements.concat();
    form.truncate(form.len() - list.len());
    form.extend_from_slice(&list);
    form
}

/// Length of the form at the front of these bytes, which `canonical` itself has written.
fn length(form: &[u8]) -> usize {
    let body = &form[1..];
    // A count, then so many forms.
    let forms = |per_count: usize| {
        let (count, mut rest) = unsigned(body);
        for _ in 0..count * per_count {
            rest = &rest[length(rest)..];
        }
        form.len() - rest.len()
    };
    let sized = || {
        let (length, rest) = unsigned(body);
        form.len() - rest.len() + length
    };
    match form[0] {
        kind::NONE | kind::UNIT => 1,
        kind::BOOL => 2,
        kind::FLOAT => 9,
        kind::UNSIGNED | kind::NEGATIVE => 2 + body[0] as usize,
        kind::SOME => 1 + length(body),
        kind::TEXT | kind::BYTES => sized(),
        kind::VARIANT => {
            let name = sized();
            name + length(&form[name..])
        }
        kind::LIST => forms(1),
        kind::MAP => forms(2),
        other => unreachable!("canonical writes no part of kind {other}"),
    }
}

/// A number that `put_unsigned` wrote, and what is behind it.
fn unsigned(bytes: &[u8]) -> (usize, &[u8]) {
    let (digits, rest) = bytes[1..].split_at(bytes[0] as usize);
    (digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit)), rest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::canonical::canonical;
    use crate::payload::unordered::unordered;

    #[test]
    fn order_of_a_declared_set_does_not_matter_and_its_elements_do() {
        assert_eq!(canonical(&unordered(vec![3, 1, 2])).unwrap(), canonical(&unordered([1, 2, 3])).unwrap());
        assert_ne!(canonical(&unordered(vec![1, 1, 2])).unwrap(), canonical(&unordered([1, 2, 2])).unwrap());
        assert_eq!(canonical(&unordered(Some([3, 1]))).unwrap(), canonical(&Some([1, 3])).unwrap());
        assert_ne!(canonical(&vec![2, 1]).unwrap(), canonical(&vec![1, 2]).unwrap());
        assert_eq!(canonical(&unordered(vec![1, 2])).unwrap(), canonical(&vec![1, 2]).unwrap());
    }

    #[test]
    fn elements_of_every_kind_are_told_apart() {
        type Parts = (Option<bool>, (), f64, i64, Vec<String>, BTreeMap<u8, Result<u128, String>>);
        let element = |number: i64| -> Parts {
            let texts = vec!["x".repeat(300 + number as usize), String::new()];
            let map = BTreeMap::from([(1, Ok(u128::MAX)), (2, Err("no".to_owned()))]);
            ((number > 1).then_some(true), (), 0.5, -number, texts, map)
        };
        let nested = |order: [i64; 3]| unordered(order.map(|n| unordered(vec![element(n), element(7)])));
        assert_eq!(canonical(&nested([1, 2, 3])).unwrap(), canonical(&nested([3, 1, 2])).unwrap());
        assert_ne!(canonical(&nested([1, 2, 3])).unwrap(), canonical(&nested([3, 1, 1])).unwrap());
    }

    #[test]
    fn what_is_no_list_is_left_as_it_is() {
        assert_eq!(canonical(&unordered(7)).unwrap(), canonical(&7).unwrap());
    }
}
