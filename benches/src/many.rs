//! Many runs under way at once, each waiting in a trace: the most memory that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use relive::{Engine, task, trace};
use tokio::sync::{Notify, Semaphore};

use crate::memory::Peak;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// Where all runs wait.
struct Gate {
    /// Runs that have not come here yet.
    missing: AtomicU32,
    all_here: Notify,
    open: Semaphore,
}

#[trace]
async fn wait_here(index: u32) -> relive::Result<u32> {
    let gate = relive::provided::<Arc<Gate>>()?;
    if gate.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
        gate.all_here.notify_one();
    }
    let _passed = gate.open.acquire().await?;
    Ok(index)
}

#[task(cache = "off")]
async fn waiter(index: u32) -> relive::Result<u32> {
    wait_here(index).await
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let count = setting.sizes.waiting_runs;
    let store = open_store(&scratch.path().join("relive"))?;
    let peak = Peak::watch()?;
    runtime.block_on(async {
        let gate = Arc::new(Gate { missing: AtomicU32::new(count), all_here: Notify::new(), open: Semaphore::new(0) });
        let engine = open(Engine::builder().provide(Arc::clone(&gate)), &store).await?;
        let mut handles = Vec::new();
        for index in 0..count {
            let engine = engine.clone();
            handles.push(tokio::spawn(async move { engine.run(waiter(index)).await }));
        }
        gate.all_here.notified().await;
        gate.open.add_permits(count as usize);
        for handle in handles {
            handle.await??;
        }
        close(engine, &store).await
    })?;
    let what = format!("{count} runs under way at once: most resident memory, MiB");
    Ok(vec![Figure::new("many_runs_peak_mib", what, peak.mib()?).bound(Bound::AtMost(300.0))])
}
