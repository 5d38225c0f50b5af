//! Runs a program as a task's body: ordinary Rust, ordinary combinators.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::{Either, FusedFuture, FutureExt, join_all, try_join_all};
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use relive::{Result, task, trace};

use crate::director::Director;
use crate::program::Node;

/// Small, so that values meet.
const MODULUS: i64 = 997;

#[trace]
async fn alpha(site: u64, value: i64, fails: bool) -> Result<i64> {
    effect("alpha", site, value, fails).await
}

#[trace]
async fn beta(site: u64, value: i64, fails: bool) -> Result<i64> {
    effect("beta", site, value, fails).await
}

#[trace]
async fn gamma(site: u64, value: i64, fails: bool) -> Result<i64> {
    effect("gamma", site, value, fails).await
}

/// What a call is called, in whichever run it is.
fn place(name: &str, site: u64, value: i64) -> String {
    format!("{name} {site} {value}")
}

async fn effect(name: &str, site: u64, value: i64, fails: bool) -> Result<i64> {
    let director = relive::provided::<Director>()?;
    // Dropped only if the effect is cut off.
    let explosive = fails.then(|| Explosive);
    let value = director.effect(place(name, site, value), relive::idempotency_key()?).await;
    std::mem::forget(explosive);
    failed(value, fails)
}

/// One in four fails: by an error, or by a panic with a value that panics once more when it is dropped.
fn failed(value: i64, fails: bool) -> Result<i64> {
    match value.rem_euclid(8) {
        0 if fails => Err(relive::Error::msg(format!("failed with {value}"))),
        4 if fails => std::panic::panic_any(Explosive),
        _ => Ok(value),
    }
}

/// Panics when it is dropped.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        std::panic::panic_any("a destructor's panic");
    }
}

#[trace]
fn plain(site: u64, value: i64, fails: bool) -> Result<i64> {
    let director = relive::provided::<Director>()?;
    let value = director.value(&place("plain", site, value), &relive::idempotency_key()?);
    failed(value, fails)
}

/// As [`plain`], and tried again at once.
#[trace(retries = 2)]
fn stubborn(site: u64, value: i64, fails: bool) -> Result<i64> {
    let director = relive::provided::<Director>()?;
    let key = relive::idempotency_key()?;
    let value = director.value(&place("stubborn", site, value), &key);
    if fails && director.tries(&key) < value % 4 { Err(relive::Error::msg("not yet")) } else { Ok(value) }
}

fn item(site: u64, index: u64) -> i64 {
    (site.wrapping_mul(31).wrapping_add(index * 7) % 1000) as i64
}

#[trace]
fn lines(site: u64, value: i64, count: u8) -> impl Iterator<Item = Result<i64>> {
    let _ = value;
    (0..u64::from(count)).map(move |index| {
        if index == 4 { Err(relive::Error::msg("the fifth line is bad")) } else { Ok(item(site, index)) }
    })
}

#[trace(retries = 3, backoff(first = "1ms", jitter = false))]
async fn retried(site: u64, value: i64, failures: u8) -> Result<i64> {
    let director = relive::provided::<Director>()?;
    let key = relive::idempotency_key()?;
    let value = director.effect(place("retried", site, value), key.clone()).await;
    if director.tries(&key) < i64::from(failures) { Err(relive::Error::msg("not yet")) } else { Ok(value) }
}

#[trace]
async fn nested(site: u64, value: i64, fails: bool) -> Result<i64> {
    let first = alpha(site, value, fails).await?;
    let second = plain(site, first, fails)?;
    let director = relive::provided::<Director>()?;
    let own = director.effect(place("nested", site, value), relive::idempotency_key()?).await;
    Ok(first + second + own)
}

#[trace]
fn stream(site: u64, value: i64, count: u8) -> impl Stream<Item = Result<i64>> {
    let _ = value;
    futures::stream::iter(0..u64::from(count)).then(move |index| async move {
        crate::director::turns().await;
        if index == 5 { Err(relive::Error::msg("the sixth item is bad")) } else { Ok(item(site, index)) }
    })
}

#[trace(resume = "from")]
fn stream_from(site: u64, value: i64, count: u8, from: u64) -> impl Stream<Item = Result<i64>> {
    let _ = value;
    futures::stream::iter(from..u64::from(count)).then(move |index| async move {
        crate::director::turns().await;
        Ok(item(site, index))
    })
}

#[trace]
async fn send(site: u64, value: i64) -> Result<i64> {
    relive::provided::<Director>()?.send(&format!("signal {site}"), value).await;
    Ok(value)
}

#[task]
async fn child(site: u64, value: i64, node: Node) -> Result<i64> {
    eval(Arc::new(node), site, value, Arc::default()).await
}

async fn op(kind: u8, site: u64, value: i64, fails: bool) -> Result<i64> {
    match kind {
        0 => alpha(site, value, fails).await,
        1 => beta(site, value, fails).await,
        _ => gamma(site, value, fails).await,
    }
}

#[task]
pub(crate) async fn program(node: Node) -> Result<i64> {
    eval(Arc::new(node), 1, 0, Arc::default()).await
}

type Value = Pin<Box<dyn Future<Output = Result<i64>> + Send>>;

/// `site` names the place in the program, so that different places call with different arguments.
fn eval(node: Arc<Node>, site: u64, value: i64, counter: Arc<AtomicI64>) -> Value {
    async move {
        let branch = |node: &Node, index: u64, value: i64| {
            eval(Arc::new(node.clone()), site.wrapping_mul(41).wrapping_add(index), value, Arc::clone(&counter))
        };
        let each = |nodes: &[Node]| -> Vec<Value> {
            nodes.iter().enumerate().map(|(index, node)| branch(node, index as u64 + 1, value)).collect()
        };
        let mix = |a: i64, b: i64| (a * 3 + b).rem_euclid(MODULUS);
        match &*node {
            Node::Op { kind, fails } => op(*kind, site, value, *fails).await,
            Node::Same { kind } => op(*kind, 0, 0, false).await,
            Node::Immediate { kind } if relive::provided::<Director>()?.is_scheduled() => {
                // Recorded, and of no consequence, so that two runs can be compared.
                match kind {
                    0 => drop(relive::now()?),
                    1 => drop(relive::random::<u8>()?),
                    _ => drop(relive::uuid()?),
                }
                Ok(value)
            }
            Node::Immediate { kind: 0 } => Ok(match relive::now()?.duration_since(std::time::UNIX_EPOCH) {
                Ok(since) => i64::from(since.subsec_micros()) % MODULUS,
                Err(_) => 0,
            }),
            Node::Immediate { kind: 1 } => Ok(relive::random::<u8>()?.into()),
            Node::Immediate { .. } => Ok(i64::from(relive::uuid()?.as_bytes()[0])),
            Node::Counter => alpha(site, counter.fetch_add(1, Ordering::Relaxed), false).await,
            Node::Sequence(nodes) => {
                let mut sum = value;
                for (index, node) in nodes.iter().enumerate() {
                    sum = mix(sum, branch(node, index as u64 + 1, sum).await?);
                }
                Ok(sum)
            }
            Node::TokioJoin(a, b) => {
                let (a, b) = tokio::join!(branch(a, 1, value), branch(b, 2, value));
                Ok(mix(a?, b?))
            }
            Node::FuturesJoin(a, b, c) => {
                let (a, b, c) = futures::join!(branch(a, 1, value), branch(b, 2, value), branch(c, 3, value));
                Ok(mix(mix(a?, b?), c?))
            }
            Node::TryJoin(a, b) => {
                let (a, b) = tokio::try_join!(branch(a, 1, value), branch(b, 2, value))?;
                Ok(mix(a, b))
            }
            Node::JoinAll(nodes) => {
                let results = join_all(each(nodes)).await;
                Ok(results.into_iter().fold(value, |sum, result| mix(sum, result.unwrap_or(1))))
            }
            Node::TryJoinAll(nodes) => Ok(try_join_all(each(nodes)).await?.into_iter().fold(value, mix)),
            Node::Wide(count) => {
                let wide = (0..u64::from(*count)).map(|index| async move {
                    let first = beta(site.wrapping_mul(43).wrapping_add(index), value, false).await?;
                    if first % 3 == 0 { gamma(site.wrapping_add(index), first, false).await } else { Ok(first) }
                });
                Ok(try_join_all(wide).await?.into_iter().fold(value, mix))
            }
            Node::Select(a, b) => {
                let (a, b) = (branch(a, 1, value), branch(b, 2, value));
                relive::select! {
                    result = a => result,
                    result = b => result.map(|won| won + 1),
                }
            }
            Node::UnbiasedSelect(a, b) => unbiased(branch(a, 1, value), branch(b, 2, value)).await,
            Node::FuturesSelect(a, b) => {
                let (mut a, mut b) = (branch(a, 1, value).fuse(), branch(b, 2, value).fuse());
                futures::select! {
                    result = a => result,
                    result = b => result.map(|won| won + 1),
                }
            }
            Node::Race(a, b) => match futures::future::select(branch(a, 1, value), branch(b, 2, value)).await {
                Either::Left((won, loser)) => Ok(mix(won?, loser.await?)),
                Either::Right((won, _)) => won,
            },
            Node::Unordered(nodes) => {
                let mut unordered: FuturesUnordered<_> = each(nodes).into_iter().collect();
                let mut sum = value;
                while let Some(result) = unordered.next().await {
                    sum = mix(sum, result.unwrap_or(2));
                    if sum % 5 == 0 {
                        sum = mix(sum, alpha(site, sum, false).await?);
                    }
                    if sum % 11 == 0 {
                        break;
                    }
                }
                Ok(sum)
            }
            Node::BufferUnordered(nodes, at_once) => {
                let mut stream = futures::stream::iter(each(nodes)).buffer_unordered(usize::from(*at_once));
                let mut sum = value;
                while let Some(result) = stream.next().await {
                    sum = mix(sum, result.unwrap_or(2));
                    if sum % 4 == 0 {
                        sum = mix(sum, alpha(site, sum, false).await?);
                    }
                }
                Ok(sum)
            }
            Node::Buffered(nodes, at_once) => {
                let results = futures::stream::iter(each(nodes)).buffered(usize::from(*at_once)).collect::<Vec<_>>();
                Ok(results.await.into_iter().fold(value, |sum, result| mix(sum, result.unwrap_or(2))))
            }
            Node::If(a, b) => if value % 2 == 0 { branch(a, 1, value) } else { branch(b, 2, value) }.await,
            Node::Loop(count, a) => {
                let mut sum = value;
                for round in 0..i64::from(*count) {
                    sum = mix(sum, branch(a, 1, sum + round).await?);
                    if sum % 7 == 0 {
                        break;
                    }
                }
                Ok(sum)
            }
            Node::Catch(a) => Ok(branch(a, 1, value).await.unwrap_or(13)),
            Node::Timeout(a) => {
                let (a, timer) = (branch(a, 1, value), gamma(site, value, false));
                relive::select! {
                    result = a => result,
                    _ = timer => Ok(value + 1),
                }
            }
            Node::Channel(nodes, consumer) => {
                let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
                let senders = join_all(each(nodes).into_iter().map(|branch| {
                    let sender = sender.clone();
                    async move {
                        // The receiver lives as long as this branch.
                        let _ = sender.send(branch.await.unwrap_or(3)).await;
                    }
                }));
                drop(sender);
                let consume = async {
                    let mut sum = value;
                    while let Some(received) = receiver.recv().await {
                        sum = mix(sum, branch(consumer, 9, received).await.unwrap_or(received));
                    }
                    sum
                };
                Ok(tokio::join!(senders, consume).1)
            }
            Node::Mutex(nodes) => {
                let mutex = tokio::sync::Mutex::new(value);
                join_all(nodes.iter().enumerate().map(|(index, node)| {
                    let mutex = &mutex;
                    async move {
                        let mut guard = mutex.lock().await;
                        let result = branch(node, index as u64 + 1, *guard).await.unwrap_or(5);
                        *guard = mix(*guard, result);
                    }
                }))
                .await;
                Ok(mutex.into_inner())
            }
            Node::Notify(a, b) => {
                let notify = tokio::sync::Notify::new();
                let first = async {
                    let result = branch(a, 1, value).await;
                    notify.notify_one();
                    result
                };
                let second = async {
                    notify.notified().await;
                    branch(b, 2, value).await
                };
                let (a, b) = tokio::join!(first, second);
                Ok(mix(a?, b?))
            }
            Node::NotifyAll(a, nodes) => {
                let notify = tokio::sync::Notify::new();
                let arrived = AtomicI64::new(0);
                let waiting = join_all(nodes.iter().enumerate().map(|(index, node)| {
                    let (notify, arrived) = (&notify, &arrived);
                    async move {
                        notify.notified().await;
                        branch(node, index as u64 + 2, arrived.fetch_add(1, Ordering::Relaxed)).await
                    }
                }));
                let first = async {
                    let result = branch(a, 1, value).await;
                    notify.notify_waiters();
                    result
                };
                let (a, results) = tokio::join!(first, waiting);
                results.into_iter().try_fold(a?, |sum, result| Ok(mix(sum, result?)))
            }
            Node::Oneshot(a, b) => {
                let (sender, receiver) = tokio::sync::oneshot::channel();
                let first = async {
                    let result = branch(a, 1, value).await.unwrap_or(4);
                    let _ = sender.send(result);
                    result
                };
                let second = async { branch(b, 2, receiver.await.unwrap_or(6)).await };
                let (a, b) = futures::join!(first, second);
                Ok(mix(a, b?))
            }
            Node::Barrier(a, b) => {
                let (barrier, arrived) = (tokio::sync::Barrier::new(2), AtomicI64::new(0));
                let side = |branch: Value, side: i64| {
                    let (barrier, arrived) = (&barrier, &arrived);
                    async move {
                        let result = branch.await;
                        barrier.wait().await;
                        let order = arrived.fetch_add(1, Ordering::Relaxed);
                        alpha(site, order * 10 + side, false).await?;
                        result
                    }
                };
                let (a, b) = tokio::join!(side(branch(a, 1, value), 1), side(branch(b, 2, value), 2));
                Ok(mix(a?, b?))
            }
            Node::EventLoop(a, b, handler) => {
                let (mut a, mut b) = (branch(a, 1, value).fuse(), branch(b, 2, value).fuse());
                let mut sum = value;
                loop {
                    relive::select! {
                        result = &mut a, if !a.is_terminated() => sum = mix(sum, result.unwrap_or(1)),
                        result = &mut b, if !b.is_terminated() => sum = mix(sum, result.unwrap_or(1) * 2),
                        else => break,
                    }
                    sum = mix(sum, branch(handler, 3, sum).await.unwrap_or(2));
                }
                Ok(sum)
            }
            Node::UnbiasedEventLoop(a, b, handler) => {
                let (mut a, mut b) = (branch(a, 1, value).fuse(), branch(b, 2, value).fuse());
                let mut sum = value;
                while !(a.is_terminated() && b.is_terminated()) {
                    sum = unbiased_turn(&mut a, &mut b, sum).await;
                    sum = mix(sum, branch(handler, 3, sum).await.unwrap_or(2));
                }
                Ok(sum)
            }
            Node::Abandon(a, b) => {
                let mut held = branch(a, 1, value);
                // Started, and not polled while the other runs.
                let early = futures::poll!(&mut held);
                let other = branch(b, 2, value).await?;
                match early {
                    std::task::Poll::Ready(result) => Ok(mix(other, result?)),
                    std::task::Poll::Pending if other % 2 == 0 => Ok(mix(other, held.await?)),
                    std::task::Poll::Pending => Ok(other),
                }
            }
            Node::Plain { kind: 0, fails } => plain(site, value, *fails),
            Node::Plain { fails, .. } => stubborn(site, value, *fails),
            Node::Lines { count, take, calls } => {
                let mut sum = value;
                for line in lines(site, value, *count).take(usize::from(*take)) {
                    sum = mix(sum, line.unwrap_or(8));
                    if *calls && sum % 3 == 0 {
                        sum = mix(sum, alpha(site, sum, false).await?);
                    }
                }
                Ok(sum)
            }
            Node::Retried { failures } => retried(site, value, *failures).await,
            Node::Sleep => {
                // Another duration everywhere, so that a schedule can tell them apart.
                let micros = 10_000 + site.wrapping_mul(7919).wrapping_add(value as u64) % 1_000_000_000;
                relive::sleep(std::time::Duration::from_micros(micros)).await?;
                Ok(value)
            }
            Node::Nested { fails } => nested(site, value, *fails).await,
            Node::Child(a) => child(site, value, a.as_ref().clone()).await,
            Node::Group(a) => relive::group(format!("at {site}"), branch(a, 1, value)).await,
            Node::Stream { count, take, calls, resumes } => {
                let items: Pin<Box<dyn Stream<Item = Result<i64>> + Send>> = if *resumes {
                    Box::pin(stream_from(site, value, *count, 0))
                } else {
                    Box::pin(stream(site, value, *count))
                };
                let mut items = items.take(usize::from(*take));
                let mut sum = value;
                while let Some(item) = items.next().await {
                    sum = mix(sum, item.unwrap_or(9));
                    if *calls && sum % 3 == 0 {
                        sum = mix(sum, alpha(site, sum, false).await?);
                    }
                }
                Ok(sum)
            }
            Node::Streams(a, b) => {
                let (a, b) = (stream(site, 1, *a), stream(site, 2, *b));
                let mut both = futures::stream::select(a, b);
                let mut sum = value;
                while let Some(item) = both.next().await {
                    sum = mix(sum, item.unwrap_or(9));
                }
                Ok(sum)
            }
            Node::Signal => {
                let name = format!("signal {site}");
                let received = async {
                    let number = relive::signal::<i64>(name.as_str()).await?;
                    let word = relive::signal::<String>(name.as_str()).await?;
                    Ok::<_, relive::Error>(mix(number, word.len() as i64))
                };
                let (sent, received) = tokio::join!(send(site, value), received);
                Ok(mix(sent?, received?))
            }
            Node::InTime(a) => {
                let span = std::time::Duration::from_micros(10_000 + site % 1000);
                match relive::timeout(span, branch(a, 1, value)).await {
                    Ok(result) => result,
                    Err(_) => Ok(value + 2),
                }
            }
        }
    }
    .boxed()
}

/// A choice by chance: no `biased;`.
async fn unbiased(a: Value, b: Value) -> Result<i64> {
    tokio::select! {
        result = a => result,
        result = b => result.map(|won| won + 1),
    }
}

type Fused = futures::future::Fuse<Value>;

async fn unbiased_turn(a: &mut Fused, b: &mut Fused, sum: i64) -> i64 {
    let (a_ended, b_ended) = (a.is_terminated(), b.is_terminated());
    tokio::select! {
        result = a, if !a_ended => (sum * 3 + result.unwrap_or(1)).rem_euclid(MODULUS),
        result = b, if !b_ended => (sum * 5 + result.unwrap_or(1)).rem_euclid(MODULUS),
    }
}
