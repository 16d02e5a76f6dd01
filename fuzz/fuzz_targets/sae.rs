//! An autoencoder: one byte says whose file it is, two how long its configuration is, which follows,
//! and the weights come last.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| saescope_fuzz::read_sae(bytes));
