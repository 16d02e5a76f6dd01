//! Recipes, expanded on a small autoencoder without a model.

use saescope_kernels::{Gate, Matrix};

use super::*;
use crate::edit::Span;
use crate::sae::{InputNorm, Record, Weights};

fn sae() -> Sae {
    let weights = Weights {
        w_enc: Matrix::from_fn(12, 4, |row, col| (row * 4 + col) as f32 / 48.0),
        b_enc: vec![0.0; 12],
        gate: Gate::TopK(2),
        w_dec: Matrix::from_fn(12, 4, |row, col| (row + col) as f32),
        b_dec: vec![0.0; 4],
        subtract_b_dec: false,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    };
    let record = Record {
        site: Some(Site::ResidPost(1)),
        ..Record::default()
    };
    Sae::new(weights, record).unwrap()
}

fn recipe(features: &[&str]) -> SteeringRecipe {
    SteeringRecipe {
        sae: Some("tiny".to_owned()),
        features: features.iter().map(|f| f.parse().unwrap()).collect(),
        scales: vec![2.0],
        ..SteeringRecipe::default()
    }
}

fn settings(recipe: &SteeringRecipe) -> Result<Vec<Setting>> {
    recipe.settings(Some(&sae()), &ReferenceActivations::default(), 3)
}

fn scale(edit: &Edit) -> f32 {
    match &edit.op {
        Op::Direction(DirectionOp::Add { scale, .. }) => *scale,
        other => panic!("{other:?}"),
    }
}

fn largest(feature: u32, activation: f32) -> LargestActivation {
    LargestActivation {
        feature,
        activation,
        token: "a".to_owned(),
        text: "texts".to_owned(),
    }
}

#[test]
fn a_recipe_expands_to_one_setting_per_subset_slot_and_scale() {
    let recipe = SteeringRecipe {
        scales: vec![1.0, 4.0],
        combinations: true,
        slot: Slot::Actual,
        reference_prompt: Some("a".to_owned()),
        ..recipe(&["7=0.5", "3"])
    };
    let activations = ReferenceActivations {
        prompt: vec![largest(7, 10.0), largest(3, 0.0)],
        ..ReferenceActivations::default()
    };
    let settings = recipe.settings(Some(&sae()), &activations, 3).unwrap();
    let names: Vec<_> = settings
        .iter()
        .map(|s| (s.name.features.clone(), s.name.slot, s.name.scale))
        .collect();
    let mut expected = Vec::new();
    for features in [vec![7], vec![3], vec![7, 3]] {
        for slot in [Slot::One, Slot::Actual] {
            expected.extend([1.0, 4.0].map(|scale| (features.clone(), slot, Some(scale))));
        }
    }
    assert_eq!(names, expected);
    let last = &settings[11];
    // Scale, weight and activation multiply each other.
    assert_eq!(
        last.edits.iter().map(scale).collect::<Vec<_>>(),
        [20.0, 0.0]
    );
}

#[test]
fn a_recipe_omits_the_first_position_unless_its_span_says_otherwise() {
    let direction = Direction {
        site: Site::Embed,
        direction: vec![1.0; 4],
        label: None,
    };
    let first = Edit::new(
        Site::Embed,
        DirectionOp::Ablate {
            direction: vec![1.0; 4],
        },
    );
    let mut recipe = SteeringRecipe {
        directions: vec![direction],
        edits: vec![first],
        ..recipe(&["7"])
    };
    let spans = |recipe: &SteeringRecipe| {
        let settings = settings(recipe).unwrap();
        settings[0]
            .edits
            .iter()
            .map(|edit| edit.span.clone())
            .collect::<Vec<_>>()
    };
    // Edits of a document keep their own.
    assert_eq!(spans(&recipe), [Span::All, Span::From(1), Span::From(1)]);
    recipe.span = "all".parse().unwrap();
    assert_eq!(spans(&recipe), [Span::All, Span::All, Span::All]);
    recipe.span = "generated".parse().unwrap();
    assert_eq!(spans(&recipe), [Span::All, Span::From(3), Span::From(3)]);
}

#[test]
fn a_feature_is_set_to_an_activation_and_ablated_without_a_scale() {
    let change = |change, scales: &[f32]| {
        let recipe = SteeringRecipe {
            change,
            scales: scales.to_vec(),
            ..recipe(&["7"])
        };
        let settings = settings(&recipe).unwrap();
        (settings[0].name.unit, settings[0].edits[0].op.clone())
    };
    let set = |activation| Op::Feature {
        sae: "tiny".to_owned(),
        feature: 7,
        op: FeatureOp::Set(activation),
    };
    assert_eq!(
        change(FeatureSteering::Set, &[3.0]),
        (ScaleUnit::Activation, set(3.0))
    );
    assert_eq!(
        change(FeatureSteering::Ablate, &[]),
        (ScaleUnit::Raw, set(0.0))
    );
}

#[test]
fn a_multiple_of_the_largest_activation_needs_one() {
    let recipe = SteeringRecipe {
        unit: Some(ScaleUnit::Max),
        ..recipe(&["7"])
    };
    let with = |texts| {
        let activations = ReferenceActivations {
            texts,
            ..ReferenceActivations::default()
        };
        recipe.settings(Some(&sae()), &activations, 3)
    };
    let found = with(vec![largest(7, 1.5)]).unwrap();
    assert_eq!(scale(&found[0].edits[0]), 3.0);
    for texts in [Vec::new(), vec![largest(7, 0.0)]] {
        let refused = with(texts);
        assert!(matches!(refused, Err(Error::Argument(_))), "{refused:?}");
    }
}

#[test]
fn a_recipe_that_contradicts_itself_is_refused() {
    let refused = [
        recipe(&["7", "7=2"]),
        SteeringRecipe {
            scales: vec![1.0, 2.0, 1.0],
            ..recipe(&["7"])
        },
        SteeringRecipe {
            sae: None,
            ..recipe(&["7"])
        },
        SteeringRecipe {
            combinations: true,
            ..recipe(&["1", "2", "3", "4", "5", "6", "7"])
        },
        SteeringRecipe {
            change: FeatureSteering::Set,
            unit: Some(ScaleUnit::Norm),
            ..recipe(&["7"])
        },
        SteeringRecipe {
            change: FeatureSteering::Ablate,
            ..recipe(&["7=2"])
        },
        SteeringRecipe {
            slot: Slot::Actual,
            ..recipe(&["7"])
        },
    ];
    for recipe in refused {
        let found = settings(&recipe);
        assert!(
            matches!(found, Err(Error::Argument(_))),
            "{recipe:?}: {found:?}"
        );
    }
    let found = settings(&recipe(&["99"]));
    assert!(
        matches!(found, Err(Error::NoFeature { feature: 99, .. })),
        "{found:?}"
    );
    let direction = Direction {
        site: Site::Embed,
        direction: vec![1.0; 4],
        label: None,
    };
    for unit in ScaleUnit::ALL {
        let recipe = SteeringRecipe {
            directions: vec![direction.clone()],
            unit: Some(unit),
            ..SteeringRecipe::default()
        };
        let expected = matches!(unit, ScaleUnit::Raw | ScaleUnit::Norm);
        assert_eq!(
            recipe
                .settings(None, &ReferenceActivations::default(), 3)
                .is_ok(),
            expected
        );
    }
}

#[test]
fn a_recipe_survives_json_and_unknown_fields_do_not() {
    let text = r#"{"sae":"demo","features":[{"feature":3},{"feature":5,"weight":-1}],"scales":[1,2],
        "unit":"activation","span":"generated","combinations":true}"#;
    let recipe: SteeringRecipe = serde_json::from_str(text).unwrap();
    assert_eq!(recipe.features[0].weight, 1.0);
    assert_eq!(recipe.span, RelativeSpan::Generated);
    let again = serde_json::to_string(&recipe).unwrap();
    assert_eq!(
        serde_json::from_str::<SteeringRecipe>(&again).unwrap(),
        recipe
    );
    for (known, unknown) in [
        ("scales", "scale"),
        ("weight", "w"),
        ("activation\"", "std\""),
    ] {
        let changed = text.replace(known, unknown);
        assert!(
            serde_json::from_str::<SteeringRecipe>(&changed).is_err(),
            "{changed}"
        );
    }
}

#[test]
fn units_and_slots_are_parsed_by_their_names() {
    for unit in ScaleUnit::ALL {
        assert_eq!(unit.to_string().parse::<ScaleUnit>().unwrap(), unit);
    }
    for slot in [Slot::One, Slot::Actual] {
        assert_eq!(slot.to_string().parse::<Slot>().unwrap(), slot);
    }
    for text in ["7=x", "x", "7=inf", "-1", ""] {
        assert!(text.parse::<WeightedFeature>().is_err(), "{text}");
    }
}
