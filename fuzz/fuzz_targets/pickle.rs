//! The rest of a file of `torch.save` before PyTorch 1.6, from the pickle of its object on. The target adds
//! the fixed start, so that no time is spent on finding it.
#![no_main]

const START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\
\x80\x02M\xe9\x03.\
\x80\x02}U\x0dlittle_endian\x88s.";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    saescope_fuzz::read_all("x.pt", [START, bytes].concat());
});
