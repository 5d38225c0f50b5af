//! Where two values differ, field by field.
//!
//! Used to tell what an edit changed: in an argument, in a result, between two runs.
//!
//! Invariants: maps are compared in any order, lists by index, floats by bits; what is found is bounded by the caller.

use super::Value;

/// A place where two values differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where: `user.tags[3]`. Empty: the values themselves.
    pub path: String,
    /// What the first value holds there; `None` if it has nothing there.
    pub old: Option<Value>,
    /// What the second value holds there; `None` if it has nothing there.
    pub new: Option<Value>,
}

impl Value {
    /// The path of the first place where another value differs (`user.tags[3]`; empty: the values themselves), or `None`
    /// if they are the same. Maps are compared in any order; floats by bits.
    pub fn first_difference(&self, other: &Value) -> Option<String> {
        self.differences(other, 1).pop().map(|difference| difference.path)
    }

    /// The first places where another value differs, at most so many, in this value's order. Maps are compared in any
    /// order, lists by index, floats by bits.
    pub fn differences(&self, other: &Value, count_max: usize) -> Vec<Difference> {
        let mut found = Found { differences: Vec::new(), count_max };
        found.compare(&mut String::new(), self, other);
        found.differences
    }
}

struct Found {
    differences: Vec<Difference>,
    count_max: usize,
}

impl Found {
    fn is_full(&self) -> bool {
        self.differences.len() >= self.count_max
    }

    fn push(&mut self, path: &str, old: Option<&Value>, new: Option<&Value>) {
        if !self.is_full() {
            self.differences.push(Difference { path: path.to_owned(), old: old.cloned(), new: new.cloned() });
        }
    }

    fn compare(&mut self, path: &mut String, old: &Value, new: &Value) {
        if self.is_full() {
            return;
        }
        match (old, new) {
            (Value::Map(a), Value::Map(b)) => self.maps(path, a, b),
            (Value::List(a), Value::List(b)) => {
                for index in 0..a.len().max(b.len()) {
                    let step = format!("[{index}]");
                    self.at(path, &step, a.get(index), b.get(index));
                    if self.is_full() {
                        return;
                    }
                }
            }
            (Value::Float(a), Value::Float(b)) if a.to_bits() == b.to_bits() => {}
            (Value::Float(_), Value::Float(_)) => self.push(path, Some(old), Some(new)),
            (a, b) if a == b => {}
            (a, b) => self.push(path, Some(a), Some(b)),
        }
    }

    fn maps(&mut self, path: &mut String, a: &[(Value, Value)], b: &[(Value, Value)]) {
        let find = |entries: &[(Value, Value)], key: &Value| entries.iter().position(|(other, _)| other == key);
        for (index, (key, value)) in a.iter().enumerate() {
            // Mostly both have the same order.
            let at = if b.get(index).is_some_and(|(other, _)| other == key) { Some(index) } else { find(b, key) };
            self.at(path, &step(path, key), Some(value), at.map(|at| &b[at].1));
            if self.is_full() {
                return;
            }
        }
        for (index, (key, value)) in b.iter().enumerate() {
            let is_known = a.get(index).is_some_and(|(other, _)| other == key) || find(a, key).is_some();
            if !is_known {
                self.at(path, &step(path, key), None, Some(value));
            }
        }
    }

    fn at(&mut self, path: &mut String, step: &str, old: Option<&Value>, new: Option<&Value>) {
        let length = path.len();
        path.push_str(step);
        match (old, new) {
            (Some(old), Some(new)) => self.compare(path, old, new),
            (old, new) => self.push(path, old, new),
        }
        path.truncate(length);
    }
}

fn step(path: &str, key: &Value) -> String {
    let name = if let Value::Text(text) = key { text.clone() } else { key.to_string() };
    if path.is_empty() { name } else { format!(".{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_first_difference_is_named() {
        let differs = |a, b| value(a).first_difference(&value(b));
        assert_eq!(differs(r#"{"a":1,"b":[{"c":[1,2]}]}"#, r#"{"b":[{"c":[1,3]}],"a":1}"#), Some("b[0].c[1]".into()));
        assert_eq!(differs(r#"{"a":1}"#, r#"{"a":1,"b":2}"#), Some("b".into()));
        assert_eq!(differs("[1,2]", "[1]"), Some("[1]".into()));
        assert_eq!(differs("1", "2"), Some(String::new()));
        assert_eq!(differs(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#), None);
        assert_eq!(Value::Float(0.0).first_difference(&Value::Float(-0.0)), Some(String::new()));
        assert_eq!(Value::Float(f64::NAN).first_difference(&Value::Float(f64::NAN)), None);
    }

    #[test]
    fn all_differences_are_found_up_to_a_bound() {
        let (a, b) = (value(r#"{"a":1,"b":{"c":2,"d":3},"e":[1]}"#), value(r#"{"b":{"d":4,"c":2},"e":[1,2],"f":5}"#));
        let found = a.differences(&b, 10);
        let paths: Vec<_> = found.iter().map(|difference| difference.path.as_str()).collect();
        assert_eq!(paths, ["a", "b.d", "e[1]", "f"]);
        assert_eq!((&found[0].old, &found[0].new), (&Some(Value::Unsigned(1)), &None));
        assert_eq!((&found[1].old, &found[1].new), (&Some(Value::Unsigned(3)), &Some(Value::Unsigned(4))));
        assert_eq!((&found[3].old, &found[3].new), (&None, &Some(Value::Unsigned(5))));
        assert_eq!(a.differences(&b, 2).len(), 2);
        assert!(a.differences(&a, 10).is_empty());
    }
}
