//! Fuzzes `hostile::id`: `make fuzz TARGET=id SECONDS=600`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relive_fuzz::hostile::id(bytes));
