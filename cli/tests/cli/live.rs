//! What goes through the socket of an engine that has the directory open.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use relive::{Event, RunId, task};
use tempfile::TempDir;

use crate::Ran;
use crate::stores::{Life, block_on, clock, count, life};

/// Ends with what it is signalled.
#[task(allow(signal))]
async fn told() -> relive::Result<u32> {
    relive::signal("answer").await
}

/// A directory, an engine that has it open, and commands beside it.
struct Held {
    directory: TempDir,
    life: Life,
}

impl Held {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let life = life(directory.path(), &clock(), false).await;
        Self { directory, life }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("engine.sock")
    }

    /// A command, while the engine goes on.
    async fn ran(&self, arguments: &[&str]) -> Ran {
        let directory = self.directory.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let run = move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            crate::run(&directory, &arguments)
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    async fn printed(&self, arguments: &[&str]) -> String {
        let ran = self.ran(arguments).await;
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments:?}: {}", ran.stdout);
        ran.stdout
    }

    async fn told(&mut self) -> RunId {
        let run = self.life.engine.start(told()).await.unwrap().id();
        self.life.until(run, |event| matches!(event, Event::TraceStarted(_))).await;
        run
    }
}

#[test]
fn a_live_engine_takes_signals_cancellations_and_resumes() {
    block_on(async {
        let mut held = Held::open().await;
        let run = held.told().await;
        let id = run.to_string();
        let wrong = held.ran(&["signal", &id, "answer", "\"no number\""]).await;
        assert_eq!(wrong.status, 1);
        assert!(wrong.stderr.contains("waits for signal answer as a u32"), "{}", wrong.stderr);

        assert_eq!(held.printed(&["cancel", &id]).await, format!("run {id} is cancelled\n"));
        assert_eq!(held.ran(&["cancel", &id, "--json"]).await.status, 3);
        let told = held.printed(&["resume", &id]).await;
        assert_eq!(told, format!("run {id} goes on in the engine that has the directory open\n"));
        let under_way = held.ran(&["resume", &id]).await;
        assert!(under_way.stderr.contains("is under way: there is nothing to resume"), "{}", under_way.stderr);
        held.printed(&["signal", &id, "answer", "42"]).await;
        let handle = held.life.engine.handle::<u32, relive::Error>(run).unwrap();
        assert_eq!(handle.await.unwrap(), 42);
        held.life.engine.shutdown().await.unwrap();
    });
}

#[test]
fn a_live_engine_forks_empties_its_cache_and_deletes() {
    block_on(async {
        let mut held = Held::open().await;
        let run = held.life.count(2).await;
        let id = run.to_string();
        let hit = held.printed(&["cache", "explain", &id]).await;
        assert!(hit.starts_with("hit: task count"), "{hit}");
        let forked = held.printed(&["fork", &id, "--at", "2", "--json"]).await;
        let forked: serde_json::Value = serde_json::from_str(&forked).unwrap();
        assert_eq!((&forked["of"], &forked["at"]), (&id.as_str().into(), &2.into()));
        let fork: RunId = forked["run"].as_str().unwrap().parse().unwrap();
        held.life.until(fork, |event| matches!(event, Event::TaskCompleted(_))).await;
        assert_eq!(held.life.engine.handle::<usize, relive::Error>(fork).unwrap().await.unwrap(), 2);

        assert_eq!(held.printed(&["cache", "evict", "--all"]).await, "1 entry was thrown out\n", "a fork makes none");
        let waiting = held.told().await;
        assert_eq!(held.printed(&["gc", "--older-than", "0s"]).await, "2 runs deleted, 1 run kept\n");
        assert_eq!(held.life.engine.runs().map(|run| run.unwrap().run).collect::<Vec<_>>(), [waiting]);
        // The call is as new as ever.
        assert_eq!(held.life.engine.run(count(2)).await.unwrap(), 2);
        held.life.engine.shutdown().await.unwrap();
    });
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_the_engine() {
    block_on(async {
        let held = Held::open().await;
        let socket = held.socket();
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        held.life.engine.shutdown().await.unwrap();
        assert!(!socket.exists());
        // What a killed engine leaves is replaced.
        drop(UnixListener::bind(&socket).unwrap());
        assert!(socket.exists() && UnixStream::connect(&socket).is_err());
        let again = life(held.directory.path(), &clock(), false).await;
        assert!(UnixStream::connect(&socket).is_ok());
        drop(again);
        assert!(!socket.exists(), "also without a shutdown");
    });
}

#[test]
fn a_directory_with_a_long_path_is_reached_all_the_same() {
    block_on(async {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("d".repeat(150));
        let life = life(&directory, &clock(), false).await;
        let run = life.engine.start(told()).await.unwrap().id().to_string();
        let asked = directory.clone();
        let ran = tokio::task::spawn_blocking(move || crate::run(&asked, &["cancel", &run])).await.unwrap();
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
        assert!(!directory.join("engine.sock").exists());
        life.engine.shutdown().await.unwrap();
    });
}

#[test]
fn what_is_no_request_is_answered_and_does_no_harm() {
    block_on(async {
        let held = Held::open().await;
        for (request, why) in [
            ("{}\n", "not understood"),
            ("{\"relive\":99,\"command\":{\"name\":\"ping\"}}\n", "version 99"),
            // A value was JSON itself then.
            (
                "{\"relive\":1,\"command\":{\"name\":\"signal\",\"run\":\"7\",\"signal\":\"s\",\"value\":1}}\n",
                "it is of version 1, and this engine speaks 2",
            ),
            ("{\"relive\":2,\"command\":{\"name\":\"explode\"}}\n", "explode"),
            ("{\"relive\":2,\"command\":{\"name\":\"cancel\",\"run\":\"7\"}}\n", "no run id"),
            ("\u{0}\u{1}\u{2}\n", "not understood"),
            ("no end", "the request has no end"),
        ] {
            let socket = held.socket();
            let answer = tokio::task::spawn_blocking(move || {
                let mut stream = UnixStream::connect(socket).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            let answer = answer.await.unwrap();
            assert!(answer.starts_with("{\"error\":{\"kind\":") && answer.contains(why), "{request}: {answer}");
        }
        let socket = held.socket();
        let ping = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(b"{\"relive\":2,\"command\":{\"name\":\"ping\"}}\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(ping.await.unwrap().starts_with("{\"ok\":{\"version\":"));
        held.life.engine.shutdown().await.unwrap();
    });
}

#[test]
fn an_engine_without_a_socket_is_said_to_hold_the_directory() {
    block_on(async {
        let held = Held::open().await;
        let run = held.life.engine.start(told()).await.unwrap().id().to_string();
        std::fs::remove_file(held.socket()).unwrap();
        let ran = held.ran(&["cancel", &run]).await;
        assert!(ran.stderr.contains("it does not answer on the directory's socket"), "{}", ran.stderr);
        held.life.engine.shutdown().await.unwrap();
    });
}
