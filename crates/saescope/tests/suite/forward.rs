//! Identities that a plausible but wrong forward pass would break.

use saescope::edit::{DirectionOp, Edit, Span, Unit};
use saescope::hook::{Capture, Hook, Rows};
use saescope::model::{Cache, Model};
use saescope::site::Site;
use saescope::steer::Steer;
use saescope::{Error, Matrix, Result};

use crate::tiny;

const TOKENS: [u32; 20] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4];

fn sum(a: &Matrix, b: &Matrix) -> Matrix {
    let mut sum = a.clone();
    sum.add(b);
    sum
}

/// Replaces the activation at one site.
struct Replace {
    site: Site,
    with: Option<Matrix>,
}

impl Hook for Replace {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }

    fn at(&mut self, _: Site, _: &Rows, x: Matrix) -> Result<Matrix> {
        Ok(self.with.take().unwrap_or(x))
    }
}

#[test]
fn the_outputs_of_attention_and_mlp_add_up_to_the_residual() {
    for model in tiny::models() {
        let mut capture = Capture::new(model.sites());
        model.logits(&[&TOKENS], &mut capture).unwrap();
        for layer in 0..model.config().n_layers() {
            let mut take = |site: fn(usize) -> Site| capture.take(site(layer)).unwrap();
            let (pre, attn) = (take(Site::ResidPre), take(Site::AttnOut));
            let (mlp, post) = (take(Site::MlpOut), take(Site::ResidPost));
            assert_eq!(sum(&mlp, &sum(&attn, &pre)), post);
        }
    }
}

#[test]
fn reading_changes_no_bit_at_any_site() {
    for model in tiny::models() {
        let plain = model.logits(&[&TOKENS], &mut ()).unwrap();
        for site in model.sites() {
            let mut capture = Capture::new([site]);
            let seen = model.logits(&[&TOKENS], &mut capture).unwrap();
            assert_eq!(seen, plain, "{site}");
            let mut replace = Replace {
                site,
                with: Some(capture.take(site).unwrap()),
            };
            assert_eq!(
                model.logits(&[&TOKENS], &mut replace).unwrap(),
                plain,
                "{site}"
            );
        }
    }
}

#[test]
fn a_change_at_any_site_reaches_the_logits() {
    for model in tiny::models() {
        let plain = model.logits(&[&TOKENS], &mut ()).unwrap();
        for site in model.sites() {
            let mut capture = Capture::new([site]);
            model.run(&[&TOKENS], &mut capture).unwrap();
            let mut changed = capture.take(site).unwrap();
            changed.scale(1.5);
            // The first block's pattern rows sum to one; scaling them still changes what is read.
            let mut replace = Replace {
                site,
                with: Some(changed),
            };
            assert_ne!(
                model.logits(&[&TOKENS], &mut replace).unwrap(),
                plain,
                "{site}"
            );
        }
    }
}

#[test]
fn a_pass_stops_at_the_last_site_wanted() {
    /// Wants one site, and lists the sites that it is given.
    struct Until(Site, Vec<Site>);
    impl Hook for Until {
        fn wants(&self, site: Site) -> bool {
            site == self.0
        }
        fn at(&mut self, site: Site, _: &Rows, x: Matrix) -> Result<Matrix> {
            self.1.push(site);
            Ok(x)
        }
    }
    for model in tiny::models() {
        for site in model.sites() {
            let mut until = Until(site, Vec::new());
            model.run(&[&TOKENS], &mut until).unwrap();
            assert_eq!(until.1, [site]);
        }
    }
}

#[test]
fn a_pass_begins_at_the_last_place_before_the_wanted_sites() {
    let [_, sequential] = tiny::models();
    let restart = |model: &Model, sites: &[Site]| model.restart(&Capture::new(sites.to_vec()));
    let [pre, mid, post] = [Site::ResidPre, Site::ResidMid, Site::ResidPost].map(|site| site(1));
    for (wanted, expected) in [
        (vec![], None),
        (vec![Site::Embed, post], None),
        (vec![Site::ResidPre(0)], Some(Site::ResidPre(0))),
        (vec![Site::AttnZ(1), post], Some(pre)),
        (vec![mid], Some(mid)),
        (vec![Site::MlpOut(1)], Some(mid)),
        (vec![Site::FinalNorm], Some(post)),
    ] {
        assert_eq!(restart(&sequential, &wanted), expected, "{wanted:?}");
    }
    assert_eq!(restart(&tiny::parallel(), &[Site::MlpOut(1)]), Some(pre));
}

#[test]
fn a_pass_begins_in_the_residual_stream_with_as_many_rows_as_tokens() {
    let model = tiny::parallel();
    let from = |site, rows, cols| {
        model.run_from(
            site,
            Matrix::zeros(rows, cols),
            &[&[1, 2], &[3]],
            &mut Capture::new([Site::FinalNorm]),
        )
    };
    from(Site::ResidPost(1), 3, 16).unwrap();
    for site in [
        Site::Embed,
        Site::MlpOut(0),
        Site::ResidMid(0),
        Site::ResidPre(2),
    ] {
        assert!(
            matches!(from(site, 3, 16), Err(Error::Site { .. })),
            "{site}"
        );
    }
    for (rows, cols) in [(2, 16), (3, 15)] {
        let found = from(Site::ResidPre(1), rows, cols);
        assert!(matches!(found, Err(Error::Shape { .. })));
    }
}

#[test]
fn the_logit_lens_at_the_last_layer_is_the_model() {
    for model in tiny::models() {
        let last = Site::ResidPost(model.config().n_layers() - 1);
        let mut capture = Capture::new([last]);
        let logits = model.logits(&[&TOKENS], &mut capture).unwrap();
        assert_eq!(model.unembed(&capture.take(last).unwrap()), logits);
    }
}

#[test]
fn steering_by_zero_changes_nothing_and_steering_equals_addition_by_hand() {
    for model in tiny::models() {
        let plain = model.logits(&[&TOKENS], &mut ()).unwrap();
        let direction: Vec<f32> = (0..model.config().d_model)
            .map(|i| i as f32 * 0.1)
            .collect();
        let steer = |scale: f32| {
            let op = DirectionOp::Add {
                direction: direction.clone(),
                scale,
                unit: Unit::Raw,
            };
            let edit = Edit {
                span: Span::From(4),
                ..Edit::new(Site::ResidPost(0), op)
            };
            Steer::new(&[edit], &[]).unwrap()
        };
        assert_eq!(model.logits(&[&TOKENS], &mut steer(0.0)).unwrap(), plain);

        let mut capture = Capture::new([Site::ResidPost(0)]);
        model.run(&[&TOKENS], &mut capture).unwrap();
        let mut by_hand = capture.take(Site::ResidPost(0)).unwrap();
        for row in 4..TOKENS.len() {
            for (x, d) in by_hand.row_mut(row).iter_mut().zip(&direction) {
                *x += 2.0 * d;
            }
        }
        let mut replace = Replace {
            site: Site::ResidPost(0),
            with: Some(by_hand),
        };
        let expected = model.logits(&[&TOKENS], &mut replace).unwrap();
        assert_eq!(model.logits(&[&TOKENS], &mut steer(2.0)).unwrap(), expected);
        assert_ne!(expected, plain);
    }
}

#[test]
fn hooks_act_from_left_to_right() {
    let model = &tiny::models()[0];
    let op = DirectionOp::Add {
        direction: vec![1.0; model.config().d_model],
        scale: 1.0,
        unit: Unit::Raw,
    };
    let steer = || Steer::new(&[Edit::new(Site::ResidPost(0), op.clone())], &[]).unwrap();
    let mut after = (steer(), Capture::new([Site::ResidPost(0)]));
    model.run(&[&TOKENS], &mut after).unwrap();
    let mut before = (Capture::new([Site::ResidPost(0)]), steer());
    model.run(&[&TOKENS], &mut before).unwrap();
    let steered = after.1.take(Site::ResidPost(0)).unwrap();
    let plain = before.0.take(Site::ResidPost(0)).unwrap();
    assert_eq!(steered.row(3)[0], plain.row(3)[0] + 1.0);
}

#[test]
fn a_hook_may_not_change_the_shape() {
    struct Shrink;
    impl Hook for Shrink {
        fn wants(&self, site: Site) -> bool {
            site == Site::MlpAct(1)
        }
        fn at(&mut self, _: Site, _: &Rows, _: Matrix) -> Result<Matrix> {
            Ok(Matrix::zeros(1, 1))
        }
    }
    let found = tiny::models()[0].logits(&[&TOKENS], &mut Shrink);
    assert!(matches!(found, Err(Error::Shape { .. })));
}

#[test]
fn bad_prompts_are_refused_with_their_limit() {
    let model = &tiny::models()[0];
    assert!(matches!(
        model.run(&[&[]], &mut Capture::new([Site::Embed])),
        Err(Error::Empty { .. })
    ));
    let unknown = [model.config().d_vocab as u32];
    assert!(matches!(
        model.logits(&[&unknown], &mut ()),
        Err(Error::Argument(_))
    ));
    let mut cache = Cache::new(model.config(), 2, 4).unwrap();
    let twice = model.extend(&mut cache, &[(1, &[1]), (0, &[2]), (1, &[3])], &mut ());
    assert!(matches!(twice, Err(Error::Argument(_))));
    let long = vec![1; model.config().n_ctx + 1];
    let found = model.logits(&[&long], &mut ());
    assert!(
        matches!(found, Err(Error::ContextOverflow { limit: 64, .. })),
        "{:?}",
        found.err()
    );
}

#[test]
fn sites_beyond_the_model_are_refused() {
    for model in tiny::models() {
        let found = model.check_site(Site::ResidPost(2));
        assert!(matches!(found, Err(Error::Site { .. })));
        for site in model.sites() {
            model.check_site(site).unwrap();
        }
    }
    let parallel = tiny::parallel();
    assert!(parallel.check_site(Site::ResidMid(0)).is_err());
    assert!(parallel.sites().all(|site| site != Site::ResidMid(0)));
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let on = |threads: usize, model: &Model| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| model.logits(&[&TOKENS, &TOKENS[..7]], &mut ()).unwrap())
    };
    for model in tiny::models() {
        assert_eq!(on(1, &model), on(2, &model));
    }
}
