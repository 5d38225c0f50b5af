#![allow(unused)]

use relive::TypedError;

// No `Serialize`, no `Deserialize`, no `std::error::Error`.
#[derive(Debug, TypedError)]
enum Refused {
    #[relive(engine)]
    Engine(relive::Error),
}

fn main() {}
