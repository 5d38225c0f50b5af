//! Fuzzes `hostile::payload`: `make fuzz TARGET=payload SECONDS=600`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relive_fuzz::hostile::payload(bytes));
