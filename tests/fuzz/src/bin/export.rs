//! Fuzzes `hostile::export`: `make fuzz TARGET=export SECONDS=600`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { relive_fuzz::hostile::export(bytes); });
