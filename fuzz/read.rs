//! Readers that several targets share.

use std::path::Path;

use saescope::Matrix;
use saescope::checkpoint::Checkpoint;
use saescope::sae::Sae;

/// Opens `bytes` as a file called `name` and reads all of it.
pub fn read_all(name: &str, bytes: Vec<u8>) {
    // A compressed archive of numpy may hold more than it has bytes, within a bound.
    let len = if bytes.starts_with(b"PK") {
        (16 << 20) + 40 * bytes.len() as u64
    } else {
        bytes.len() as u64
    };
    let checkpoint = match Checkpoint::from_bytes(Path::new(name), bytes) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            assert!(error.to_string().starts_with(name), "{error}");
            return;
        }
    };
    // Views may share their storage, but no tensor is larger than the file.
    for tensor in checkpoint.tensors() {
        assert!(tensor.bytes().is_none_or(|bytes| bytes.len() as u64 <= len));
        if tensor.len() <= 1 << 16 {
            let values = tensor
                .to_vec()
                .expect("a tensor that was opened can be read");
            let _ = tensor.check_finite(&values, 0);
            let _ = tensor.to_i64();
        }
    }
}

/// Opens `bytes` as an autoencoder and, if it is one, encodes a token.
pub fn read_sae(bytes: &[u8]) {
    let [kind, low, high, rest @ ..] = bytes else {
        return;
    };
    let names = ["x.safetensors", "x.pt", "x.npz"];
    let name = names[usize::from(*kind) % names.len()];
    let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (config, weights) = rest.split_at(len);
    let config = (!config.is_empty()).then_some(config);
    match Sae::from_bytes(Path::new(name), weights.to_vec(), config) {
        Err(error) => assert!(error.to_string().starts_with(name), "{error}"),
        Ok(sae) => {
            let token = Matrix::zeros(1, sae.d_in());
            let encoded = sae.encode(&token).expect("zeros can be encoded");
            assert_eq!(sae.decode(&encoded).cols(), sae.d_out());
        }
    }
}
