//! What a call that misses the cache costs: the difference between two runs that are alike but for the cache.
//!
//! One is looked for in it and leaves a result there, the other does neither. They take turns, call by call, and what is
//! compared is the middle of a block. Not waiting for the disk, which takes ten times as long, differs from one time to the
//! next by more than what is sought, and is the same for both: the synced difference is told beside it.

use relive::{Durability, Engine, task};

use super::{answer, checked, look_up};
use crate::meter::now;
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// The run of [`answer`], without a cache: not looked for, and its result is not kept.
#[task(cache = "off")]
async fn uncached_answer(key: u32) -> relive::Result<String> {
    look_up(key).await
}

/// Pairs of calls in a block.
const BLOCK: usize = 50;

/// Blocks that fill caches, and do not count.
const WARM_UP: usize = 1;

/// Calls that miss the cache, and the same without one, in turns.
#[derive(Default)]
struct Misses {
    missed: Samples,
    uncached: Samples,
    /// Of the middles of blocks, µs.
    added: Samples,
}

pub(super) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let buffered = misses(setting, Durability::Buffered)?;
    let synced = misses(setting, Durability::Sync)?;
    let what = "cache miss: what it adds to the same run without a cache, no disk waited for, µs";
    Ok(vec![
        Figure::of("cache_miss_us", what, &buffered.added).bound(Bound::AtMost(10.0)),
        Figure::of("cache_missed_run_buffered_us", "  the run: one trace, start to end, µs", &buffered.missed),
        Figure::of("cache_miss_synced_us", "  what it adds where the disk is waited for, µs", &synced.added),
        Figure::of("cache_missed_run_us", "  the run then: one trace, start to durable end, µs", &synced.missed),
        Figure::of("uncached_run_us", "  the same run without a cache, µs", &synced.uncached),
    ])
}

fn misses(setting: &Setting, durability: Durability) -> Result<Misses, Failure> {
    let scratch = setting.scratch()?;
    setting.runtime()?.block_on(async {
        let store = open_store(&scratch.path().join("relive"))?;
        let engine = open(Engine::builder().durability(durability), &store).await?;
        let misses = Misses::measure(&engine, setting.sizes.cache_misses).await?;
        close(engine, &store).await?;
        Ok(misses)
    })
}

impl Misses {
    async fn measure(engine: &Engine, count: u32) -> Result<Self, Failure> {
        let mut all = Self::default();
        let keys: Vec<u32> = (0..count).collect();
        for (number, block) in keys.chunks(BLOCK).enumerate() {
            let (mut missed, mut uncached) = (Samples::default(), Samples::default());
            for key in block {
                // Who comes first takes turns, too.
                for is_cached in [key % 2 == 0, key % 2 != 0] {
                    let samples = if is_cached { &mut missed } else { &mut uncached };
                    let began = now();
                    let value = match is_cached {
                        true => engine.run(answer(*key)).await?,
                        false => engine.run(uncached_answer(*key)).await?,
                    };
                    samples.push(began.elapsed().as_secs_f64() * 1e6);
                    checked(*key, &value)?;
                }
            }
            if number >= WARM_UP {
                all.added.push(missed.median() - uncached.median());
                all.missed.extend(missed);
                all.uncached.extend(uncached);
            }
        }
        Ok(all)
    }
}
