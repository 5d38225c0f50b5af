//! The attributes work on a function that another macro writes.
#![deny(warnings)]

use relive::{task, trace};

macro_rules! functions {
    ($trace:ident, $task:ident, $argument:ty, $result:ty, $body:expr) => {
        #[trace]
        async fn $trace(argument: $argument) -> $result {
            Ok($body + argument.len())
        }

        #[task]
        async fn $task(argument: $argument) -> $result {
            $trace(argument).await
        }
    };
}

functions!(traced, run, &str, relive::Result<usize>, 1 + 1);

fn main() {
    drop(run("a"));
}
