//! The logit lens reads what the model itself would say.

use saescope::Error;
use saescope::lens::lens;
use saescope::site::Site;

use crate::tiny;

const PROMPT: [u32; 6] = [3, 1, 4, 1, 5, 9];

#[test]
fn behind_the_last_layer_it_is_the_model() {
    for model in tiny::models() {
        let logits = model.logits(&[&PROMPT], &mut ()).unwrap();
        let rows = lens(&model, &PROMPT, &[Site::ResidPost(1)], 50, &mut ()).unwrap();
        assert_eq!(rows[0].positions.len(), PROMPT.len());
        for (position, guesses) in rows[0].positions.iter().enumerate() {
            let exp = |token: u32| f64::from(logits.row(position)[token as usize]).exp();
            let sum: f64 = (0..50).map(exp).sum();
            for guess in guesses {
                let expected = exp(guess.token) / sum;
                assert!((f64::from(guess.probability) - expected).abs() < 1e-6);
            }
            assert!(guesses.is_sorted_by(|a, b| a.probability >= b.probability));
        }
    }
}

#[test]
fn before_the_last_layer_it_is_something_else() {
    for model in tiny::models() {
        let sites = [Site::ResidPost(0), Site::ResidPost(1)];
        let rows = lens(&model, &PROMPT, &sites, 1, &mut ()).unwrap();
        assert_eq!(rows[0].site, Site::ResidPost(0));
        assert_ne!(rows[0].positions, rows[1].positions);
    }
}

#[test]
fn a_site_that_is_missing_or_no_residual_stream_is_refused() {
    let missing = lens(&tiny::parallel(), &PROMPT, &[Site::ResidMid(0)], 1, &mut ());
    assert!(matches!(missing, Err(Error::Site { .. })));
    let [model, _] = tiny::models();
    let wide = lens(&model, &PROMPT, &[Site::MlpAct(0)], 1, &mut ());
    assert!(matches!(wide, Err(Error::Shape { .. })));
}
