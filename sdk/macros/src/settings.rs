//! What an attribute says: which settings there are, and what each takes.
//!
//! Whether they fit each other and the function is for `contradictions` to say.

use std::time::Duration;

use proc_macro2::Ident;
use syn::{Error, Expr, LitBool, LitStr, Path, parse_quote};

use crate::errors::Errors;
use crate::lint::Lint;
use crate::nearest::guess;
use crate::parse::Kind;
use crate::setting::{FieldPath, Setting};

/// What `#[task]` takes.
#[rustfmt::skip]
const OF_TASKS: &[&str] = &[
    "name", "cache", "version", "ttl", "ignore", "salt", "codec", "retries", "backoff", "timeout", "deadline",
    "on_divergence", "keep", "allow", "crate",
];

/// What `#[trace]` takes.
#[rustfmt::skip]
const OF_TRACES: &[&str] = &[
    "name", "skip", "redact", "outside", "key", "codec", "retries", "backoff", "timeout", "deadline", "pure",
    "at_most_once", "spawn", "blocking", "resume", "crate",
];

/// What the attribute says. `None` or empty: nothing.
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    /// Where the `relive` crate is found.
    pub(crate) root: Path,
    pub(crate) codec: Option<Codec>,
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Backoff,
    /// Longest that one try may take.
    pub(crate) timeout: Option<Duration>,
    /// Longest that all tries may take.
    pub(crate) deadline: Option<Duration>,
    pub(crate) trace: TraceSettings,
    pub(crate) task: TaskSettings,
    /// The keys that were given. Those that stand alone are nowhere else.
    given: Vec<Ident>,
}

/// What only `#[trace]` says.
#[derive(Default)]
pub(crate) struct TraceSettings {
    /// Arguments that are neither in the key nor in the record.
    pub(crate) skip: Vec<Ident>,
    /// Arguments, or fields of them, that are masked in the record.
    pub(crate) redact: Vec<FieldPath>,
    /// Outside a task it is a plain call, instead of an error.
    pub(crate) outside_call: bool,
    /// Which call this is, in place of its arguments.
    pub(crate) key: Option<Expr>,
    /// The argument that a source is told by where to go on.
    pub(crate) resume: Option<LitStr>,
}

/// What only `#[task]` says.
#[derive(Default)]
pub(crate) struct TaskSettings {
    pub(crate) cache: Option<Cache>,
    pub(crate) version: Option<String>,
    pub(crate) ttl: Option<Duration>,
    /// Arguments that calls may differ in and still be equal.
    pub(crate) ignore: Vec<Ident>,
    pub(crate) salt: Option<String>,
    pub(crate) new_attempt_on_divergence: bool,
    pub(crate) keep: Option<Keep>,
    /// What the body is not warned about.
    pub(crate) allow: Vec<Lint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    Auto,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    MessagePack,
    Json,
    Bincode,
}

/// How long runs are kept. Without either: forever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) age: Option<Duration>,
    pub(crate) count: Option<u32>,
}

/// The waits between tries.
#[derive(Clone, Copy, Default)]
pub(crate) struct Backoff {
    pub(crate) first: Option<Duration>,
    pub(crate) factor: Option<f64>,
    pub(crate) max: Option<Duration>,
    pub(crate) jitter: Option<bool>,
}

impl Settings {
    /// Reads what was written, and adds every complaint to `errors`.
    pub(crate) fn read(kind: Kind, written: &[Setting], errors: &mut Errors) -> Self {
        let mut settings = Settings {
            name: None,
            root: parse_quote!(::relive),
            codec: None,
            retries: None,
            backoff: Backoff::default(),
            timeout: None,
            deadline: None,
            trace: TraceSettings::default(),
            task: TaskSettings::default(),
            given: vec![],
        };
        for setting in written {
            if settings.given.contains(&setting.key) {
                errors.push(&setting.key, format!("`{}` is given twice", setting.key));
            } else {
                settings.given.push(setting.key.clone());
                errors.value(settings.set(kind, setting));
            }
        }
        settings
    }

    /// The key as it was written, if it was.
    pub(crate) fn given(&self, key: &str) -> Option<&Ident> {
        self.given.iter().find(|given| *given == key)
    }

    /// Whether the key was written: all there is to say about one that stands alone.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    fn set(&mut self, kind: Kind, setting: &Setting) -> syn::Result<()> {
        match setting.key.to_string().as_str() {
            "name" => self.name = Some(setting.text("fetch")?.value()),
            "crate" => self.root = setting.assigned("`crate` takes a path, as in `crate = my::relive`")?,
            "codec" => {
                let codecs = [Codec::MessagePack, Codec::Json, Codec::Bincode];
                self.codec = Some(codecs[setting.chosen(&["messagepack", "json", "bincode"])?]);
            }
            "retries" => self.retries = Some(setting.count()?),
            "backoff" => self.backoff = Backoff::read(setting)?,
            "timeout" => self.timeout = Some(setting.duration("no try could succeed. Leave it out for no limit")?),
            "deadline" => self.deadline = Some(setting.duration("no try could succeed. Leave it out for no limit")?),
            _ if kind == Kind::Trace => self.trace.set(setting)?,
            _ => self.task.set(setting)?,
        }
        Ok(())
    }
}

impl TraceSettings {
    fn set(&mut self, setting: &Setting) -> syn::Result<()> {
        match setting.key.to_string().as_str() {
            "skip" => self.skip = setting.listed()?,
            "redact" => self.redact = setting.paths()?,
            "outside" => self.outside_call = setting.chosen(&["error", "call"])? == 1,
            "key" => {
                let expected =
                    "`key` takes an expression over the arguments, as in `key = order.id` or `key = (&a, b)`";
                self.key = Some(setting.assigned(expected)?);
            }
            "pure" | "at_most_once" | "spawn" | "blocking" => setting.alone()?,
            "resume" => self.resume = Some(setting.text("from")?),
            _ => return Err(unknown(Kind::Trace, OF_TRACES, &setting.key)),
        }
        Ok(())
    }
}

impl TaskSettings {
    fn set(&mut self, setting: &Setting) -> syn::Result<()> {
        match setting.key.to_string().as_str() {
            "cache" => self.cache = Some([Cache::Auto, Cache::Off][setting.chosen(&["auto", "off"])?]),
            "version" => self.version = Some(setting.text("2")?.value()),
            "ttl" => {
                self.ttl = Some(setting.duration("no result would hold. Write `cache = \"off\"` to cache none")?);
            }
            "ignore" => self.ignore = setting.listed()?,
            "salt" => self.salt = Some(setting.text("staging")?.value()),
            "allow" => {
                let mut errors = Errors::default();
                let names = setting.names("lints", "clock")?;
                self.allow = names.iter().filter_map(|name| errors.value(Lint::named(name))).collect();
                errors.finish()?;
            }
            "keep" => self.keep = Some(Keep::read(setting)?),
            "on_divergence" => self.new_attempt_on_divergence = setting.chosen(&["wait", "new_attempt"])? == 1,
            key @ ("skip" | "redact") => {
                let message = format!(
                    "a task cannot `{key}` an argument: recovery runs it from its log, which must hold them all. \
                     Give a client to Engine::builder().provide(client) and take it by relive::provided::<T>()"
                );
                return Err(Error::new_spanned(setting, message));
            }
            _ => return Err(unknown(Kind::Task, OF_TASKS, &setting.key)),
        }
        Ok(())
    }
}

fn unknown(kind: Kind, known: &[&str], key: &Ident) -> Error {
    let (guess, known) = (guess(&key.to_string(), known), known.iter().map(|key| format!("`{key}`")));
    let known: Vec<_> = known.collect();
    Error::new_spanned(key, format!("unknown setting `{key}`: {kind} takes {}{guess}", known.join(", ")))
}

impl Backoff {
    /// `backoff = "1s"` or `backoff(first = "1s", factor = 2.0, max = "5m", jitter = false)`.
    fn read(setting: &Setting) -> syn::Result<Self> {
        const ZERO: &str = "a try that fails at once would be repeated without a pause. 1ms is the least";
        let Ok(list) = syn::parse2::<proc_macro2::Group>(setting.value.clone()) else {
            return Ok(Backoff { first: Some(setting.duration(ZERO)?), ..Backoff::default() });
        };
        let (mut backoff, mut errors) = (Backoff::default(), Errors::default());
        let has_parts =
            Setting::each_part(list.stream(), &mut errors, |part, errors| match part.key.to_string().as_str() {
                "first" => backoff.first = errors.value(part.duration(ZERO)),
                "factor" => backoff.factor = errors.value(part.factor()),
                "max" => backoff.max = errors.value(part.duration(ZERO)),
                "jitter" => {
                    let jitter: syn::Result<LitBool> = part.assigned("`jitter` is true (the default) or false");
                    backoff.jitter = errors.value(jitter).map(|jitter| jitter.value);
                }
                other => {
                    let guess = guess(other, &["first", "factor", "max", "jitter"]);
                    let message =
                        format!("`backoff` has no part `{other}`: it takes `first`, `factor`, `max`, `jitter`{guess}");
                    errors.push(&part.key, message);
                }
            });
        if !has_parts {
            errors.push(
                setting,
                "`backoff` takes its parts in parentheses, as in `backoff(first = \"1s\", factor = 2.0)`",
            );
        }
        if let (Some(first), Some(max)) = (backoff.first, backoff.max)
            && max < first
        {
            errors.push(setting, "`max` is the longest wait, so it cannot be shorter than the `first`");
        }
        errors.finish().map(|()| backoff)
    }
}

impl Keep {
    /// As the engine has it: which are the newest is held in memory.
    const COUNT_MAX: u32 = 100_000;

    /// `keep = "30d"`, `keep = "forever"` or `keep(age = "30d", count = 100)`.
    fn read(setting: &Setting) -> syn::Result<Self> {
        const ZERO: &str = "nobody could ask for an outcome. Give it a second";
        let Ok(list) = syn::parse2::<proc_macro2::Group>(setting.value.clone()) else {
            if setting.assigned::<LitStr>("").is_ok_and(|text| text.value() == "forever") {
                return Ok(Keep::default());
            }
            return match setting.duration(ZERO) {
                Ok(age) => Ok(Keep { age: Some(age), count: None }),
                Err(error) if error.to_string().contains("zero") => Err(error),
                Err(_) => {
                    let message = "`keep` takes how long a run is kept when it has ended, as in `keep = \"30d\"`: whole numbers \
                                   of d, h, m, s and ms in this order; or `\"forever\"`; or `keep(age = \"30d\", count = 100)`";
                    Err(Error::new_spanned(setting, message))
                }
            };
        };
        let (mut keep, mut errors) = (Keep::default(), Errors::default());
        let has_parts =
            Setting::each_part(list.stream(), &mut errors, |part, errors| match part.key.to_string().as_str() {
                "age" => keep.age = errors.value(part.duration(ZERO)),
                "count" => {
                    keep.count = errors.value(part.count());
                    if keep.count.is_some_and(|count| count > Keep::COUNT_MAX) {
                        let message =
                            format!("`count` is at most {}: say how long, by `age`, instead", Keep::COUNT_MAX);
                        errors.push(part, message);
                    }
                }
                other => {
                    let guess = guess(other, &["age", "count"]);
                    errors.push(&part.key, format!("`keep` has no part `{other}`: it takes `age` and `count`{guess}"));
                }
            });
        if !has_parts {
            errors.push(setting, "`keep` takes its parts in parentheses, as in `keep(age = \"30d\", count = 100)`");
        }
        errors.finish().map(|()| keep)
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::Kind::{Task, Trace};
    use crate::testing::{dense, expansion, messages};

    const FUNCTION: &str = "async fn f(a: u32) -> Result<u32, E> { Ok(a) }";

    #[test]
    fn each_bad_setting_has_its_own_complaint() {
        let settings = r#"name = "", speed = 3, outside = "maybe", skip = a, "x", crate(x), crate = y, redact(a.0),
            key, codec = "xml", pure = true, resume = 3, retries = 0"#;
        assert_eq!(
            messages(Trace, settings, FUNCTION),
            [
                "expected a setting, as in `name = \"…\"`",
                "`name` takes a string that is not empty, as in `name = \"fetch\"`",
                "unknown setting `speed`: #[trace] takes `name`, `skip`, `redact`, `outside`, `key`, `codec`, `retries`, \
                 `backoff`, `timeout`, `deadline`, `pure`, `at_most_once`, `spawn`, `blocking`, `resume`, `crate`",
                "`outside` is \"error\" (the default) or \"call\"",
                "`skip` takes names of arguments, as in `skip(client)`",
                "`crate` takes a path, as in `crate = my::relive`",
                "`crate` is given twice",
                "`redact` takes names of arguments or of fields in them, as in `redact(token, user.password)`",
                "`key` takes an expression over the arguments, as in `key = order.id` or `key = (&a, b)`",
                "`codec` is \"messagepack\" (the default) or \"json\" or \"bincode\"",
                "`pure` stands alone, without a value",
                "`resume` takes a string that is not empty, as in `resume = \"from\"`",
                "`retries` takes a whole number from 1 on, as in `retries = 3`",
            ]
        );
    }

    #[test]
    fn each_bad_number_or_duration_has_its_own_complaint() {
        let said = |settings: &str| messages(Task, settings, FUNCTION);
        for retries in ["-1", "\"3\"", "1.5", "3u8", "99999999999"] {
            let said = said(&format!("retries = {retries}"));
            assert!(said[0].starts_with("`retries` takes a whole number from 1 on"), "{said:?}");
        }
        assert!(said("timeout = 30")[0].starts_with("`timeout` takes a duration, as in `timeout = \"30s\"`"));
        assert!(said("deadline = \"30\"")[0].starts_with("`deadline` takes a duration"));
        assert!(said("timeout = \"0s\"")[0].starts_with("`timeout` is zero: no try could succeed"));
        assert!(said("ttl = \"0s\"")[0].starts_with("`ttl` is zero: no result would hold"));
        assert!(said("retries = 1, backoff = \"0ms\"")[0].starts_with("`backoff` is zero"));
        let parts = said("retries = 1, backoff(first = \"2s\", max = \"1s\", factor = 0.5, jitter = 1, by = 2, max)");
        assert_eq!(parts.len(), 5, "{parts:?}");
        assert_eq!(parts[0], "`factor` takes a number from 1 on, as in `factor = 2.0`");
        assert_eq!(parts[1], "`jitter` is true (the default) or false");
        assert_eq!(parts[2], "`backoff` has no part `by`: it takes `first`, `factor`, `max`, `jitter`");
        assert_eq!(parts[3], "`max` is given twice");
        assert_eq!(parts[4], "`max` is the longest wait, so it cannot be shorter than the `first`");
        assert!(said("retries = 1, backoff()")[0].contains("takes its parts in parentheses"));
    }

    #[test]
    fn a_task_cannot_leave_arguments_out() {
        let messages =
            messages(Task, r#"skip(a), redact(a), cache = "on", outside = "call", on_divergence = "fail""#, FUNCTION);
        assert!(messages[0].starts_with("a task cannot `skip` an argument") && messages[0].contains("provide(client)"));
        assert!(messages[1].starts_with("a task cannot `redact` an argument"));
        assert_eq!(messages[2], "`cache` is \"auto\" (the default) or \"off\"");
        assert!(messages[3].starts_with("unknown setting `outside`: #[task] takes `name`, `cache`, `version`, `ttl`"));
        assert_eq!(messages[4], "`on_divergence` is \"wait\" (the default) or \"new_attempt\"");
    }

    #[test]
    fn settings_reach_the_expansion() {
        let trace = dense(&expansion(Trace, r#"name = "old", outside = "call", crate = my::relive,"#, FUNCTION));
        assert!(trace.contains("name:\"old\"") && trace.contains("outside_call:true"), "{trace}");
        assert!(trace.contains("my::relive::__private") && !trace.contains("::relive::Trace<:"), "{trace}");
        assert!(dense(&expansion(Task, r#"cache = "off""#, FUNCTION)).contains("CacheMode::Off"));
        assert!(dense(&expansion(Task, "version = \"2\"", FUNCTION)).contains("CacheMode::Version(\"2\")"));
        for said in ["cache = \"auto\"", "ttl = \"1h\"", "salt = \"a\"", "ignore(a)"] {
            assert!(dense(&expansion(Task, said, FUNCTION)).contains("CacheMode::Auto"), "{said}");
        }
        assert!(!dense(&expansion(Task, "", FUNCTION)).contains("CacheMode"));
    }
}
