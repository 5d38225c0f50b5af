//! Explores one case: runs the task, and then whatever can be done to it, as far as the budget goes.
//!
//! Called by `determinism` for each input; `life` lives, `check` compares.
//!
//! Invariant: every interruption is explored where there are few enough, and what was left out is counted.

use serde::{Deserialize, Serialize};

use super::check::{Finding, check};
use super::direct::Order;
use super::entropy;
use super::life::{Done, From, Lived, Script, World};
use super::plan::{self, Interruption, Point, Variant};
use super::recorder::Written;

/// What was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Inputs that the task was run with.
    pub cases: u64,
    /// Commits of the runs that nothing was done to.
    pub commits: u64,
    /// Of these, after how many a run was interrupted and resumed.
    pub interruptions: u64,
    /// Orders in which calls ended, beside the first.
    pub orders: u64,
    /// Calls that were made to fail, to panic, or to take too long.
    pub failures: u64,
    /// Cancellations, each followed by a resume.
    pub cancellations: u64,
    /// Commits that nobody got to know the outcome of.
    pub lost_acknowledgements: u64,
    /// Logs that another process replayed.
    pub replayed_elsewhere: u64,
}

impl Report {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.commits += other.commits;
        self.interruptions += other.interruptions;
        self.orders += other.orders;
        self.failures += other.failures;
        self.cancellations += other.cancellations;
        self.lost_acknowledgements += other.lost_acknowledgements;
        self.replayed_elsewhere += other.replayed_elsewhere;
    }

    fn count(&mut self, point: &Point) {
        match (point.interruption, &point.variant) {
            (Some(Interruption::After(_)), Variant::Undisturbed) => self.interruptions += 1,
            (Some(Interruption::Cancelled(_)), _) => self.cancellations += 1,
            (Some(Interruption::Lost { .. }), _) => self.lost_acknowledgements += 1,
            (_, Variant::Ordered(_) | Variant::Drawn(_)) => self.orders += 1,
            (_, Variant::Failing(..) | Variant::Panicking(..) | Variant::Late(..)) => self.failures += 1,
            _ => {}
        }
    }
}

/// What was found, and where.
pub(crate) struct Failed {
    pub(crate) finding: Finding,
    pub(crate) point: Point,
    /// The run that nothing was done to, where there is one to compare.
    pub(crate) reference: Option<Lived>,
    pub(crate) lived: Lived,
}

/// How much is explored of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Interruptions; and a third as many other points.
    pub(crate) points: usize,
    /// How often the run that nothing is done to is made: what chance decides may come out right.
    pub(crate) runs: usize,
    /// How often each point is tried before it passes.
    pub(crate) tries: usize,
    /// Whether real time passes once.
    pub(crate) slowly: bool,
}

/// What a case that passed leaves.
pub(crate) struct Explored {
    pub(crate) report: Report,
    pub(crate) reference: Lived,
}

type Outcome<T> = Result<T, Box<Failed>>;

/// Explores a case.
pub(crate) async fn explore(world: &World<'_>, budget: Budget) -> Outcome<Explored> {
    let mut report = Report { cases: 1, ..Report::default() };
    let undisturbed = || Point { variant: Variant::Undisturbed, interruption: None };
    let fail = |finding, point, reference, lived| Err(Box::new(Failed { finding, point, reference, lived }));
    // As it is: what effects find here is what they find from here on.
    let script = Script::default();
    let mut reference = world.live(&script, From::Nothing, Done::default()).await;
    for again in 0..budget.runs {
        if let Some(finding) = check(&reference, None, world) {
            return fail(finding, undisturbed(), None, reference);
        }
        // Where effects took their time, they ended in an order of their own.
        if again + 1 < budget.runs || reference.waited {
            reference = world.live(&script, From::Nothing, Done::default()).await;
        }
    }
    if let Some(finding) = check(&reference, None, world) {
        return fail(finding, undisturbed(), None, reference);
    }
    for _ in 0..budget.runs {
        let again = world.live(&script, From::Nothing, Done::default()).await;
        if let Some(finding) = check(&again, Some(&reference), world) {
            return fail(finding, undisturbed(), Some(reference), again);
        }
    }
    if budget.slowly {
        let slowly = Done { slowly: true, ..Done::default() };
        let lived = world.live(&script, From::Nothing, slowly).await;
        if let Some(finding) = check(&lived, Some(&reference), world) {
            let point = Point { variant: Variant::Slowly, interruption: None };
            return fail(finding, point, Some(reference), lived);
        }
    }
    let (_, commit_count) = plan::commits(&reference);
    report.commits = commit_count as u64;
    for point in points(world, &reference, budget.points) {
        for _ in 0..budget.tries {
            if let Err(parted) = visit(world, &script, &reference, &point).await {
                let Parted { finding, reference: own, lived } = *parted;
                return fail(finding, point, Some(own.unwrap_or(reference)), lived);
            }
        }
        report.count(&point);
    }
    Ok(Explored { report, reference })
}

/// The points to explore: of the interruptions, and of the others a third as many, all or a sample.
fn points(world: &World<'_>, reference: &Lived, count_max: usize) -> Vec<Point> {
    let (_, commit_count) = plan::commits(reference);
    let mut interruptions = plan::interruptions(commit_count);
    let mut others = plan::others(reference, &world.memory, world.seed);
    sample(&mut interruptions, count_max, world.seed);
    sample(&mut others, count_max.div_ceil(3), world.seed);
    interruptions.append(&mut others);
    interruptions
}

/// Keeps so many, drawn by a seed, in their order.
fn sample<T>(items: &mut Vec<T>, count: usize, seed: u64) {
    let mut state = seed;
    while items.len() > count {
        let index = entropy::next(&mut state) as usize % items.len();
        items.remove(index);
    }
}

type Visited = Result<(), Box<Parted>>;

/// What a visit found, with a run of its own to compare, if not the case's.
struct Parted {
    finding: Finding,
    reference: Option<Lived>,
    lived: Lived,
}

impl Parted {
    fn of(finding: Finding, lived: Lived) -> Box<Self> {
        Box::new(Self { finding, reference: None, lived })
    }
}

/// Explores one point.
async fn visit(world: &World<'_>, script: &Script, reference: &Lived, point: &Point) -> Visited {
    match (&point.variant, point.interruption) {
        (Variant::Undisturbed, Some(interruption)) => interrupted(world, script, reference, interruption).await,
        (variant, _) => {
            let script = variant.script();
            let lived = world.live(&script, From::Nothing, Done::default()).await;
            if let Some(finding) = check(&lived, None, world) {
                return Err(Parted::of(finding, lived));
            }
            let (_, commit_count) = plan::commits(&lived);
            if commit_count == 0 || matches!(script.order, Order::Late(_)) {
                return Ok(());
            }
            // One interruption of this one, too.
            let mut state = world.seed ^ commit_count as u64;
            let at = entropy::next(&mut state) as usize % commit_count + 1;
            match interrupted(world, &script, &lived, Interruption::After(at)).await {
                Err(parted) => Err(Box::new(Parted { reference: Some(lived), ..*parted })),
                Ok(()) => Ok(()),
            }
        }
    }
}

/// Interrupts a run, and compares what it comes to with what it would have come to.
async fn interrupted(world: &World<'_>, script: &Script, reference: &Lived, interruption: Interruption) -> Visited {
    let (first, _) = plan::commits(reference);
    let Some(run) = reference.run else { return Ok(()) };
    let (run, left): (_, Vec<Written>) = match interruption {
        Interruption::After(count) => (run, reference.written[..first + count].to_vec()),
        Interruption::Cancelled(_) => {
            let lived = world.live(script, From::Nothing, plan::done(Some(interruption), first)).await;
            // What raced with time may come out otherwise: it is a new attempt.
            return check(&lived, None, world).map_or(Ok(()), |finding| Err(Parted::of(finding, lived)));
        }
        Interruption::Lost { .. } => {
            let lived = world.live(script, From::Nothing, plan::done(Some(interruption), first)).await;
            match lived.run {
                Some(run) => (run, lived.written),
                None => return Ok(()),
            }
        }
    };
    let lived = world.live(script, From::Left(run, &left), Done::default()).await;
    check(&lived, Some(reference), world).map_or(Ok(()), |finding| Err(Parted::of(finding, lived)))
}
