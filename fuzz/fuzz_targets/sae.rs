//! An autoencoder: one byte for the kind of its file, two for the length of its configuration, the
//! configuration, the weights.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| saescope_fuzz::read_sae(bytes));
