//! Fuzzes `hostile::engine`: `make fuzz TARGET=engine SECONDS=600`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relive_fuzz::hostile::engine(bytes));
