//! Fuzzes `hostile::record`: `make fuzz TARGET=record SECONDS=600`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relive_fuzz::hostile::record(bytes));
