use relive::{task, trace};

#[task(allow(clocks))]
async fn unknown() -> relive::Result<()> {
    Ok(())
}

#[task(allow = clock)]
async fn no_list() -> relive::Result<()> {
    Ok(())
}

#[trace(allow(clock))]
async fn effects_may_do_all() -> relive::Result<()> {
    Ok(())
}

#[task(retrys = 3)]
async fn misspelt() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 3, backof = "1s")]
async fn misspelt_too() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 3, backoff(frist = "1s"))]
async fn part() -> relive::Result<()> {
    Ok(())
}

fn main() {}
