//! One run that calls many traces at once: what one of them costs must not grow with how many there are.

use futures_util::future::try_join_all;
use relive::{Engine, task, trace};

use crate::meter::{ByThread, now};
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// How many times as much a trace may cost among ten times as many: what is quadratic would cost ten times as much.
const GROWTH_MAX: f64 = 3.0;

#[trace]
async fn strand(index: u32) -> relive::Result<u32> {
    Ok(index)
}

#[task(cache = "off")]
async fn braid(round: u32, strands: u32) -> relive::Result<u64> {
    let all = try_join_all((0..strands).map(strand)).await?;
    Ok(all.into_iter().map(u64::from).sum::<u64>() + u64::from(round))
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let store = open_store(&scratch.path().join("relive"))?;
    let many = setting.sizes.traces_at_once;
    let (mut few_us, mut many_us, mut growth, mut wall) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    runtime.block_on(async {
        let engine = open(Engine::builder(), &store).await?;
        for round in 0..setting.sizes.wide_rounds {
            let mut costs = [0.0; 2];
            for (cost, strands) in costs.iter_mut().zip([many / 10, many]) {
                let (before, began) = (ByThread::so_far(), now());
                engine.run(braid(round, strands)).await?;
                *cost = ByThread::so_far().since(before).relive() / f64::from(strands);
                if strands == many {
                    wall.push(began.elapsed().as_secs_f64() * 1000.0);
                }
            }
            few_us.push(costs[0]);
            many_us.push(costs[1]);
            growth.push(costs[1] / costs[0]);
        }
        close(engine, &store).await
    })?;
    Ok(vec![
        Figure::of("wide_ms", format!("one run of {many} traces at once, ms"), &wall),
        Figure::of("wide_cpu_us", "  processor time per trace, µs", &many_us),
        Figure::of("wide_tenth_cpu_us", format!("  the same with {}", many / 10), &few_us),
        Figure::of("wide_growth", "  the one / the other", &growth).bound(Bound::AtMost(GROWTH_MAX)),
    ])
}
