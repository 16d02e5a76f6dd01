#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| saescope_fuzz::read_all("x.npz", bytes.to_vec()));
