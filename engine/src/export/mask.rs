//! Fields that an export leaves out: their values are replaced, wherever a payload has a field of that name.
//!
//! Called by `export` for every event and signal, once to see what would be replaced and once to write it.
//!
//! Invariant: of a replaced value the file holds nothing, not even a hash that could be guessed at. What cannot be looked
//! into (bincode) is replaced whole; what a hook has sealed stays as it is, sealed.

use crate::event::{ErrorRecord, Event, TaskOutcome, TraceOutcome};
use crate::id::InputHash;
use crate::payload::redact::MASK;
use crate::payload::{Encoding, Payload, PayloadCodec};
use crate::value::{Exact, Value};

/// The fields to be replaced, and how often each was found.
pub(super) struct Mask {
    fields: Vec<Field>,
    /// What the hashes of replaced inputs are keyed with.
    key: [u8; 32],
    /// How many values were replaced.
    pub(super) count: u64,
    /// Whether an argument was met that the attribute of its trace had masked before.
    pub(super) met_mask: bool,
}

struct Field {
    name: String,
    path: Vec<String>,
    found: bool,
}

impl Mask {
    /// `user.password` is a field `password` of a field `user`, at any depth.
    pub(super) fn new(fields: &[String], key: [u8; 32]) -> Self {
        let field = |name: &String| Field {
            name: name.clone(),
            path: name.split('.').map(str::to_owned).collect(),
            found: false,
        };
        Self { fields: fields.iter().map(field).collect(), key, count: 0, met_mask: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields that were found nowhere.
    pub(super) fn not_found(&self) -> Vec<&str> {
        self.fields.iter().filter(|field| !field.found).map(|field| field.name.as_str()).collect()
    }

    /// Replaces what is to be replaced in an event.
    pub(super) fn event(&mut self, event: &mut Event) {
        match event {
            Event::TaskStarted(started) => drop(self.payload(&mut started.input)),
            Event::TraceStarted(started) => {
                self.met_mask |= self.is_empty() && holds_mask(&started.input);
                if self.payload(&mut started.input) {
                    started.input_hash = InputHash::of(&self.hash(started.input_hash.as_bytes()));
                }
            }
            Event::TraceCompleted(completed) => match &mut completed.outcome {
                TraceOutcome::Ok(output) => drop(self.payload(output)),
                TraceOutcome::Err(error) => self.error(error),
                TraceOutcome::Dropped => {}
            },
            Event::TaskCompleted(completed) => match &mut completed.outcome {
                TaskOutcome::Ok(output) => drop(self.payload(output)),
                TaskOutcome::Err(error) => self.error(error),
                TaskOutcome::Cancelled => {}
            },
            Event::TraceRetried(retried) => self.error(&mut retried.error),
            Event::TraceYielded(yielded) => drop(self.payload(&mut yielded.item)),
            Event::SignalReceived(received) => drop(self.payload(&mut received.value)),
        }
    }

    fn error(&mut self, error: &mut ErrorRecord) {
        if let Some(value) = &mut error.value {
            self.payload(value);
        }
    }

    /// Says whether anything in it was replaced.
    pub(super) fn payload(&mut self, payload: &mut Payload) -> bool {
        if self.is_empty() || payload.hook().is_some() {
            return false;
        }
        let mut value = payload.to_value();
        if let (Value::Bytes(_), true) = (&value, payload.codec() == PayloadCodec::BINCODE) {
            value = Value::Text(MASK.to_owned());
            self.count += 1;
        } else {
            let before = self.count;
            self.value(&mut value);
            if self.count == before {
                return false;
            }
        }
        *payload = written(payload.codec(), &value);
        true
    }

    fn value(&mut self, value: &mut Value) {
        let Self { fields, count, .. } = self;
        for field in fields {
            let found = replace(value, &field.path, &field.path);
            field.found |= found > 0;
            *count += found;
        }
    }

    /// Stands for a hash in the file: the same for the same, and nobody can make it from a guess.
    pub(super) fn hash(&self, hash: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.key, hash).as_bytes()
    }
}

/// Replaces what `rest`, an end of `path`, leads to from here; if it is the whole path, also what that leads to from
/// anywhere below. Says how many.
fn replace(value: &mut Value, path: &[String], rest: &[String]) -> u64 {
    match value {
        Value::List(items) => items.iter_mut().map(|item| replace(item, path, rest)).sum(),
        Value::Map(entries) => {
            let mut count = 0;
            for (key, value) in entries {
                match (key, rest) {
                    (Value::Text(name), [last]) if last == name => {
                        *value = Value::Text(MASK.to_owned());
                        count += 1;
                    }
                    (Value::Text(name), [next, behind @ ..]) if next == name => count += replace(value, path, behind),
                    _ => {}
                }
                // Only from where the path begins, or each level would be looked at once more than the one above.
                if rest.len() == path.len() {
                    count += replace(value, path, path);
                }
            }
            count
        }
        _ => 0,
    }
}

/// A value as a payload of this codec, or of MessagePack where that cannot hold one without its type.
fn written(codec: PayloadCodec, value: &Value) -> Payload {
    let json = Encoding::DEFAULT.with_codec(Some(PayloadCodec::JSON)).with_bytes_max(usize::MAX);
    let plain = Encoding::DEFAULT.with_bytes_max(usize::MAX);
    let written = match codec {
        PayloadCodec::JSON => Payload::encode_with(&json, value),
        _ => Payload::encode_with(&plain, &Exact(value)),
    };
    // What was read from a payload can be written; were it not, nothing is a safer answer than what was there.
    written.unwrap_or_else(|_| Payload::encode(MASK).unwrap_or_else(|_| unreachable!("a short text can be written")))
}

/// Whether an input has a value that an attribute masked.
fn holds_mask(input: &Payload) -> bool {
    // Looked for in the bytes: a payload that does not hold the text is not read.
    input.bytes().windows(MASK.len()).any(|window| window == MASK.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(fields: &[&str], json: &str) -> (String, u64) {
        let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let mut mask = Mask::new(&fields, [7; 32]);
        let mut payload = Payload::encode(&Exact(&serde_json::from_str::<Value>(json).unwrap())).unwrap();
        mask.payload(&mut payload);
        (payload.to_value().to_string(), mask.count)
    }

    #[test]
    fn a_field_is_replaced_wherever_it_stands_and_a_path_only_where_it_leads() {
        let json = r#"{"token":"t","user":{"password":"p","name":"n"},"list":[{"token":1}],"password":"q"}"#;
        let all = r#"{"token":"[redacted]","user":{"password":"p","name":"n"},"list":[{"token":"[redacted]"}],"password":"q"}"#;
        assert_eq!(masked(&["token"], json), (all.to_owned(), 2));
        let path = r#"{"token":"t","user":{"password":"[redacted]","name":"n"},"list":[{"token":1}],"password":"q"}"#;
        assert_eq!(masked(&["user.password"], json), (path.to_owned(), 1));
        assert_eq!(masked(&["nothing"], json), (json.to_owned(), 0));
        let deep = r#"{"a":{"user":{"user":{"password":"[redacted]"}}}}"#;
        assert_eq!(masked(&["user.password"], r#"{"a":{"user":{"user":{"password":1}}}}"#), (deep.to_owned(), 1));
    }

    #[test]
    fn what_does_not_say_what_it_holds_is_replaced_whole() {
        let bincode = Encoding::DEFAULT.with_codec(Some(PayloadCodec::BINCODE));
        let mut payload = Payload::encode_with(&bincode, "secret").unwrap();
        let mut mask = Mask::new(&["token".to_owned()], [7; 32]);
        assert!(mask.payload(&mut payload));
        assert_eq!(payload.to_value(), Value::Text(MASK.to_owned()));
    }
}
