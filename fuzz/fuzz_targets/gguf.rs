#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| saescope_fuzz::read_all("x.gguf", bytes.to_vec()));
