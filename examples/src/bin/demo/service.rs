//! The summarizing service: a process of its own on 127.0.0.1, and the witness of what it is asked.
//!
//! It notes every request in a file before it begins the work, and again before it answers. It gives as many answers as
//! the parent has allowed so far, and keeps further ones back.
//!
//! Invariant: no work begins before the request is in the witness file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::ServiceOptions;
use crate::pipe::{self, Order, Phase, Request, ServiceLine};
use crate::pipeline::Document;
use crate::search;
use crate::summary::{self, Summary};

/// Largest request: 8 MiB, as JSON writes some characters of a file of 1 MiB as six.
const REQUEST_BYTES_MAX: usize = 8 << 20;

struct Desk {
    witness: File,
    answers: Arc<Semaphore>,
}

/// Answers until the parent ends.
pub(crate) async fn main(options: &ServiceOptions) -> ExitCode {
    let answers = Arc::new(Semaphore::new(0));
    pipe::follow_parent({
        let answers = Arc::clone(&answers);
        move |line| {
            if let Ok(Order::Answer { count }) = pipe::decode(line) {
                answers.add_permits(count);
            }
        }
    });
    let Err(message) = serve(options, answers).await;
    pipe::say(&ServiceLine::Failed { message });
    ExitCode::FAILURE
}

async fn serve(options: &ServiceOptions, answers: Arc<Semaphore>) -> Result<std::convert::Infallible, String> {
    let port = options.port;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} of 127.0.0.1 is taken by another program: choose another with --port, or leave it out")
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} of 127.0.0.1 is not allowed to this user: choose one from 1024 on with --port")
        }
        _ => format!("the service cannot listen on port {port} of 127.0.0.1: {error}"),
    })?;
    let port = listener.local_addr().map_err(|error| format!("the service has no address: {error}"))?.port();
    let witness = OpenOptions::new().create_new(true).append(true).open(&options.witness);
    let witness = witness
        .map_err(|error| format!("the witness file {} cannot be created: {error}", options.witness.display()))?;
    let router = Router::new()
        .route("/summarize", post(summarize))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Arc::new(Desk { witness, answers }));
    pipe::say(&ServiceLine::Listening { port });
    let ended = axum::serve(listener, router).await;
    Err(format!("the service stopped answering: {ended:?}"))
}

async fn summarize(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Json(document): Json<Document>,
) -> Result<Json<Summary>, (StatusCode, String)> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(key), Some(process)) = (header("idempotency-key"), header("process").and_then(|id| id.parse().ok()))
    else {
        return Err((StatusCode::BAD_REQUEST, "a request names its idempotency key and its process".to_owned()));
    };
    let Document { path, digest, text } = document;
    let mut request = Request { phase: Phase::Began, key: key.to_owned(), process, path, digest };
    desk.note(&request)?;
    if search::digest(&text) != request.digest {
        return Err((StatusCode::BAD_REQUEST, format!("the text of {} is not the one that was named", request.path)));
    }
    let summary = tokio::task::spawn_blocking(move || summary::summarize(&text)).await.map_err(internal)?;
    desk.answers.acquire().await.map_err(internal)?.forget();
    request.phase = Phase::Done;
    desk.note(&request)?;
    Ok(Json(summary))
}

impl Desk {
    /// One call of `write` on a file without a buffer of ours: what it has taken survives any end of this process.
    fn note(&self, request: &Request) -> Result<(), (StatusCode, String)> {
        (&self.witness).write_all(&pipe::encode(request)).map_err(internal)
    }
}

fn internal(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
