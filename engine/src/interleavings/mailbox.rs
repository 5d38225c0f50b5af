//! A run's loop that sleeps when there is nothing for it, and those who write to it.
//!
//! Invariant: what is posted is received, however the loop and who posts meet; a wake that is lost is a deadlock here.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::thread;

use super::explore;
use crate::event::SignalReceived;
use crate::id::Timestamp;
use crate::payload::Payload;
use crate::replay::TraceIndex;
use crate::run::{EffectWaker, Letter, Mailbox, Stop};

fn letter(number: u8) -> Letter {
    let value = Payload::encode(&number).expect("a number can be encoded");
    Letter { key: vec![number], signal: SignalReceived { name: "answer".to_owned(), value, at: Timestamp(0) } }
}

fn everybody_writes() {
    let mailbox = Arc::new(Mailbox::default());
    let writes: [fn(&Mailbox); 5] = [
        |mailbox| (1..=3).for_each(|end| mailbox.durable(end, Vec::new())),
        |mailbox| (0..2).for_each(|index| mailbox.woken(TraceIndex(index))),
        |mailbox| mailbox.stranger(),
        |mailbox| (0..2).for_each(|number| mailbox.signal(letter(number))),
        Mailbox::cancel,
    ];
    let writers = writes.map(|write| {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || write(&mailbox))
    });
    let (mut durable, mut woken, mut strangers, mut signals) = (0, Vec::new(), 0, Vec::new());
    block_on(poll_fn(|cx| {
        let received = mailbox.receive(cx.waker());
        assert!(received.durable >= durable, "what is durable stays so");
        durable = received.durable;
        woken.extend(received.woken);
        strangers += received.stranger_count;
        signals.extend(received.signals.into_iter().map(|letter| letter.key));
        let all = durable == 3 && woken.len() == 2 && strangers == 1 && signals.len() == 2 && received.cancelled;
        if all { Poll::Ready(()) } else { Poll::Pending }
    }));
    assert_eq!((woken, signals), (vec![TraceIndex(0), TraceIndex(1)], vec![vec![0], vec![1]]), "once each, in order");
    writers.into_iter().for_each(|writer| writer.join().expect("it does not panic"));
}

/// An effect that goes on when a number grows, polled as the loop polls: the waker may post again just before.
fn an_effect_is_woken_again_and_again() {
    const LAST: u64 = 3;
    let mailbox = Arc::new(Mailbox::default());
    let waker =
        Arc::new(EffectWaker { mailbox: Arc::clone(&mailbox), index: TraceIndex(7), posted: AtomicBool::new(false) });
    let number = Arc::new(AtomicU64::new(0));
    let other = {
        let (waker, number) = (Arc::clone(&waker), Arc::clone(&number));
        thread::spawn(move || {
            for next in 1..=LAST {
                number.store(next, Ordering::Release);
                waker.wake_by_ref();
            }
        })
    };
    let mut polls = 0;
    block_on(poll_fn(|cx| {
        for index in mailbox.receive(cx.waker()).woken {
            assert_eq!(index, TraceIndex(7));
            waker.posted.store(false, Ordering::Release);
            polls += 1;
            if number.load(Ordering::Acquire) == LAST {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }));
    assert!(polls <= LAST, "it was polled {polls} times for {LAST} wakes");
    other.join().expect("it does not panic");
}

/// What ends the wait of a thread for the disk.
type Ends = (fn(&Mailbox), bool);

fn a_thread_waits_for_the_disk(ends: Ends) {
    let (end, expected) = ends;
    let mailbox = Arc::new(Mailbox::default());
    mailbox.begins();
    let waiting = {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || mailbox.block_until(2))
    };
    mailbox.durable(1, Vec::new());
    end(&mailbox);
    assert_eq!(waiting.join().expect("it does not panic"), expected);
}

/// Effects wait behind barriers of their own; the loop's own waker is another.
fn effects_wait_behind_barriers() {
    let mailbox = Arc::new(Mailbox::default());
    let waiting = [1, 2, 2].map(|end| {
        let mailbox = Arc::clone(&mailbox);
        shuttle::future::spawn(async move {
            poll_fn(|cx| if mailbox.is_durable(end, cx.waker()) { Poll::Ready(()) } else { Poll::Pending }).await;
        })
    });
    // The loop looks, and is woken for nothing.
    drop(mailbox.receive(Waker::noop()));
    mailbox.durable(1, Vec::new());
    mailbox.durable(2, Vec::new());
    waiting.into_iter().for_each(|effect| block_on(effect).expect("it does not panic"));
}

#[test]
fn what_is_posted_is_received_once_and_in_order() {
    explore(everybody_writes);
}

#[test]
fn an_effect_that_is_woken_while_it_is_polled_is_polled_again() {
    explore(an_effect_is_woken_again_and_again);
}

#[test]
fn a_thread_that_waits_for_the_disk_hears_how_it_ends() {
    let ends: [Ends; 5] = [
        (|mailbox| mailbox.durable(2, Vec::new()), true),
        (|mailbox| mailbox.failed("the disk is gone"), false),
        (Mailbox::refused, false),
        (|mailbox| mailbox.stop(Stop::Abort), false),
        (Mailbox::ends, false),
    ];
    for ends in ends {
        explore(move || a_thread_waits_for_the_disk(ends));
    }
}

#[test]
fn an_effect_behind_a_barrier_goes_on_when_that_is_durable() {
    explore(effects_wait_behind_barriers);
}
