//! Which calls a task should leave to traces, by their paths as they are written.
//!
//! Invariant: only what can mean one thing is listed. `sleep(…)` may be `relive::sleep`; `time::sleep(…)` is not.

use super::Lint;
use super::words::Path;

/// The end of a path, the functions behind it, and what they are.
#[rustfmt::skip]
const CALLS: &[(&[&str], &[&str], Lint)] = &[
    (&["SystemTime"], &["now"], Lint::Clock),
    (&["Instant"], &["now"], Lint::Clock),
    (&["Utc"], &["now"], Lint::Clock),
    (&["Local"], &["now"], Lint::Clock),
    (&["Zoned"], &["now"], Lint::Clock),
    (&["Timestamp"], &["now"], Lint::Clock),
    (&["OffsetDateTime"], &["now_utc", "now_local"], Lint::Clock),
    (&["UtcDateTime"], &["now"], Lint::Clock),

    (&["rand"], &["random", "rng", "thread_rng", "random_range", "random_bool", "random_ratio", "random_iter", "fill"],
     Lint::Random),
    (&["fastrand"], &["bool", "char", "choice", "digit", "f32", "f64", "fill", "i8", "i16", "i32", "i64", "i128", "isize",
      "shuffle", "u8", "u16", "u32", "u64", "u128", "usize", "alphabetic", "alphanumeric", "lowercase", "uppercase"],
     Lint::Random),
    (&["getrandom"], &["getrandom", "fill", "fill_uninit", "u32", "u64"], Lint::Random),
    (&["Uuid"], &["new_v4", "now_v1", "now_v6", "now_v7"], Lint::Random),
    (&["Ulid"], &["new"], Lint::Random),
    (&["RandomState"], &["new"], Lint::Random),
    (&["StdRng"], &["from_entropy", "from_os_rng"], Lint::Random),
    (&["SmallRng"], &["from_entropy", "from_os_rng"], Lint::Random),

    (&["time"], &["sleep", "sleep_until", "timeout", "timeout_at", "interval", "interval_at"], Lint::Timer),
    (&["thread"], &["sleep"], Lint::Timer),

    (&["tokio"], &["spawn"], Lint::Spawn),
    (&["task"], &["spawn", "spawn_blocking", "spawn_local"], Lint::Spawn),
    (&["JoinSet"], &["new"], Lint::Spawn),
    (&["thread"], &["spawn"], Lint::Spawn),
    (&["rayon"], &["spawn"], Lint::Spawn),

    (&["fs"], &["canonicalize", "copy", "create_dir", "create_dir_all", "exists", "hard_link", "metadata", "read",
      "read_dir", "read_link", "read_to_string", "remove_dir", "remove_dir_all", "remove_file", "rename",
      "set_permissions", "symlink", "symlink_metadata", "try_exists", "write"],
     Lint::Io),
    (&["File"], &["open", "create", "create_new"], Lint::Io),
    (&["OpenOptions"], &["new"], Lint::Io),
    (&["TcpStream"], &["connect", "connect_timeout"], Lint::Io),
    (&["UnixStream"], &["connect"], Lint::Io),
    (&["TcpListener"], &["bind"], Lint::Io),
    (&["UnixListener"], &["bind"], Lint::Io),
    (&["UdpSocket"], &["bind"], Lint::Io),
    (&["net"], &["lookup_host"], Lint::Io),
    (&["reqwest"], &["get"], Lint::Io),
    (&["reqwest", "blocking"], &["get"], Lint::Io),
    (&["ureq"], &["get", "post", "put", "delete", "head", "patch"], Lint::Io),
    (&["process", "Command"], &["new"], Lint::Io),
    (&["io"], &["stdin"], Lint::Io),

    (&["env"], &["args", "args_os", "current_dir", "current_exe", "temp_dir", "var", "var_os", "vars", "vars_os"],
     Lint::Env),
    (&["process"], &["id"], Lint::Env),
];

/// What a call by this path is, if it should not be in a task's body.
pub(super) fn lint(path: &Path) -> Option<Lint> {
    let (last, owner) = path.names.split_last()?;
    if path.names == ["relive", "signal"] {
        return Some(Lint::Signal);
    }
    // `crate::fs::read` is a function of the user's, and may be a trace.
    if matches!(path.names.first()?.as_str(), "crate" | "self" | "super" | "relive") {
        return None;
    }
    if owner.is_empty() {
        return (last == "thread_rng").then_some(Lint::Random);
    }
    let ends = |end: &[&str]| owner.len() >= end.len() && owner[owner.len() - end.len()..].iter().eq(end);
    let listed = CALLS.iter().find(|(end, functions, _)| functions.contains(&last.as_str()) && ends(end));
    listed.map(|(_, _, lint)| *lint)
}

#[cfg(test)]
mod tests {
    use super::super::testing::found_in;

    #[test]
    fn calls_are_told_by_the_end_of_their_path() {
        for (body, lint) in [
            ("let at = SystemTime::now();", "clock"),
            ("let at = ::std::time::Instant::now();", "clock"),
            ("tokio::time::Instant::now()", "clock"),
            ("chrono::Utc::now().timestamp()", "clock"),
            ("Local::now()", "clock"),
            ("time::OffsetDateTime::now_utc()", "clock"),
            ("jiff::Zoned::now()", "clock"),
            ("given.unwrap_or_else(SystemTime::now)", "clock"),
            ("rand::random::<u64>()", "random"),
            ("rand::rng().random_range(0..6)", "random"),
            ("rand::thread_rng()", "random"),
            ("thread_rng().gen::<u8>()", "random"),
            ("fastrand::u32(..)", "random"),
            ("uuid::Uuid::new_v4()", "random"),
            ("Uuid::now_v7()", "random"),
            ("tokio::time::sleep(a).await", "timer"),
            ("time::timeout(a, b).await", "timer"),
            ("tokio::time::interval(a)", "timer"),
            ("std::thread::sleep(a)", "timer"),
            ("tokio::spawn(async {})", "spawn"),
            ("tokio::task::spawn_blocking(|| {})", "spawn"),
            ("let set = JoinSet::<u32>::new();", "spawn"),
            ("thread::spawn(|| {})", "spawn"),
            ("std::fs::read_to_string(a)?", "io"),
            ("tokio::fs::write(a, b).await", "io"),
            ("File::open(a)", "io"),
            ("tokio::net::TcpStream::connect(a).await", "io"),
            ("reqwest::get(a).await", "io"),
            ("reqwest::blocking::get(a)", "io"),
            ("std::process::Command::new(a)", "io"),
            ("std::env::var(\"HOME\")", "env"),
            ("return env::args().count();", "env"),
            ("relive::signal::<u32>(\"answer\").await?", "signal"),
            ("relive::timeout(week, ::relive::signal(\"answer\")).await", "signal"),
        ] {
            assert_eq!(found_in(body), [lint], "{body}");
        }
    }

    #[test]
    fn calls_are_found_wherever_they_stand() {
        let body =
            "let all = join!(async { vec![if a { Utc::now() } else { b }] }, c.map(|x| x + rand::random::<u8>()));";
        assert_eq!(found_in(body), ["clock", "random"]);
    }

    #[test]
    fn what_may_be_something_else_is_left_alone() {
        for body in [
            "relive::now()?; relive::random::<u8>()?; relive::uuid()?; relive::sleep(a).await?;",
            "signal(a).await; tokio::signal::ctrl_c(); engine.signal(a, b, c);",
            "sleep(a).await; timeout(a, b).await; spawn(c); random(); now(); get(a).await;",
            "crate::fs::read(a).await?; self::env::var(a); super::time::sleep(a).await;",
            "use std::time::SystemTime; use tokio::{spawn, time::sleep}; extern crate rand;",
            "env!(\"CARGO\"); option_env!(\"A\"); at.now(); self.rand.random(); Timestamp(3); Command::new(a);",
            "let at: SystemTime = b; let file: Option<File> = None; match c { Instant::Now => 1 }",
            "StdRng::seed_from_u64(seed); rand::rngs::StdRng::from_seed(seed); fastrand::Rng::with_seed(seed);",
            "Uuid::from_u128(1); Uuid::nil(); fs::File; io::Error::other(a);",
            "0..now; a..=b; x.0.now",
        ] {
            assert!(found_in(body).is_empty(), "{body}: {:?}", found_in(body));
        }
    }

    #[test]
    fn a_function_in_a_body_is_no_part_of_it() {
        let body = "#[trace] async fn now() -> relive::Result<u64> { Ok(SystemTime::now()) }
            impl A { fn b() { tokio::spawn(c) } } mod m { fn f() { rand::random() } } struct S { at: Instant }
            macro_rules! m { () => { Utc::now() } }
            let f: fn(u32) -> u32 = g; f(SystemTime::now())";
        assert_eq!(found_in(body), ["clock"]);
    }
}
