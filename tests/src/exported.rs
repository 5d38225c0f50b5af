//! A task whose run was exported as a test: `tests/exported.rs` replays it, as `relive export --test` wrote it.

use relive::{task, trace};

#[trace(name = "exported.price")]
async fn price(item: String) -> relive::Result<u64> {
    Ok(item.len() as u64 * 100)
}

#[task(name = "exported.gift", cache = "off")]
async fn gift(item: String) -> relive::Result<u64> {
    Ok(price(item).await? + 50)
}

/// A trace after the other, two at once, and a child.
#[task(name = "exported.order", cache = "off")]
pub async fn order(items: Vec<String>) -> relive::Result<u64> {
    let at = relive::now()?;
    let (first, second) = futures::try_join!(price(items[0].clone()), price(items[1].clone()))?;
    let wrapped = gift(items[2].clone()).await?;
    Ok(first + second + wrapped + u64::from(at == std::time::SystemTime::UNIX_EPOCH))
}
