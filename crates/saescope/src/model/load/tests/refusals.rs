use super::*;
use crate::error::Error;

/// Loads the llama case after a change of its configuration and tensors.
fn changed(change: impl FnOnce(&mut Value, &mut Vec<Named>)) -> Result<(), Error> {
    let folder = golden("llama");
    let (mut config, mut tensors) = (config(&folder), tensors(&folder));
    change(&mut config, &mut tensors);
    let folder = write(&config, &tensors);
    load(folder.path(), Precision::F32).map(|_| ())
}

fn tensor<'a>(tensors: &'a mut [Named], name: &str) -> &'a mut Named {
    tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap()
}

const DOWN: &str = "model.layers.1.mlp.down_proj.weight";

#[test]
fn the_unchanged_case_loads() {
    changed(|_, _| ()).unwrap();
}

#[test]
fn a_missing_tensor_is_named() {
    for name in [
        DOWN,
        "model.norm.weight",
        "model.embed_tokens.weight",
        "lm_head.weight",
    ] {
        match changed(|_, tensors| tensors.retain(|tensor| tensor.0 != name)) {
            Err(Error::MissingTensor { tensor, .. }) => assert_eq!(tensor, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_wrong_shape_says_what_was_expected_and_found() {
    let swap = |name: &'static str| changed(move |_, tensors| tensor(tensors, name).1.reverse());
    let cases = [
        (DOWN, "[16, 24]", "[24, 16]"),
        ("model.embed_tokens.weight", "[64, 16]", "[16, 64]"),
    ];
    for (name, expected, found) in cases {
        match swap(name) {
            Err(Error::Tensor { tensor, reason, .. }) => {
                assert_eq!(tensor, name);
                assert!(
                    reason.contains(expected) && reason.contains(found),
                    "{reason}"
                );
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_value_that_is_not_finite_is_named_with_its_index() {
    for (name, at) in [(DOWN, 201), ("model.norm.weight", 3), ("lm_head.weight", 0)] {
        match changed(|_, tensors| tensor(tensors, name).2[at] = f32::NAN) {
            Err(Error::NotFinite { tensor, index, .. }) => {
                assert_eq!((&*tensor, index), (name, at))
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_tensor_that_the_configuration_excludes_is_refused() {
    let bias = "model.layers.0.self_attn.q_proj.bias";
    match changed(|_, tensors| tensors.push((bias.to_owned(), vec![16], vec![0.5; 16]))) {
        Err(Error::Tensor { tensor, .. }) => assert_eq!(tensor, bias),
        other => panic!("{other:?}"),
    }
    let refused = changed(|config, _| config["num_hidden_layers"] = json!(1));
    assert!(matches!(refused, Err(Error::Tensor { .. })), "{refused:?}");
}

#[test]
fn rows_past_the_vocabulary_are_padding() {
    let (config, mut tensors) = (config(&golden("qwen2")), tensors(&golden("qwen2")));
    let embed = tensor(&mut tensors, "model.embed_tokens.weight");
    embed.1[0] += 3;
    embed.2.extend([0.0; 3 * 16]);
    let padded = write(&config, &tensors);
    assert_same(&loaded(padded.path()), &loaded(&golden("qwen2")));
}

#[test]
fn a_tied_unembedding_stored_twice_is_one_unless_it_differs() {
    let (config, mut tensors) = (config(&golden("qwen2")), tensors(&golden("qwen2")));
    let embed = tensor(&mut tensors, "model.embed_tokens.weight").clone();
    tensors.push(("lm_head.weight".to_owned(), embed.1, embed.2));
    let tied = |tensors: &[Named]| {
        load(write(&config, tensors).path(), Precision::F32)
            .unwrap()
            .2
            .tied
    };
    assert!(tied(&tensors));
    tensor(&mut tensors, "lm_head.weight").2[5] += 1.0;
    assert!(!tied(&tensors));
}

#[test]
fn the_licence_is_that_of_the_model_card() {
    let folder = write(&config(&golden("llama")), &tensors(&golden("llama")));
    let licence = |card: &str| {
        std::fs::write(folder.path().join("README.md"), card).unwrap();
        load(folder.path(), Precision::F32).unwrap().2.licence
    };
    let card = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n";
    assert_eq!(licence(card).as_deref(), Some("apache-2.0"));
    assert_eq!(licence("# A model\nlicense: none of this\n"), None);
}
