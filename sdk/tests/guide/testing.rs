//! The chapter on testing tasks: with the feature `testing`, as a workspace's tests have it.

#![cfg(feature = "testing")]

use relive::{task, trace};

#[trace(name = "tested-fetch")]
async fn fetch(url: String) -> relive::Result<String> {
    Err(relive::Error::msg(format!("{url}: tests have no network")))
}

#[task(name = "tested-digest")]
async fn digest(urls: Vec<String>) -> relive::Result<usize> {
    let pages = futures::future::join_all(urls.into_iter().map(fetch)).await;
    Ok(pages.iter().flatten().map(String::len).sum())
}

fn page_of(url: &str) -> String {
    format!("the page of {url}")
}

mod shown {
    use super::{digest, fetch, page_of};

    use relive::testing::{any, determinism};

    #[test]
    fn digest_is_deterministic() {
        determinism(digest)
            .inputs(any::<Vec<String>>())
            .stub(fetch, |url| Ok(page_of(&url)))
            .failing(fetch, 0.2)
            .cases(100)
            .check();
    }
}
