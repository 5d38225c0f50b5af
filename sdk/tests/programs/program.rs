//! Random programs over traces: what a task's body may do with ordinary combinators.
//!
//! Made by proptest, run by `body`, shrunk to something a person can read.

use std::ops::Range;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A program: a value in, a value or an error out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Node {
    /// A trace. `fails`: one in four of its results is an error.
    Op {
        kind: u8,
        fails: bool,
    },
    /// A trace that is called the same way from everywhere.
    Same {
        kind: u8,
    },
    /// `relive::now`, `random` or `uuid`.
    Immediate {
        kind: u8,
    },
    /// A trace whose argument is a counter that all branches share.
    Counter,
    /// One after the other, each with the value of the one before.
    Sequence(Vec<Node>),
    TokioJoin(Box<Node>, Box<Node>),
    FuturesJoin(Box<Node>, Box<Node>, Box<Node>),
    TryJoin(Box<Node>, Box<Node>),
    JoinAll(Vec<Node>),
    TryJoinAll(Vec<Node>),
    /// `join_all` of this many branches, above the 30 from which it is a `FuturesUnordered`.
    Wide(u8),
    /// `relive::select!`: in the order of its branches.
    Select(Box<Node>, Box<Node>),
    /// `tokio::select!` as it draws its branches by chance.
    UnbiasedSelect(Box<Node>, Box<Node>),
    /// `futures::select!`: by chance as well.
    FuturesSelect(Box<Node>, Box<Node>),
    /// `futures::future::select`, and then the loser.
    Race(Box<Node>, Box<Node>),
    Unordered(Vec<Node>),
    BufferUnordered(Vec<Node>, u8),
    Buffered(Vec<Node>, u8),
    If(Box<Node>, Box<Node>),
    Loop(u8, Box<Node>),
    /// The error is caught.
    Catch(Box<Node>),
    /// A race against a trace that stands for a timer.
    Timeout(Box<Node>),
    /// Branches send over a channel of one place; a consumer works on what comes.
    Channel(Vec<Node>, Box<Node>),
    /// Branches take turns under a mutex, each awaiting while it holds it.
    Mutex(Vec<Node>),
    /// The second waits until the first notifies.
    Notify(Box<Node>, Box<Node>),
    /// The first notifies all of the others at once; they number themselves.
    NotifyAll(Box<Node>, Vec<Node>),
    Oneshot(Box<Node>, Box<Node>),
    Barrier(Box<Node>, Box<Node>),
    /// Two pinned futures; whenever one is ready a handler works while the other may become ready unseen.
    EventLoop(Box<Node>, Box<Node>, Box<Node>),
    /// The same with branches drawn by chance.
    UnbiasedEventLoop(Box<Node>, Box<Node>, Box<Node>),
    /// Started, held, and dropped unless the first is even.
    Abandon(Box<Node>, Box<Node>),
    /// A plain function.
    Plain {
        kind: u8,
        fails: bool,
    },
    /// An iterator of this many items, of which so many are taken; a trace is called between two of them.
    Lines {
        count: u8,
        take: u8,
        calls: bool,
    },
    /// A trace that fails so often before it succeeds, and is tried four times.
    Retried {
        failures: u8,
    },
    /// `relive::sleep`.
    Sleep,
    /// A trace whose effect calls two others.
    Nested {
        fails: bool,
    },
    /// A task, as a child run.
    Child(Box<Node>),
    /// A part of the timeline with a name.
    Group(Box<Node>),
    /// A stream of this many items, of which so many are taken; a trace is called between two of them.
    Stream {
        count: u8,
        take: u8,
        calls: bool,
        resumes: bool,
    },
    /// Two streams, by turns as they come.
    Streams(u8, u8),
    /// Signals that a trace sends: one that fits nothing, and two of two types that somebody waits for in turn.
    Signal,
    /// `relive::timeout`.
    InTime(Box<Node>),
}

/// What programs may hold. Chance in the choice of a branch does not go with what depends on the order within a step:
/// equal calls, immediate traces, shared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ordered,
    ByChance,
    /// Also what no schedule directs: streams, signals.
    Free,
}

pub(crate) fn programs(family: Family) -> impl Strategy<Value = Node> {
    let op = (0..3u8, any::<bool>()).prop_map(|(kind, fails)| Node::Op { kind, fails });
    let ordered = prop_oneof![
        6 => op.clone(),
        1 => (0..3u8).prop_map(|kind| Node::Same { kind }),
        1 => (0..3u8).prop_map(|kind| Node::Immediate { kind }),
        1 => Just(Node::Counter),
        1 => (0..2u8, any::<bool>()).prop_map(|(kind, fails)| Node::Plain { kind, fails }),
        1 => (0..5u8, 0..6u8, any::<bool>()).prop_map(|(count, take, calls)| Node::Lines { count, take, calls }),
        1 => (0..5u8).prop_map(|failures| Node::Retried { failures }),
        1 => Just(Node::Sleep),
        1 => any::<bool>().prop_map(|fails| Node::Nested { fails }),
    ];
    let stream = (0..6u8, 0..7u8, any::<bool>(), any::<bool>())
        .prop_map(|(count, take, calls, resumes)| Node::Stream { count, take, calls, resumes });
    let leaf = match family {
        Family::ByChance => op.boxed(),
        Family::Ordered => ordered.boxed(),
        Family::Free => prop_oneof![
            8 => ordered,
            2 => stream,
            1 => (0..5u8, 0..5u8).prop_map(|(a, b)| Node::Streams(a, b)),
            1 => Just(Node::Signal),
        ]
        .boxed(),
    };
    leaf.prop_recursive(3, 24, 4, move |inner| {
        let node = || inner.clone().prop_map(Box::new);
        let nodes = |count: Range<usize>| prop::collection::vec(inner.clone(), count);
        let common = prop_oneof![
            3 => nodes(2..5).prop_map(Node::Sequence),
            1 => (node(), node()).prop_map(|(a, b)| Node::TokioJoin(a, b)),
            1 => (node(), node(), node()).prop_map(|(a, b, c)| Node::FuturesJoin(a, b, c)),
            1 => (node(), node()).prop_map(|(a, b)| Node::TryJoin(a, b)),
            1 => nodes(2..5).prop_map(Node::JoinAll),
            1 => nodes(2..5).prop_map(Node::TryJoinAll),
            1 => (31..40u8).prop_map(Node::Wide),
            1 => (node(), node()).prop_map(|(a, b)| Node::Select(a, b)),
            1 => (node(), node()).prop_map(|(a, b)| Node::Race(a, b)),
            1 => nodes(2..5).prop_map(Node::Unordered),
            1 => (nodes(2..5), 1..4u8).prop_map(|(list, at_once)| Node::BufferUnordered(list, at_once)),
            1 => (nodes(2..5), 1..4u8).prop_map(|(list, at_once)| Node::Buffered(list, at_once)),
            2 => (node(), node()).prop_map(|(a, b)| Node::If(a, b)),
            1 => (1..4u8, node()).prop_map(|(count, a)| Node::Loop(count, a)),
            2 => node().prop_map(Node::Catch),
            1 => node().prop_map(Node::Timeout),
            1 => (nodes(2..4), node()).prop_map(|(list, a)| Node::Channel(list, a)),
            1 => nodes(2..4).prop_map(Node::Mutex),
            1 => (node(), node()).prop_map(|(a, b)| Node::Notify(a, b)),
            1 => (node(), node()).prop_map(|(a, b)| Node::Oneshot(a, b)),
            1 => (node(), node()).prop_map(|(a, b)| Node::Abandon(a, b)),
        ];
        match family {
            Family::Ordered | Family::Free => prop_oneof![
                8 => common,
                1 => node().prop_map(Node::Child),
                1 => node().prop_map(Node::Group),
                u32::from(family == Family::Free) => node().prop_map(Node::InTime),
                1 => (node(), nodes(2..4)).prop_map(|(a, list)| Node::NotifyAll(a, list)),
                1 => (node(), node()).prop_map(|(a, b)| Node::Barrier(a, b)),
                1 => (node(), node(), node()).prop_map(|(a, b, c)| Node::EventLoop(a, b, c)),
            ]
            .boxed(),
            Family::ByChance => prop_oneof![
                6 => common,
                2 => (node(), node()).prop_map(|(a, b)| Node::UnbiasedSelect(a, b)),
                1 => (node(), node()).prop_map(|(a, b)| Node::FuturesSelect(a, b)),
                1 => (node(), node(), node()).prop_map(|(a, b, c)| Node::UnbiasedEventLoop(a, b, c)),
            ]
            .boxed(),
        }
    })
}
