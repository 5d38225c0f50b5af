use relive::testing::{any, determinism};

use crate::{faults, sound};

#[test]
fn smoke() {
    let started = std::time::Instant::now();
    let report = determinism(sound::asks_for_the_time).inputs(any::<String>()).cases(1000).check();
    println!("{report:?} {:?}", started.elapsed());
}

macro_rules! found {
    ($($name:ident $strategy:expr;)*) => {$(
        #[test]
        fn $name() {
            let started = std::time::Instant::now();
            let failure = determinism(faults::$name)
                .inputs($strategy)
                .watching(|| faults::ROWS.lock().unwrap().len())
                .keeping(false)
                .cases(1000)
                .find();
            println!("{:?} {failure:?}", started.elapsed());
            failure.unwrap_err();
        }
    )*};
}

found! {
    reads_the_clock any::<String>();
    draws_lots any::<String>();
    walks_a_map any::<Vec<String>>();
    sleeps_by_itself any::<String>();
    spawns_a_task any::<String>();
    counts_its_calls any::<String>();
    asks_the_environment any::<String>();
    writes_by_itself any::<String>();
    hears_a_thread any::<String>();
    tells_an_address any::<String>();
    passes_a_set_on any::<Vec<String>>();
    takes_either any::<String>();
}
