//! The evidence of a feature, put together from its tables.

use saescope::Result;
use saescope::harvest::{CorpusCounts, FeatureEvidence, FeatureRole};

use crate::derive::FeatureContext;
use crate::examples::Shown;
use crate::open::Store;
use crate::report::{
    ClassEffect, Coactive, ContextToken, Contexts, FeatureReport, LeftOut, ReportOptions,
    RoleToken, Similar, Weights,
};

/// Density above which a feature counts as dense.
const DENSE: f64 = 0.1;

impl Store {
    /// The evidence of a feature.
    ///
    /// # Errors
    /// When there is no such feature, or the store is damaged.
    pub fn feature(&self, feature: u32, options: &ReportOptions) -> Result<FeatureReport> {
        let evidence = self.feature_evidence(feature)?;
        let counts = self.counts()?;
        let mut shown = Shown::new(self, feature, &evidence, options)?;
        let counted = &evidence.counted;
        let context = self.context(feature)?.unwrap_or_default();
        let role = self.feature_role(feature)?;
        let (promoted, suppressed) = role.as_ref().map_or((&[][..], &[][..]), |role| {
            (role.promoted.as_slice(), role.suppressed.as_slice())
        });
        let density = counted.count as f64 / counts.counted.max(1) as f64;
        Ok(FeatureReport {
            feature,
            label: self.label(feature)?,
            density,
            count: counted.count,
            tokens: counts.counted,
            max: counted.max,
            mean: counted.mean(),
            mean_square: counted.mean_square(),
            quantiles: [0.1, 0.25, 0.5, 0.75, 0.9, 0.99]
                .map(|q| (q, evidence.histogram.quantile(q, counted.max)))
                .to_vec(),
            dead: counted.count + evidence.left_out.count == 0,
            dense: density > DENSE,
            left_out: LeftOut::of(&evidence.left_out),
            histogram: evidence.histogram.bars(),
            weights: role.as_ref().map(Weights::of),
            promoted: self.role_tokens(promoted, options.list),
            suppressed: self.role_tokens(suppressed, options.list),
            contexts: self.contexts(&context, counted.count, counts, options.list),
            nearest: self.similar(role.as_ref(), options.list)?,
            coactive: self.coactive(&context, options.list)?,
            classes: self.classes(&evidence, &counts.texts, options.list),
            top: shown.top()?,
            random: shown.random()?,
            deciles: shown.deciles()?,
            intervals: shown.intervals()?,
            silent: shown.silent()?,
        })
    }

    fn role_tokens(&self, list: &[(u32, f32)], most: usize) -> Vec<RoleToken> {
        let list = list.iter().take(most);
        list.map(|&(token, effect)| RoleToken {
            token,
            piece: self.tokens().text(token),
            effect,
        })
        .collect()
    }

    fn contexts(
        &self,
        context: &FeatureContext,
        count: u64,
        counts: &CorpusCounts,
        list: usize,
    ) -> Contexts {
        let sample = f64::from(context.sample.max(1));
        let of = |tokens: &[(u32, u32)], all: &[u64]| {
            let each = tokens.iter().take(list).map(|&(token, n)| {
                let recall = f64::from(n) / sample;
                let places = all.get(token as usize).copied().unwrap_or(0).max(1) as f64;
                let both = recall * count as f64;
                ContextToken {
                    token,
                    piece: self.tokens().text(token),
                    recall,
                    precision: (both / places).min(1.0),
                    pmi: (recall * counts.counted as f64 / places).ln(),
                }
            });
            each.collect()
        };
        Contexts {
            sample: context.sample,
            exact: u64::from(context.sample) == count,
            here: of(&context.here, &counts.tokens.here),
            before: of(&context.before, &counts.tokens.before),
            next: of(&context.next, &counts.tokens.next),
        }
    }

    fn similar(&self, role: Option<&FeatureRole>, list: usize) -> Result<Vec<Similar>> {
        let nearest = role.iter().flat_map(|role| role.nearest.iter().take(list));
        nearest
            .map(|near| {
                Ok(Similar {
                    feature: near.row,
                    cosine: near.cosine,
                    label: self.label(near.row)?.map(|label| label.label),
                })
            })
            .collect()
    }

    fn coactive(&self, context: &FeatureContext, list: usize) -> Result<Vec<Coactive>> {
        let own = f64::from(context.fires);
        let all = context.coactive.iter().take(list);
        all.map(|&(feature, both, fires)| {
            let (both_f, fires_f) = (f64::from(both), f64::from(fires));
            Ok(Coactive {
                feature,
                both,
                fires,
                jaccard: both_f / (own + fires_f - both_f).max(1.0),
                pmi: (both_f * f64::from(context.tokens) / (own * fires_f).max(1.0)).ln(),
                label: self.label(feature)?.map(|label| label.label),
            })
        })
        .collect()
    }

    /// The separation of the classes by a feature, the best separated first.
    pub(crate) fn classes(
        &self,
        evidence: &FeatureEvidence,
        texts: &[u64],
        list: usize,
    ) -> Vec<ClassEffect> {
        let names = &self.header.config.classes;
        let mut classes: Vec<ClassEffect> = evidence
            .separations(texts)
            .into_iter()
            .filter_map(|class| {
                Some(ClassEffect {
                    class: names.get(usize::from(class.class) - 1)?.clone(),
                    texts: texts[usize::from(class.class)],
                    mean: class.mean,
                    mean_rest: class.mean_rest,
                    fires: class.fires,
                    auroc: class.auroc,
                })
            })
            .collect();
        // The sort is stable: of equal ones the first name stays first.
        classes.sort_by(|a, b| b.auroc.total_cmp(&a.auroc));
        classes.truncate(list);
        classes
    }
}
