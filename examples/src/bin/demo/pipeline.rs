//! What the demo runs: a task that searches files, has each hit summarized by the service, and draws insights.
//!
//! Nothing in here knows that it will be killed.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use relive::{Error, Result, task, trace};
use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::insights::{self, FileSummary, Insights};
use crate::pipe::{self, Began, PipelineLine};
use crate::search::{self, Hit, Hits, Topic};
use crate::summary::Summary;

/// So many files are with the service at once.
const SUMMARIES_AT_ONCE: usize = 8;

/// Files between two signs of life while they are read.
pub(crate) const FILES_PER_SIGN: u64 = 500;

/// How the service is reached: given to the engine, as it is no data.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) client: reqwest::Client,
    pub(crate) url: String,
}

/// What the search found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    key: String,
    /// Files that hold all words of the topic.
    pub(crate) matched: u64,
    /// The best of them.
    pub(crate) hits: Vec<Hit>,
}

/// What the service is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) path: String,
    pub(crate) digest: String,
    pub(crate) text: String,
}

/// What the files say about a topic.
#[task]
pub(crate) async fn research(corpus: Corpus, topic: String, hits_max: usize) -> Result<Insights> {
    let dir = corpus.source.dir.clone();
    let found = search(&topic, hits_max, corpus).await?;
    let summaries =
        stream::iter(found.hits).map(|hit| summarize(&hit.path, &hit.digest, &dir)).buffer_unordered(SUMMARIES_AT_ONCE);
    let mut summaries: Vec<FileSummary> = summaries.try_collect().await?;
    summaries.sort_by(|a, b| a.path.cmp(&b.path));
    insights(summaries, &topic).await
}

/// The files that are most about the topic.
#[trace]
async fn search(topic: &str, hits_max: usize, corpus: Corpus) -> Result<Found> {
    let key = begin("search", "")?;
    let topic_words = Topic::parse(topic)?;
    let hits = tokio::task::spawn_blocking(move || {
        let mut hits = Hits::new(topic_words, hits_max);
        let (now, _) = corpus.source.visit(signs_of_life(|path, text| hits.look_at(path, text)))?;
        if now.digest == corpus.digest {
            Ok(hits.finish())
        } else {
            Err(Error::msg(format!("the files in {} changed while they were searched: start again", corpus.source.dir)))
        }
    });
    let (matched, hits) = hits.await??;
    if hits.is_empty() {
        return Err(Error::msg(format!(
            "no file holds all words of the topic \"{topic}\": choose another with --topic"
        )));
    }
    Ok(Found { key, matched, hits })
}

/// The summary of one file, by the service. Digest and directory follow from the task's input and are not recorded again.
#[trace(skip(digest, dir))]
async fn summarize(path: &str, digest: &str, dir: &str) -> Result<FileSummary> {
    let key = begin("summarize", path)?;
    let service: Arc<Service> = relive::provided()?;
    let text = std::fs::read_to_string(Path::new(dir).join(path))
        .map_err(|error| Error::msg(format!("{path} can no longer be read")).caused_by(error))?;
    if search::digest(&text) != digest {
        return Err(Error::msg(format!("{path} changed after it was found: start again")));
    }
    let request = service
        .client
        .post(format!("{}/summarize", service.url))
        .header("idempotency-key", &key)
        .header("process", std::process::id())
        .json(&Document { path: path.to_owned(), digest: digest.to_owned(), text });
    let response = request.send().await.and_then(reqwest::Response::error_for_status);
    let failed = |error| Error::msg(format!("the service did not summarize {path}")).caused_by(error);
    let summary: Summary = response.map_err(failed)?.json().await.map_err(failed)?;
    Ok(FileSummary { path: path.to_owned(), key, summary })
}

/// What the summaries say together.
#[trace]
async fn insights(summaries: Vec<FileSummary>, topic: &str) -> Result<Insights> {
    let key = begin("insights", "")?;
    Ok(insights::insights(key, topic, &summaries))
}

/// Says that the effect of a trace begins: what the parent counts. Gives the effect's key.
fn begin(trace: &str, about: &str) -> Result<String> {
    let key = relive::idempotency_key()?;
    pipe::say(&PipelineLine::Began(Began { trace: trace.to_owned(), about: about.to_owned(), key: key.clone() }));
    Ok(key)
}

/// Says now and then how many files have been read.
pub(crate) fn signs_of_life(mut each: impl FnMut(&str, &str)) -> impl FnMut(&str, &str) {
    let mut file_count = 0;
    move |path, text| {
        file_count += 1;
        if file_count % FILES_PER_SIGN == 0 {
            pipe::say(&PipelineLine::Reading { file_count });
        }
        each(path, text);
    }
}
