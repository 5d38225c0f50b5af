//! The tortured task: carries a program out, by traces whose effects tell the witness.
//!
//! Linked into the child; also run undisturbed by a test, to see that programs come to what `program` says.
//!
//! Invariant: of one label there is one call or several equal ones; the output of a call holds its idempotency key.

use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use relive::{Error, task, trace};
use serde::{Deserialize, Serialize};

use super::chance::mixed;
use super::program::{CAUGHT, Program, Section, value};
use super::witness::Witness;

/// Which program to run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Input {
    /// The campaign's seed for this directory.
    pub seed: u64,
    /// The run's number there.
    pub number: u32,
}

/// What a trace returns. The key is for the oracle.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Worked {
    key: String,
    value: u64,
}

/// Says to the witness that an effect begins, takes its time, and says that it ends. Returns its key.
async fn effect(name: &str, label: &str) -> relive::Result<String> {
    let witness = relive::provided::<Witness>()?;
    let key = relive::idempotency_key()?;
    witness.tell(name, label, &key, true)?;
    let pace = label.bytes().fold(0, |sum: u64, byte| mixed(sum ^ u64::from(byte))) % 8;
    match pace {
        0..3 => {}
        3..6 => tokio::task::yield_now().await,
        _ => slow(Duration::from_millis(pace - 5)).await,
    }
    witness.tell(name, label, &key, false)?;
    Ok(key)
}

#[expect(clippy::disallowed_methods, reason = "a service that takes its time, so that a kill finds effects half done")]
async fn slow(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[trace(name = "torture.work")]
async fn work(label: String, value: u64) -> relive::Result<Worked> {
    Ok(Worked { key: effect("torture.work", &label).await?, value: mixed(value) })
}

#[trace(name = "torture.echo")]
async fn echo(label: String, text: String) -> relive::Result<(String, String)> {
    Ok((effect("torture.echo", &label).await?, text))
}

#[trace(name = "torture.refuse")]
async fn refuse(label: String) -> relive::Result<()> {
    let key = effect("torture.refuse", &label).await?;
    Err(Error::msg(format!("{label} was refused, key={key}")))
}

/// How long a nap is: 40 ms, more than a millisecond for each event of a log that is not long yet, so that the run leaves
/// memory where nothing else is asked for.
const NAP: Duration = Duration::from_millis(40);

/// How far the wall clock, which a body sees, may go behind the one that naps are waited for by: 1 ms.
const SLEW_MAX: Duration = Duration::from_millis(1);

/// The place of a call, as a child run is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Errand {
    seed: u64,
    number: u32,
    at: u64,
    calls: u64,
}

/// A run that another calls.
#[task(name = "torture.errand")]
async fn errand(errand: Errand) -> relive::Result<u64> {
    let Errand { seed, number, at, calls } = errand;
    Place { seed, number, at, is_child: true }.sequence(calls).await
}

/// Carries a program out.
#[task(name = "torture")]
pub async fn torture_run(input: Input) -> relive::Result<u64> {
    let program = Program::draw(input.seed, input.number);
    let mut sum = 0u64;
    for (at, section) in (0..).zip(&program.sections) {
        let place = Place { seed: input.seed, number: input.number, at, is_child: false };
        sum = sum.wrapping_add(place.carry_out(*section).await?);
    }
    Ok(sum)
}

/// Where a body is: the run's number and the part of its program.
#[derive(Clone, Copy)]
struct Place {
    seed: u64,
    number: u32,
    at: u64,
    is_child: bool,
}

impl Place {
    fn label(self, part: impl std::fmt::Display) -> String {
        let child = if self.is_child { "child." } else { "" };
        format!("{}/{}.{child}{part}", self.number, self.at)
    }

    async fn work(self, part: u64) -> relive::Result<u64> {
        Ok(work(self.label(part), value(self.at, part)).await?.value)
    }

    /// Hands to a trace what replay must find again, and takes it back.
    async fn echo(self, part: &str, text: String) -> relive::Result<()> {
        let (_, back) = echo(self.label(part), text.clone()).await?;
        if back == text { Ok(()) } else { Err(Error::msg(format!("{text} came back as {back}"))) }
    }

    async fn carry_out(self, section: Section) -> relive::Result<u64> {
        match section {
            Section::Sequence(calls) => self.sequence(calls).await,
            Section::JoinAll(calls) => {
                let results = try_join_all((0..calls).map(|part| self.work(part))).await?;
                Ok(results.into_iter().fold(0, u64::wrapping_add))
            }
            Section::Race => self.race().await,
            Section::RandomLoop => {
                let calls = relive::random::<u64>()? % 4;
                self.sequence(calls).await.map(|_| 0)
            }
            Section::Moment => {
                let (now, uuid) = (relive::now()?, relive::uuid()?);
                self.echo("moment", format!("{now:?} {uuid}")).await.map(|()| 0)
            }
            Section::Caught => self.caught().await,
            Section::Equal(calls) => self.equal(calls).await,
            Section::Unordered(calls) => self.unordered(calls).await,
            Section::Channel(calls) => self.channel(calls).await,
            Section::Nap => self.nap().await.map(|()| 0),
            Section::Child(calls) => {
                let Self { seed, number, at, .. } = self;
                errand(Errand { seed, number, at, calls }).await
            }
        }
    }

    async fn sequence(self, calls: u64) -> relive::Result<u64> {
        let mut sum = 0u64;
        for part in 0..calls {
            sum = sum.wrapping_add(self.work(part).await?);
        }
        Ok(sum)
    }

    /// Sleeps, and wakes neither early nor without having slept.
    async fn nap(self) -> relive::Result<()> {
        let before = relive::now()?;
        relive::sleep(NAP).await?;
        let slept = relive::now()?.duration_since(before).unwrap_or_default();
        if slept + SLEW_MAX >= NAP { Ok(()) } else { Err(Error::msg(format!("a nap of {NAP:?} took {slept:?}"))) }
    }

    async fn race(self) -> relive::Result<u64> {
        let of = |side: &str| work(self.label(side), value(self.at, 0));
        let (left, right) = (of("left"), of("right"));
        relive::select! {
            worked = left => Ok(worked?.value),
            worked = right => Ok(worked?.value),
        }
    }

    async fn caught(self) -> relive::Result<u64> {
        let label = self.label("refused");
        match refuse(label.clone()).await {
            Err(error) if error.to_string().starts_with(&label) => Ok(CAUGHT),
            Err(error) => Err(error),
            Ok(()) => Err(Error::msg("a failure came back as a success")),
        }
    }

    async fn equal(self, calls: u64) -> relive::Result<u64> {
        let call = || self.work(0);
        let results = try_join_all((0..calls).map(|_| call())).await?;
        let last = call().await?;
        Ok(results.into_iter().fold(last, u64::wrapping_add))
    }

    async fn unordered(self, calls: u64) -> relive::Result<u64> {
        let mut branches: FuturesUnordered<_> =
            (0..calls).map(|part| async move { (part, self.work(part).await) }).collect();
        let (mut sum, mut order) = (0u64, Vec::new());
        while let Some((part, result)) = branches.next().await {
            sum = sum.wrapping_add(result?);
            order.push(part);
        }
        self.echo("order", format!("{order:?}")).await?;
        Ok(sum)
    }

    async fn channel(self, calls: u64) -> relive::Result<u64> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let produce = async move {
            for part in 0..calls {
                let value = self.work(part).await?;
                // Fails when the other branch has failed, which then says why.
                let _ = sender.send((part, value)).await;
            }
            Ok(())
        };
        let consume = async {
            let mut sum = 0u64;
            while let Some((part, value)) = receiver.recv().await {
                let label = self.label(format!("consumed.{part}"));
                let worked = work(label, value).await?;
                sum = sum.wrapping_add(worked.value);
            }
            Ok::<u64, Error>(sum)
        };
        let (produced, consumed): (relive::Result<()>, _) = futures::join!(produce, consume);
        produced?;
        consumed
    }
}
