//! Fuzzes `hostile::rows`: `make fuzz TARGET=rows SECONDS=600`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relive_fuzz::hostile::rows(bytes));
