//! An engine goes by the directory that it opened, whatever becomes of the path: and acknowledges nothing that is not there.
#![cfg(unix)]

use std::fs;
use std::future::Future;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use relive::live::{Client, Command};
use relive::{Durability, Engine, Error, RunId, task, trace};
use relive_engine::verify::Progress;
use tempfile::TempDir;

/// More than RocksDB's write-ahead log holds before the next file of it begins.
const LOADS: u32 = 40;

#[trace(name = "displaced.noise")]
async fn noise(number: u32) -> relive::Result<String> {
    Ok(format!("{number:08}").repeat(1 << 16))
}

#[task(name = "displaced.load", cache = "off")]
async fn load(number: u32) -> relive::Result<usize> {
    Ok(noise(number).await?.len())
}

fn root() -> TempDir {
    tempfile::tempdir().expect("there is a place for temporary files")
}

async fn loads(engine: &Engine) -> relive::Result<()> {
    for number in 0..LOADS {
        engine.run(load(number)).await?;
    }
    Ok(())
}

/// How many runs a store holds, all of them whole.
async fn runs(path: &Path) -> usize {
    let engine = Engine::open(path).await.expect("the store opens");
    let store = engine.store().expect("it is open");
    let verified = relive_engine::verify::store(&store, &mut |progress| match progress {
        Progress::Problem(problem) => panic!("{}: {problem}", path.display()),
        _ => ControlFlow::Continue(()),
    });
    drop(store);
    let count = engine.runs().count();
    assert_eq!(verified.run_count, count as u64);
    engine.shutdown().await.expect("nothing has failed");
    count
}

/// A minute is for ever: nothing here waits for anything but the disk.
async fn ends<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it ends")
}

/// Shuts down on a thread of its own: what hangs there must not hang the test.
async fn shutdown(engine: Engine) -> relive::Result<()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || sender.send(runtime.block_on(engine.shutdown())));
    ends(receiver).await.expect("no panic")
}

fn ping(path: &Path) -> Option<relive::Result<serde_json::Value>> {
    Some(Client::connect(path)?.ask(&Command::Ping))
}

#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let message = error.to_string();
    words.iter().for_each(|word| assert!(message.contains(word), "{message:?} does not say {word:?}"));
}

/// The only test here that goes to another directory; the others name theirs from the root on.
#[tokio::test(flavor = "multi_thread")]
async fn a_relative_path_names_the_directory_that_it_named_when_the_engine_was_opened() -> relive::Result<()> {
    let root = root();
    let (here, there) = (root.path().join("here"), root.path().join("there"));
    for place in [&here, &there] {
        fs::create_dir(place)?;
    }
    let other = Engine::open(there.join("data")).await?;
    other.run(load(7)).await?;
    other.shutdown().await?;
    std::env::set_current_dir(&here)?;
    let engine = Engine::open("./data").await?;
    engine.run(load(0)).await?;
    let reader = Engine::builder().open_reader("./data")?;
    std::env::set_current_dir(&there)?;
    loads(&engine).await?;
    assert!(ping(&here.join("data")).is_some(), "commands reach it where it is");
    assert!(ping(&there.join("data")).is_none(), "and not where it is not");
    drop(reader);
    shutdown(engine).await?;
    assert!(!here.join("data/engine.sock").exists());
    assert_eq!((runs(&here.join("data")).await, runs(&there.join("data")).await), (LOADS as usize + 1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_renamed_takes_no_more_and_the_one_at_its_path_is_left_alone() -> relive::Result<()> {
    let root = root();
    let (path, away) = (root.path().join("data"), root.path().join("away"));
    let engine = Engine::open(&path).await?;
    engine.run(load(0)).await?;
    fs::rename(&path, &away)?;
    let other = Engine::open(&path).await?;
    other.run(load(0)).await?;
    let error = engine.run(load(1)).await.expect_err("it is not where it was");
    says(&error, &[&path.display().to_string(), &away.display().to_string(), "open it"]);
    assert!(loads(&engine).await.is_err(), "nothing is taken any more");
    loads(&other).await?;
    ping(&away).expect("commands reach it where it is now")?;
    // It wakes its own socket, and leaves the other's where it is.
    says(&shutdown(engine).await.expect_err("not all is well"), &[&path.display().to_string()]);
    assert!(!away.join("engine.sock").exists(), "its own is gone");
    ping(&path).expect("the other's socket is there")?;
    shutdown(other).await?;
    assert_eq!(runs(&path).await, LOADS as usize + 1);
    assert!((1..=2).contains(&runs(&away).await), "what was acknowledged, and perhaps what was not");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_directory_was_removed_acknowledges_nothing() -> relive::Result<()> {
    for durability in [Durability::Sync, Durability::Buffered] {
        let root = root();
        let path = root.path().join("data");
        let engine = Engine::builder().durability(durability).open(&path).await?;
        engine.run(load(0)).await?;
        fs::remove_dir_all(&path)?;
        let error = engine.run(load(1)).await.expect_err("nothing would be left of it");
        says(&error, &[&path.display().to_string(), "removed", "copy"]);
        assert!(shutdown(engine).await.is_err());
        assert!(!path.exists(), "nothing is made in its place");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_not_well_where_the_directory_is_gone_although_nothing_was_written_since() -> relive::Result<()> {
    let root = root();
    for (name, way) in [("removed", None), ("moved", Some(root.path().join("away")))] {
        let path = root.path().join(name);
        let engine = Engine::open(&path).await?;
        engine.run(load(0)).await?;
        match &way {
            None => fs::remove_dir_all(&path)?,
            Some(away) => fs::rename(&path, away)?,
        }
        says(&shutdown(engine).await.expect_err("not all is well"), &[&path.display().to_string(), name]);
    }
    Ok(())
}

/// The socket of a path that is too long for one has a name that follows from that path, elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_not_in_the_directory_is_left_to_the_engine_that_has_the_path() -> relive::Result<()> {
    for is_dropped in [false, true] {
        let root = root();
        let path = root.path().join("long".repeat(30));
        let engine = Engine::open(&path).await?;
        ping(&path).expect("it has a socket")?;
        fs::rename(&path, root.path().join("away"))?;
        let other = Engine::open(&path).await?;
        if is_dropped {
            ends(tokio::task::spawn_blocking(|| drop(engine))).await.expect("no panic");
        } else {
            assert!(shutdown(engine).await.is_err());
        }
        ping(&path).expect("the other's socket is there")?;
        shutdown(other).await?;
        assert!(ping(&path).is_none());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_lock_or_files_are_taken_away_acknowledges_nothing() -> relive::Result<()> {
    let lock_replaced =
        |path: &Path| fs::write(path.join("new"), "").and_then(|()| fs::rename(path.join("new"), path.join("LOCK")));
    let files_removed = |path: &Path| fs::read_dir(path.join("db"))?.try_for_each(|file| fs::remove_file(file?.path()));
    type Happens<'a> = &'a dyn Fn(&Path) -> std::io::Result<()>;
    for (happens, word) in [(&lock_replaced as Happens<'_>, "LOCK"), (&files_removed, "removed")] {
        let root = root();
        let path = root.path().join("data");
        let engine = Engine::open(&path).await?;
        engine.run(load(0)).await?;
        happens(&path)?;
        says(&engine.run(load(1)).await.expect_err("it is noticed"), &[&path.display().to_string(), word]);
        assert!(shutdown(engine).await.is_err());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_of_a_link_that_leads_elsewhere_later_stays_with_its_directory() -> relive::Result<()> {
    let root = root();
    let (link, first, second) = (root.path().join("current"), root.path().join("first"), root.path().join("second"));
    fs::create_dir(&first)?;
    fs::create_dir(&second)?;
    std::os::unix::fs::symlink(&first, &link)?;
    let engine = Engine::open(&link).await?;
    fs::remove_file(&link)?;
    std::os::unix::fs::symlink(&second, &link)?;
    let other = Engine::open(&link).await?;
    let run: RunId = engine.start(load(0)).await?.id();
    loads(&engine).await?;
    loads(&other).await?;
    assert!(engine.status(run).is_ok() && other.status(run).is_err());
    shutdown(engine).await?;
    ping(&link).expect("the other's socket is there")?;
    shutdown(other).await?;
    assert_eq!((runs(&first).await, runs(&second).await), (LOADS as usize + 1, LOADS as usize));
    Ok(())
}

/// As where a service is started in a directory that its user may enter, below one that it may not. In a process of its own, as
/// it goes to another directory, and as root may search every one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_engine_opens_a_relative_path_below_a_directory_that_may_not_be_searched() -> relive::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;
    let root = root();
    let hidden = root.path().join("hidden");
    fs::create_dir_all(hidden.join("here"))?;
    let search = |mode| fs::set_permissions(&hidden, fs::Permissions::from_mode(mode));
    if std::env::var_os("RELIVE_WITHOUT_POWER").is_none() {
        search(0)?;
        let program = std::env::current_exe()?;
        let mut command = if fs::read_dir(&hidden).is_ok() {
            let mut command = Command::new("setpriv");
            command.arg("--bounding-set=-dac_override,-dac_read_search").arg(program);
            command
        } else {
            Command::new(program)
        };
        search(0o700)?;
        let test = "an_engine_opens_a_relative_path_below_a_directory_that_may_not_be_searched";
        let output = command.args([test, "--exact"]).env("RELIVE_WITHOUT_POWER", "yes").output()?;
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
        return Ok(());
    }
    std::env::set_current_dir(hidden.join("here"))?;
    search(0)?;
    let engine = Engine::open("data").await?;
    engine.run(load(0)).await?;
    let reader = Engine::builder().open_reader("data")?;
    drop(reader);
    shutdown(engine).await?;
    search(0o700)?;
    assert_eq!(runs(Path::new("data")).await, 1);
    Ok(())
}
