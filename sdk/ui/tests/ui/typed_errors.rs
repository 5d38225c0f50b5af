#![allow(unused)]

use relive::TypedError;

#[derive(TypedError)]
enum NoPlace {
    A,
}

#[derive(TypedError)]
struct NoPlaceEither;

#[derive(TypedError)]
union NoError {
    a: u8,
}

#[derive(TypedError)]
#[relive(from = by_engine)]
enum Parameters<T> {
    A(T),
}

#[derive(TypedError)]
#[relive(speed = 3, engine, name = "", from = "f", crate = "relive", terminal = true, terminal)]
enum Type {
    #[relive(engine)]
    Engine(relive::Error),
}

#[derive(TypedError)]
#[relive(terminal)]
enum Variants {
    #[relive(slow)]
    A,
    #[relive]
    B,
    #[relive(terminal)]
    C,
    #[relive(engine, terminal)]
    D(relive::Error),
    #[relive(engine)]
    E(relive::Error),
}

#[derive(TypedError)]
enum Fields {
    A(#[relive(terminal)] u8),
    #[relive(engine)]
    B(u8, relive::Error),
}

#[derive(TypedError)]
#[relive(from = by_engine)]
enum Twice {
    #[relive(engine)]
    A(relive::Error),
}

fn by_engine<T>(_: relive::Error) -> T {
    unreachable!()
}

fn main() {}
