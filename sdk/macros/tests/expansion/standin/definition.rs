//! The statics that an expansion fills.

use std::time::Duration;

use serde_json::Value;

use super::{__private::ErrorRecord, Future};

pub(crate) struct TraceMeta {
    pub(crate) name: &'static str,
    pub(crate) code: CodeHash,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) module: &'static str,
    pub(crate) outside_call: bool,
    pub(crate) policy: TracePolicy,
}

#[derive(Debug, PartialEq)]
pub(crate) struct TracePolicy {
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) pure: bool,
    pub(crate) at_most_once: bool,
    pub(crate) spawn: bool,
    pub(crate) resumes: bool,
    pub(crate) redact: &'static [&'static str],
    pub(crate) codec: Option<PayloadCodec>,
}

impl TracePolicy {
    pub(crate) const DEFAULT: Self = Self {
        retry: RetryPolicy::DEFAULT,
        timeout: None,
        deadline: None,
        pure: false,
        at_most_once: false,
        spawn: false,
        resumes: false,
        redact: &[],
        codec: None,
    };
}

#[derive(Debug, PartialEq)]
pub(crate) struct RetryPolicy {
    pub(crate) retries: u32,
    pub(crate) backoff: Duration,
    pub(crate) factor: f64,
    pub(crate) backoff_max: Duration,
    pub(crate) jitter: bool,
}

impl RetryPolicy {
    pub(crate) const DEFAULT: Self = Self {
        retries: 0,
        backoff: Duration::from_millis(100),
        factor: 2.0,
        backoff_max: Duration::from_secs(300),
        jitter: true,
    };
}

pub(crate) struct TaskMeta {
    pub(crate) name: &'static str,
    pub(crate) code: CodeHash,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) module: &'static str,
    pub(crate) cache: CachePolicy,
    pub(crate) policy: TaskPolicy,
    pub(crate) canonical: fn(&[u8], &[&str]) -> Value,
    pub(crate) body: fn(&[u8]) -> Future<Result<Value, ErrorRecord>>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct CachePolicy {
    pub(crate) mode: CacheMode,
    pub(crate) ttl: Option<Duration>,
    pub(crate) ignored: &'static [&'static str],
    pub(crate) salt: &'static str,
}

impl CachePolicy {
    pub(crate) const DEFAULT: Self = Self { mode: CacheMode::Unsaid, ttl: None, ignored: &[], salt: "" };
}

#[derive(Debug, PartialEq)]
pub(crate) enum CacheMode {
    Unsaid,
    Auto,
    Off,
    Version(&'static str),
}

#[derive(Debug, PartialEq)]
pub(crate) struct TaskPolicy {
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) new_attempt_on_divergence: bool,
    pub(crate) codec: Option<PayloadCodec>,
    pub(crate) keep: Option<Keep>,
}

impl TaskPolicy {
    pub(crate) const DEFAULT: Self = Self {
        retry: RetryPolicy::DEFAULT,
        timeout: None,
        deadline: None,
        new_attempt_on_divergence: false,
        codec: None,
        keep: None,
    };
}

#[derive(Debug, PartialEq)]
pub(crate) struct Keep {
    pub(crate) age: Option<Duration>,
    pub(crate) count: Option<u32>,
}

impl Keep {
    pub(crate) const FOREVER: Self = Self { age: None, count: None };

    pub(crate) const fn age(age: Duration) -> Self {
        Self { age: Some(age), count: None }
    }

    pub(crate) const fn and_newest(self, count: u32) -> Self {
        Self { age: self.age, count: Some(count) }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct PayloadCodec(&'static str);

impl PayloadCodec {
    pub(crate) const MESSAGE_PACK: Self = Self("messagepack");
    pub(crate) const JSON: Self = Self("json");
    pub(crate) const BINCODE: Self = Self("bincode");
}

#[derive(Debug, PartialEq)]
pub(crate) struct CodeHash(pub(crate) [u8; 16]);

impl CodeHash {
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        CodeHash(bytes)
    }

    /// As the engine mixes them.
    pub(crate) const fn mixed(self, parts: &[[u8; 16]]) -> Self {
        let CodeHash(mut bytes) = self;
        let mut at = 0;
        while at < 16 * parts.len() {
            bytes[at % 16] ^= parts[at / 16][at % 16];
            at += 1;
        }
        CodeHash(bytes)
    }
}

pub(crate) struct TraceEntry(pub(crate) &'static TraceMeta);
pub(crate) struct TaskEntry(pub(crate) &'static TaskMeta);
inventory::collect!(TraceEntry);

/// Nothing is tested here.
macro_rules! tested {
    ($($ignored:tt)*) => {};
}
pub(crate) use tested;
inventory::collect!(TaskEntry);

pub(crate) struct TypedErrorEntry(pub(crate) &'static str);
inventory::collect!(TypedErrorEntry);

impl TypedErrorEntry {
    pub(crate) const fn of<E: super::TypedError>() -> Self {
        TypedErrorEntry(E::NAME)
    }
}
