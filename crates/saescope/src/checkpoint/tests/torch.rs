use super::*;
use crate::checkpoint::Dtype;
use crate::checkpoint::torch::{ONLY_TENSOR, Value};

#[test]
fn tensors_of_every_kind_and_stride_are_those_that_torch_sees() {
    let expected = open("torch/expected.safetensors");
    for name in ["torch/state.pt", "torch/state_old.pt"] {
        let found = open(name);
        assert_same(&found, &expected);
        assert_eq!(found.names().count(), expected.names().count());
        assert_eq!(found.tensor("kinds.bfloat16").unwrap().dtype(), Dtype::Bf16);
        // Read in parts, a tensor whose elements do not lie in order is the same.
        let permuted = found.tensor("inner.permuted").unwrap();
        assert_eq!((permuted.shape(), permuted.bytes()), (&[5, 2, 3][..], None));
        let whole = permuted.to_vec().unwrap();
        let mut part = [0.0; 11];
        permuted.read(7..18, &mut part).unwrap();
        assert_eq!(part, whole[7..18]);
    }
}

#[test]
fn plain_values_stand_beside_the_tensors() {
    for name in ["torch/state.pt", "torch/state_old.pt"] {
        let checkpoint = open(name);
        let value = checkpoint.torch().unwrap();
        let get = |key| value.get(key).unwrap();
        assert_eq!(get("activation").as_str(), Some("TopK"));
        assert_eq!(get("text").as_str(), Some("한국어"));
        assert_eq!(get("big").as_i64(), Some(1 << 40));
        assert_eq!(get("negative").as_i64(), Some(-5));
        assert_eq!(get("ratio").as_f64(), Some(0.25));
        assert_eq!(get("yes").as_bool(), Some(true));
        let sizes = [2, 3, 5].map(Value::Int).to_vec();
        assert_eq!(get("size"), &Value::Tuple(sizes));
        let row = get("inner").get("row").unwrap();
        assert_eq!(row, &Value::Tensor("inner.row".to_owned()));
        let Value::List(list) = get("list") else {
            panic!("not a list");
        };
        let inner = vec![Value::Tensor("list.1.0".to_owned()), Value::None];
        assert_eq!(list[1], Value::Tuple(inner));
        assert!(value.get("missing").is_none());
    }
}

#[test]
fn an_autoencoder_file_gives_its_activation_and_exact_counts() {
    let checkpoint = open("torch/sae.pt");
    let value = checkpoint.torch().unwrap();
    let state = value.get("activation_state_dict").unwrap();
    assert_eq!(state.get("k").and_then(Value::as_i64), Some(2));
    let decoder = checkpoint.tensor("decoder.weight").unwrap();
    assert_eq!(decoder.shape(), [4, 8]);
    let counts = checkpoint.tensor("stats_last_nonzero").unwrap();
    assert_eq!(counts.to_i64().unwrap()[7], 7 << 33);
    assert!(decoder.to_i64().is_err());
}

#[test]
fn a_file_of_one_tensor_and_the_files_of_a_model_are_read() {
    let only = open("torch/only.pt");
    assert_eq!(values(&only, ONLY_TENSOR), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    for name in [
        "models/gpt2_bin",
        "models/gpt2_bin_legacy/pytorch_model.bin",
    ] {
        let model = open(name);
        assert_eq!(
            model.tensor("transformer.wte.weight").unwrap().shape(),
            [64, 16]
        );
        for tensor in model.tensors() {
            tensor.check_finite(&tensor.to_vec().unwrap(), 0).unwrap();
        }
    }
}

#[test]
fn pickles_that_call_functions_are_refused_by_the_function() {
    for (name, function) in [
        ("torch/hostile.pt", "posix.system"),
        ("torch/hostile_old.pt", "posix.system"),
        ("torch/hostile_bare.pkl", "posix.system"),
        ("torch/module.pt", "torch.nn.modules.linear.Linear"),
    ] {
        match refusal(name, &golden_bytes(name)) {
            Error::Pickle { global, .. } => assert_eq!(global, function),
            other => panic!("{other}"),
        }
    }
    for (pickle, function) in [
        (&b"cos\nsystem\n(S'ls'\ntR."[..], "os.system"),
        (
            b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
            "builtins.eval",
        ),
    ] {
        match refusal("pytorch_model.bin", pickle) {
            Error::Pickle { global, .. } => assert_eq!(global, function),
            other => panic!("{other}"),
        }
    }
}
