//! The logit lens reads the predictions of the model itself.

use std::path::Path;

use saescope::lens::LensRow;
use saescope::model::Model;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use saescope::{Error, Result, lens};

use crate::tiny;

const PROMPT: [u32; 6] = [3, 1, 4, 1, 5, 9];

/// The lens on [`PROMPT`], whose tokens any tokenizer may name.
fn lens(model: &Model, sites: &[Site], top: usize) -> Result<Vec<LensRow>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/stories260K");
    let tokenizer = Tokenizer::of_model(&folder).unwrap();
    lens::lens(model, &tokenizer, &PROMPT, sites, top, &mut ())
}

#[test]
fn after_the_last_layer_the_lens_is_the_model() {
    for model in tiny::models() {
        let logits = model.logits(&[&PROMPT], &mut ()).unwrap();
        let rows = lens(&model, &[Site::ResidPost(1)], 50).unwrap();
        assert_eq!(rows[0].positions.len(), PROMPT.len());
        for (position, predictions) in rows[0].positions.iter().enumerate() {
            let exp = |token: u32| f64::from(logits.row(position)[token as usize]).exp();
            let sum: f64 = (0..50).map(exp).sum();
            for prediction in predictions {
                let expected = exp(prediction.token) / sum;
                assert!((f64::from(prediction.probability) - expected).abs() < 1e-6);
            }
            assert!(predictions.is_sorted_by(|a, b| a.probability >= b.probability));
        }
    }
}

#[test]
fn before_the_last_layer_the_lens_differs_from_the_model() {
    for model in tiny::models() {
        let rows = lens(&model, &[Site::ResidPost(0), Site::ResidPost(1)], 1).unwrap();
        assert_eq!(rows[0].site, Site::ResidPost(0));
        assert_ne!(rows[0].positions, rows[1].positions);
    }
}

#[test]
fn a_site_that_is_missing_or_outside_the_residual_stream_is_refused() {
    let missing = lens(&tiny::parallel(), &[Site::ResidMid(0)], 1);
    assert!(matches!(missing, Err(Error::Site { .. })));
    let [model, _] = tiny::models();
    let wide = lens(&model, &[Site::MlpAct(0)], 1);
    assert!(matches!(wide, Err(Error::Shape { .. })));
}
