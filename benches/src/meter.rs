//! Reads the clock, and who uses the processors. The only file that does.

use std::time::{Duration, Instant};

use crate::Failure;

/// Now, by a clock that never jumps.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long something took, and what it gave.
pub(crate) fn timed<T>(operation: impl FnOnce() -> T) -> (Duration, T) {
    let began = now();
    let value = operation();
    (began.elapsed(), value)
}

/// Lets time pass while something else is measured.
#[expect(clippy::disallowed_methods, reason = "the length of a measurement is a time")]
pub(crate) async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Lets time pass on a thread of its own.
#[expect(clippy::disallowed_methods, reason = "the length of a measurement is a time")]
pub(crate) fn pass_blocking(duration: Duration) {
    std::thread::sleep(duration);
}

/// Processor time of all threads of this process so far, ms; also of those that have ended.
pub(crate) fn cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// A number that no call has given before, in this process or, as good as certainly, in another: for inputs that no store
/// knows yet.
pub(crate) fn fresh_number() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Seeded anew by the system for each of these.
    RandomState::new().hash_one(std::process::id())
}

/// How many bytes this process has had the disk write so far.
pub(crate) fn written_bytes() -> Result<u64, Failure> {
    let io = std::fs::read_to_string("/proc/self/io")
        .map_err(|error| format!("what this process has written cannot be read: /proc/self/io: {error}"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    let bytes = line.and_then(|line| line.trim().parse().ok());
    bytes.ok_or_else(|| "what this process has written cannot be read: /proc/self/io has no write_bytes".into())
}

/// What all threads of this process have used so far.
///
/// Without a split into user and kernel: Linux estimates that from samples, and over seconds it can be far off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Processor time, µs.
    pub(crate) cpu_us: i64,
    /// How often one of them went to sleep.
    pub(crate) sleep_count: i64,
}

impl Used {
    /// Up to now.
    pub(crate) fn so_far() -> Result<Self, Failure> {
        let [user, system, ..] = times()?;
        Ok(Self { cpu_us: user + system, sleep_count: sleep_count().unwrap_or(0) })
    }

    /// Since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { cpu_us: self.cpu_us - earlier.cpu_us, sleep_count: self.sleep_count - earlier.sleep_count }
    }
}

/// Processor time of this process so far, µs: its own, user and system; and that of processes that it started and waited for.
fn times() -> Result<[i64; 4], Failure> {
    let unread = |why: String| format!("the processor time of this process cannot be read: /proc/self/stat: {why}");
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|error| unread(error.to_string()))?;
    // The 12th field behind the program's name, which may hold anything, and the next three.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<i64> = fields.skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    let ticks: [i64; 4] = ticks.try_into().map_err(|_| unread("it does not hold them".to_owned()))?;
    Ok(ticks.map(|ticks| ticks * TICK_US))
}

/// Processor time of this process's threads so far, by what they do, µs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ByThread {
    /// The runtime's threads: runs, their effects, and who started them.
    pub(crate) workers: f64,
    /// The committer's.
    pub(crate) committer: f64,
    /// RocksDB's own: flushes and compactions.
    pub(crate) rocksdb: f64,
}

impl ByThread {
    /// Up to now; of threads that still live. Nothing where Linux does not tell.
    pub(crate) fn so_far() -> Self {
        let mut all = Self::default();
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            // Its first field is the time on a processor, in ns.
            let spent = read("schedstat").split_whitespace().next().and_then(|field| field.parse::<f64>().ok());
            let micros = spent.unwrap_or_default() / 1000.0;
            match read("comm").trim() {
                "relive-commit" => all.committer += micros,
                name if name.starts_with("tokio") => all.workers += micros,
                name if name.starts_with("rocksdb") => all.rocksdb += micros,
                _ => {}
            }
        }
        all
    }

    /// What Relive itself takes: all but RocksDB's own threads.
    pub(crate) fn relive(self) -> f64 {
        self.workers + self.committer
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            workers: self.workers - earlier.workers,
            committer: self.committer - earlier.committer,
            rocksdb: self.rocksdb - earlier.rocksdb,
        }
    }
}

/// How often the threads of this process that still live have gone to sleep.
fn sleep_count() -> Option<i64> {
    let mut count = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        count += line.trim().parse::<i64>().ok()?;
    }
    Some(count)
}

/// How busy the machine is with other things while a benchmark runs. Known on Linux only.
#[derive(Debug)]
pub struct Others {
    began: Instant,
    busy_us: i64,
    own_us: i64,
}

impl Others {
    /// Watches from now on; `None` where that is not known.
    pub fn watch() -> Option<Self> {
        Some(Self { began: now(), busy_us: busy_us()?, own_us: own_us()? })
    }

    /// How many processors were busy with something else since then, on average.
    pub fn core_count(&self) -> Option<f64> {
        let own = own_us()? - self.own_us;
        let others = busy_us()? - self.busy_us - own;
        Some((others as f64 / self.began.elapsed().as_micros() as f64).max(0.0))
    }
}

/// Processor time of this process and of those that it started and waited for.
fn own_us() -> Option<i64> {
    Some(times().ok()?.iter().sum())
}

/// A tick of `/proc/stat`: 10 ms, on every Linux that Rust runs on.
const TICK_US: i64 = 10_000;

/// Processor time of the whole machine that was not idle, in µs: proc(5), `/proc/stat`, first line.
fn busy_us() -> Option<i64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let mut ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(str::parse::<i64>);
    let mut next = || ticks.next()?.ok();
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _waiting) = (next()?, next()?);
    let (interrupts, soft_interrupts, stolen) = (next()?, next()?, next()?);
    Some((user + nice + system + interrupts + soft_interrupts + stolen) * TICK_US)
}
