//! Runs a program as a task's body: ordinary Rust, ordinary combinators.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::{Either, FusedFuture, FutureExt, join_all, try_join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use relive::{Result, task, trace};

use crate::director::Director;
use crate::program::Node;

/// Small, so that values meet.
const MODULUS: i64 = 997;

#[trace]
async fn alpha(site: u64, value: i64, fails: bool) -> Result<i64> {
    effect(site, value, fails).await
}

#[trace]
async fn beta(site: u64, value: i64, fails: bool) -> Result<i64> {
    effect(site, value, fails).await
}

#[trace]
async fn gamma(site: u64, value: i64, fails: bool) -> Result<i64> {
    effect(site, value, fails).await
}

async fn effect(_site: u64, _value: i64, fails: bool) -> Result<i64> {
    let value = relive::provided::<Director>()?.effect(relive::idempotency_key()?).await;
    if fails && value % 4 == 0 { Err(relive::Error::msg(format!("failed with {value}"))) } else { Ok(value) }
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
